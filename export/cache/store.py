"""A folder of bundles by their keys: whole or not there, the ones not used for longest go first.

Several exports may use it at once, and each may be killed at any moment. What is found is trusted only after
its copy was checked, file by file. A cache that cannot be written is said, and never stops an export.
"""

import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mien.mobile_reference.bundle.reader import MANIFEST, open_bundle, sha256, size_of
from mien.mobile_reference.errors import BundleError
from mien.mobile_reference.files import default_cache
from mien.mobile_reference.output.json_text import json_text
from mien.mobile_reference.output.text import say
from mien.mobile_reference.output.unfinished import remove, unfinished
from mien.mobile_reference.strict_json import parse_json

PLACE = "MIEN_CACHE"
"""Environment variable that names the folder, or says ``off``."""
OFF = "off"
LARGEST = 2 << 30
"""Bytes that are kept; some twenty bundles of the built-in pipeline."""
_ENTRY = re.compile(r"[0-9a-f]{64}")
_BUNDLE, _RECORD = "bundle", "record.json"
_MOST_RECORDED = 1 << 20


class NotKept(LookupError):  # noqa: N818 - no error, most exports are the first of their kind
    """There is no sound bundle of a key."""


@dataclass(frozen=True)
class Entry:
    """A bundle that is kept, its size in bytes, and when it was last used, in seconds since 1970."""

    folder: Path
    size: int
    used: float


@dataclass(frozen=True)
class BundleCache:
    """The bundles under a ``folder``, which need not exist, of at most ``largest`` bytes together."""

    folder: Path
    largest: int = LARGEST

    @classmethod
    def of_user(cls) -> "BundleCache | None":
        """Return this user's, None where it was switched off."""
        place = os.environ.get(PLACE)
        if place == OFF:
            return None
        return cls(Path(place) if place else default_cache() / "bundles")

    def fetch(self, key: str, target: Path) -> tuple[str, ...]:
        """Copy the bundle of a key into the empty folder ``target``, check the copy, and return its warnings.

        Raises:
            NotKept: there is no such bundle, or no sound one, which is said; ``target`` is then of no use.
        """
        entry = self.folder / key
        if not entry.is_dir():
            raise NotKept(key)
        try:
            shutil.copytree(entry / _BUNDLE, target, dirs_exist_ok=True)
            warnings = _checked(entry / _RECORD, target)
        except (OSError, ValueError, BundleError) as error:
            say(f"the bundle that was kept in {entry} is damaged ({error!s:.300}); it is made anew")
            remove(entry)
            raise NotKept(key) from error
        with suppress(OSError):
            os.utime(entry)
        return warnings

    def keep(self, key: str, bundle: Path, warnings: Sequence[str]) -> None:
        """Keep a copy of a bundle, unless there is one, and remove what has no room beside it."""
        if (self.folder / key).exists():
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            with unfinished(self.folder, Path.mkdir) as staging:
                shutil.copytree(bundle, staging / _BUNDLE)
                record = {"manifest": sha256(staging / _BUNDLE / MANIFEST), "warnings": list(warnings)}
                (staging / _RECORD).write_text(json_text(record))
                staging.rename(self.folder / key)
            self._make_room()
        except OSError as error:
            say(f"the bundle is not kept in {self.folder}: {error}; the next export makes it anew")

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


def _checked(record: Path, bundle: Path) -> tuple[str, ...]:
    """Check a copied bundle by what was recorded of it, and return the warnings.

    Raises:
        BundleError: a file is missing or was changed.
        ValueError: the record is not one, or of another bundle.
    """
    if record.stat().st_size > _MOST_RECORDED:
        raise ValueError(f"{record} is larger than {_MOST_RECORDED} bytes")
    kept = parse_json(record.read_bytes())
    if not _is_record(kept) or kept["manifest"] != sha256(bundle / MANIFEST):
        raise ValueError(f"{record} is not of the bundle beside it")
    listed = {MANIFEST, *open_bundle(bundle).manifest["files"]}
    there = {file.relative_to(bundle).as_posix() for file in bundle.rglob("*") if not file.is_dir()}
    if listed != there:
        raise ValueError(f"it has other files than its manifest lists: {sorted(listed ^ there)[:3]}")
    return tuple(kept["warnings"])


def _is_record(kept: Any) -> bool:
    return (
        isinstance(kept, dict)
        and kept.keys() == {"manifest", "warnings"}
        and isinstance(kept["warnings"], list)
        and all(isinstance(warning, str) for warning in kept["warnings"])
    )


def _entry(folder: Path) -> Entry:
    try:
        return Entry(folder, size_of(folder), folder.stat().st_mtime)
    except OSError:  # another export removed it meanwhile
        return Entry(folder, 0, 0.0)
