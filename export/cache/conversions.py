"""Conversions that were made before, one by one: each by what it follows from.

So an export that failed or was interrupted goes on where it was, and one of which a gate or the list of
variants changed converts nothing again.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mien.export.running.jobs import Job
from mien.mobile_reference.bundle.reader import sha256

from .key import record_hash
from .store import FolderCache, NotKept, files_in


@dataclass(frozen=True)
class Conversions:
    """The conversions of one export, whose ``folder`` they write into.

    ``common`` records what all of them follow from.
    """

    cache: FolderCache
    common: Mapping[str, Any]
    folder: Path

    def fetch(self, job: Job) -> bool:
        """Put what a conversion makes into the folder, if it was made before; tell whether it was."""
        try:
            self.cache.fetch(self._key(job), self.folder)
        except NotKept:
            return False
        return True

    def keep(self, job: Job) -> None:
        """Keep what a conversion made."""
        self.cache.keep(self._key(job), self.folder, self._made(job))

    def _key(self, job: Job) -> str:
        reads = [sha256(file) for file in job.reads]
        return record_hash({**self.common, "conversion": job.title, "reads": reads})

    def _made(self, job: Job) -> Iterator[Path]:
        for name in job.makes:
            place = self.folder / name
            yield from files_in(place) if place.is_dir() else [place] if place.exists() else []
