"""The folder in which an export works: gone with it, but kept where a conversion was lost."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from mien.export.errors import ConversionError
from mien.mobile_reference.output.folder import Kind, OutputFolder
from mien.mobile_reference.output.unfinished import remove, unfinished

WORK = Kind("folder of lost conversions")


def keep_logs(output: Path, logs: Sequence[Path]) -> Path:
    """Keep logs of lost conversions in ``output``.work until the next export, and return the folder."""
    kept = OutputFolder.at(output.with_name(f"{output.name}.work"), WORK)
    with kept.staged() as staging:
        for log in (log for log in logs if log.is_file()):
            shutil.copy(log, staging)
    return kept.place


@contextmanager
def work_folder(output: Path) -> Iterator[Path]:
    """Give an empty folder beside ``output``.

    When a conversion is lost, logs and finished conversions are kept in ``output``.work until the next export
    to the same place.

    Raises:
        UsageError: there is a folder of this name that holds something else.
        ConversionError: what was raised inside, with the name of the folder.
    """
    kept = OutputFolder.at(output.with_name(f"{output.name}.work"), WORK)
    remove(kept.place)
    with unfinished(output.parent, Path.mkdir) as scratch:
        try:
            yield scratch
        except ConversionError as error:
            with kept.staged() as staging:
                for entry in scratch.iterdir():
                    entry.rename(staging / entry.name)
            raise ConversionError(f"{error}; logs and finished conversions lie in {kept.place}") from error
