"""Folders that are kept by their keys: whole or not there, the ones not used for longest go first.

Several exports may use a cache at once, and each may be killed at any moment. What is found is trusted only
after its copy was checked, file by file. A cache that cannot be written is said, and never stops an export.
"""

import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from mien.mobile_reference.bundle.reader import sha256, size_of
from mien.mobile_reference.files import default_cache
from mien.mobile_reference.output.json_text import json_text, parse_json
from mien.mobile_reference.output.text import say
from mien.mobile_reference.output.unfinished import remove, unfinished

PLACE = "MIEN_CACHE"
"""Environment variable that names the folder, or says ``off``."""
OFF = "off"
KINDS = BUNDLES, CONVERSIONS = "bundles", "conversions"
"""What is kept, each in a folder of its own."""
LARGEST = 2 << 30
"""Bytes of each kind that are kept; some twenty bundles of the built-in pipeline."""
_ENTRY = re.compile(r"[0-9a-f]{64}")
_FILES, _RECORD = "files", "record.json"
_MOST_RECORDED = 1 << 20


class NotKept(LookupError):  # noqa: N818 - no error, most exports are the first of their kind
    """There is nothing sound of a key."""


@dataclass(frozen=True)
class Entry:
    """A folder that is kept, its size in bytes, and when it was last used, in seconds since 1970."""

    folder: Path
    size: int
    used: float


@dataclass(frozen=True)
class FolderCache:
    """What is kept under a ``folder``, which need not exist, of at most ``largest`` bytes together."""

    folder: Path
    largest: int = LARGEST

    @classmethod
    def of_user(cls, kind: str) -> "FolderCache | None":
        """Return this user's of a kind, None where it was switched off."""
        place = os.environ.get(PLACE)
        if place == OFF:
            return None
        return cls((Path(place) if place else default_cache()) / kind)

    def fetch(self, key: str, target: Path) -> tuple[str, ...]:
        """Copy the files of a key into the folder ``target``, check the copies, and return the notes.

        Raises:
            NotKept: there is nothing of the key, or nothing sound, which is said. ``target`` has then nothing
                of it.
        """
        entry = self.folder / key
        if not entry.is_dir():
            raise NotKept(key)
        copied: list[Path] = []
        try:
            record = _read_record(entry / _RECORD)
            _check_listed(entry / _FILES, record["files"])
            for name, digest in record["files"].items():
                copied.append(target / name)
                _copy_checked(entry / _FILES / name, copied[-1], digest)
        except (OSError, ValueError) as error:
            say(f"what was kept in {entry} is damaged ({error!s:.300}); it is made anew")
            for file in copied:
                file.unlink(missing_ok=True)
            remove(entry)
            raise NotKept(key) from error
        with suppress(OSError):
            os.utime(entry)
        return tuple(record["notes"])

    def keep(self, key: str, root: Path, files: Iterable[Path], notes: Sequence[str] = ()) -> None:
        """Keep copies of files under ``root``, unless there are some, and remove what has no room beside."""
        if (self.folder / key).exists():
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            with unfinished(self.folder, Path.mkdir) as staging:
                listed = {}
                for file in files:
                    name = file.relative_to(root).as_posix()
                    listed[name] = sha256(file)
                    _copy_checked(file, staging / _FILES / name, listed[name])
                (staging / _RECORD).write_text(json_text({"files": listed, "notes": list(notes)}))
                staging.rename(self.folder / key)
            self._make_room()
        except (OSError, ValueError) as error:
            say(f"nothing is kept in {self.folder}: {error}; the next export makes it anew")

    def entries(self) -> list[Entry]:
        """List what is kept, the ones used last first; nothing else in the folder is touched."""
        found = [_entry(folder) for folder in self._folders()]
        return sorted(found, key=lambda entry: (entry.used, entry.folder), reverse=True)

    def clear(self) -> None:
        """Remove everything that is kept."""
        for folder in self._folders():
            remove(folder)

    def _folders(self) -> Iterator[Path]:
        if self.folder.is_dir():
            yield from (one for one in self.folder.iterdir() if _ENTRY.fullmatch(one.name) and one.is_dir())

    def _make_room(self) -> None:
        left = self.largest
        for entry in self.entries():
            left -= entry.size
            if left < 0:
                remove(entry.folder)


def files_in(folder: Path) -> Iterator[Path]:
    """List the files in a folder at any depth."""
    return (file for file in sorted(folder.rglob("*")) if not file.is_dir())


def _copy_checked(file: Path, target: Path, digest: str) -> None:
    """Copy a file, and refuse a copy with other bytes than it is known to have."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(file, target)
    if sha256(target) != digest:
        raise ValueError(f"{file.name} has other bytes than were recorded")


def _check_listed(folder: Path, listed: Mapping[str, Any]) -> None:
    there = {file.relative_to(folder).as_posix() for file in files_in(folder)}
    if listed.keys() != there:
        raise ValueError(f"it has other files than were recorded: {sorted(listed.keys() ^ there)[:3]}")


def _read_record(file: Path) -> dict[str, Any]:
    """Read what was recorded of an entry.

    Raises:
        ValueError: it is not such a record.
    """
    if file.stat().st_size > _MOST_RECORDED:
        raise ValueError(f"{file} is larger than {_MOST_RECORDED} bytes")
    record = parse_json(file.read_bytes())
    if not _is_record(record):
        raise ValueError(f"{file} is not a record of what lies beside it")
    found: dict[str, Any] = record
    return found


def _is_record(record: Any) -> bool:
    return (
        isinstance(record, dict)
        and record.keys() == {"files", "notes"}
        and isinstance(record["files"], dict)
        and all(_is_inside(name) and isinstance(digest, str) for name, digest in record["files"].items())
        and isinstance(record["notes"], list)
        and all(isinstance(note, str) for note in record["notes"])
    )


def _is_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts


def _entry(folder: Path) -> Entry:
    try:
        return Entry(folder, size_of(folder), folder.stat().st_mtime)
    except OSError:  # another export removed it meanwhile
        return Entry(folder, 0, 0.0)
