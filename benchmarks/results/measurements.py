"""The JSON objects that a generated package writes into its log, one a line, while it measures elsewhere."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mien.benchmarks.errors import ReportError
from mien.mobile_reference.output.json_text import parse_json

from .records import check_report

_MAX_BYTES = 64 << 20


def read_records(log: Path, mark: str, schema: str, identity: str) -> Iterator[dict[str, Any]]:
    """Read what was measured.

    Args:
        log: A file of lines, of which those without ``mark`` are others' words.
        mark: What a record begins with, its brace included.
        schema: The JSON Schema of a record, as ``records.check_report`` takes it.
        identity: The ``id`` of what was generated, which each record must repeat.

    Raises:
        ReportError: the log is too large, a record is damaged, or it is of another package.
    """
    if log.stat().st_size > _MAX_BYTES:
        raise ReportError(f"{log} is larger than {_MAX_BYTES} bytes; give a log of measure.sh")
    for line in log.read_text(errors="replace").splitlines():
        _, found, rest = line.partition(mark)
        if not found:
            continue
        try:
            record: dict[str, Any] = parse_json("{" + rest)
            check_report(record, schema)
        except (ValueError, ReportError) as error:
            raise ReportError(f"{log}: a measurement is damaged ({error}); run measure.sh again") from error
        if record["id"] != identity:
            raise ReportError(f"{log} measured another bundle; generate and measure in a new folder")
        yield record
