"""A folder that a command writes: whole or not at all, in the place only of what the command wrote before.

A listing inside the folder says what is ours: every file with its hash. A bundle's is its manifest, every
other kind of folder has ``.mien.json``. A folder that holds anything else, or a file that was changed, is
refused: before the work, and again when the new folder takes its place.
"""

import ctypes
import errno
import hashlib
import os
import stat
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

from mien.mobile_reference.errors import UsageError
from mien.mobile_reference.output.json_text import parse_json

from .file import OutputFile, check_outside
from .json_text import json_text
from .text import path_text
from .unfinished import remove, sync, unfinished

LISTING = ".mien.json"
_MOST_LISTED = 64 << 20


@dataclass(frozen=True)
class Kind:
    """What a folder is, such as ``bundle``, and the name of its listing, a JSON object.

    ``files`` in the listing gives every other file by its path with ``bytes`` and ``sha256``. A listing of
    our own says the kind too; another one, such as a bundle's manifest, is written by whoever fills the
    folder.
    """

    name: str
    listing: str = LISTING


@dataclass(frozen=True)
class OutputFolder:
    """A folder to be written; ``place`` is its path without links."""

    place: Path
    kind: Kind

    @classmethod
    def at(cls, path: Path, kind: Kind) -> "OutputFolder":
        """Find out where ``path`` leads, once, before minutes are spent on what the folder shall hold.

        Raises:
            UsageError: the path is not a folder, is the mount point of a file system, holds what was not
                written by this command, or lies in a bundle that the same command was given.
        """
        folder = cls(Path(os.path.realpath(path)), kind)
        check_outside(path, folder.place)
        folder._recover()
        folder.check()
        return folder

    def _recover(self) -> None:
        """Give back, or remove, what a process that was killed between two renames had put aside."""
        if self.place.is_mount():  # it has no neighbours, and is refused
            return
        aside = _aside(self.place)
        if not aside.is_dir() or aside.is_symlink():
            return
        if not self.place.exists():
            aside.rename(self.place)
        elif next(self._foreign(aside), None) is None:
            remove(aside)

    def check(self) -> None:
        """Refuse to replace what is not ours."""
        try:
            mode = self.place.stat(follow_symlinks=False).st_mode
        except FileNotFoundError:
            return
        except NotADirectoryError as error:
            raise UsageError(f"{self.place} cannot lie in a file; give a folder elsewhere") from error
        if not stat.S_ISDIR(mode):
            raise UsageError(f"{self.place} is not a folder; give a folder for the {self.kind.name}")
        if self.place.is_mount():
            raise UsageError(f"{self.place} is a mount point, which cannot be replaced; give a folder in it")
        foreign = next(self._foreign(self.place), None)
        if foreign is not None:
            raise UsageError(
                f"{self.place} exists and is not a {self.kind.name} as mien wrote it ({foreign}); "
                "move it away, or give a new folder"
            )

    @contextmanager
    def staged(self) -> Iterator[Path]:
        """Give an empty folder beside the place, which takes the place at the end if all went well.

        Raises:
            UsageError: what lies at the place meanwhile holds something that is not ours. What was made is
                kept beside it, and the message says where.
        """
        self.place.parent.mkdir(parents=True, exist_ok=True)
        with unfinished(self.place.parent, Path.mkdir) as staging:
            yield staging
            if self.kind.listing == LISTING:
                (staging / LISTING).write_text(_listing(self.kind, files_of(staging)))
            _sync_all(staging)
            try:
                self._take_place(staging)
            except UsageError as error:
                kept = _free_name(self.place)
                staging.rename(kept)
                raise UsageError(f"{error}; what was made lies in {kept}") from error
            sync(self.place.parent)

    @contextmanager
    def in_place(self) -> Iterator["Writer"]:
        """Write file by file into the place itself, from which what the command wrote before is removed.

        Whatever was written is listed at the end, also where the work was interrupted.
        """
        self.check()
        remove_listed(self.place, self.kind)
        self.place.mkdir(parents=True, exist_ok=True)
        writer = Writer(self.place)
        try:
            yield writer
        finally:
            listing = OutputFile.at(self.place / self.kind.listing)
            listing.write(_listing(self.kind, files_of(self.place, writer.names)))

    def _take_place(self, staging: Path) -> None:
        """Swap folders in one step; there is always one of them at the place."""
        self.check()
        if not _holds_something(self.place):
            staging.rename(self.place)
            return
        exchange(staging, self.place)
        # What was written between the check and the exchange lies here now.
        foreign = next(self._foreign(staging), None)
        if foreign is not None:
            exchange(staging, self.place)
            self.check()

    def _foreign(self, folder: Path) -> Iterator[str]:
        """Say what in a folder is not ours or was changed; links are not followed."""
        if not _holds_something(folder):
            return
        listed = _listed(folder, self.kind)
        if listed is None:
            yield f"it has no {self.kind.listing} that lists its files"
            return
        parents = {parent.as_posix() for name in listed for parent in Path(name).parents}
        for path in sorted(folder.rglob("*")):
            name = _listed_as(folder, path)
            mode = path.stat(follow_symlinks=False).st_mode
            if stat.S_ISDIR(mode):
                ours = name in parents or _is_for_weights(name, path, parents)
            elif name == self.kind.listing:
                ours = stat.S_ISREG(mode)
            else:
                ours = stat.S_ISREG(mode) and _is_as_listed(path, listed.get(name))
            if not ours:
                yield f"{name} was not written by mien, or was changed"


@dataclass(frozen=True)
class Writer:
    """Makes new files in a ``folder``; ``names`` are those made so far. It follows no links."""

    folder: Path
    names: list[str] = field(default_factory=list)

    def new(self, name: str) -> BinaryIO:
        """Open a new file.

        Raises:
            UsageError: something of this name is there already.
        """
        try:
            stream = (self.folder / name).open("xb")
        except FileExistsError as error:
            raise UsageError(f"{self.folder / name} was put there meanwhile; give a new folder") from error
        self.names.append(name)
        return stream

    def write_all(self, files: Mapping[str, bytes]) -> None:
        """Write new files by their names."""
        for name, data in files.items():
            stream = self.new(name)
            try:
                with stream:
                    stream.write(data)
            except BaseException:
                (self.folder / name).unlink()  # half of it is nothing to keep
                self.names.remove(name)
                raise


def files_of(folder: Path, names: Iterable[str] | None = None) -> dict[str, dict[str, Any]]:
    r"""Return files in a folder by their paths, all where none are named: ``bytes`` and ``sha256``.

    A path is as JSON can hold it: bytes that are not UTF-8 become ``\xe9`` and the like.
    """
    files = [folder / name for name in names] if names is not None else list(folder.rglob("*"))
    found = {_listed_as(folder, file): file for file in files if file.is_file()}
    return {
        name: {"bytes": file.stat().st_size, "sha256": _sha256(file)} for name, file in sorted(found.items())
    }


def _listed_as(folder: Path, path: Path) -> str:
    return path_text(path.relative_to(folder))


def remove_listed(folder: Path, kind: Kind) -> None:
    """Remove the files of a folder that its listing names, and the listing; every other file stays."""
    ours = {*(_listed(folder, kind) or {}), kind.listing}
    # Not what the listing names, which might lie elsewhere.
    for path in folder.rglob("*"):
        if _listed_as(folder, path) in ours:
            path.unlink(missing_ok=True)


def _listing(kind: Kind, files: Mapping[str, Any]) -> str:
    return json_text({"kind": kind.name, "files": files}, indent=1) + "\n"


def exchange(one: Path, other: Path) -> None:
    """Exchange two folders in one step, or in two where the system cannot."""
    try:
        _rename_exchange(one, other)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
            raise
        aside = _aside(other)
        other.rename(aside)
        one.rename(other)
        aside.rename(one)


def _rename_exchange(one: Path, other: Path) -> None:
    """Call Linux's renameat2 with RENAME_EXCHANGE, which Python does not offer."""
    if not sys.platform.startswith("linux") or not hasattr(_libc(), "renameat2"):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    here, exchanged = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    failed = _libc().renameat2(here, os.fsencode(one), here, os.fsencode(other), exchanged)
    if failed:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(one), None, str(other))


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _aside(place: Path) -> Path:
    return place.with_name(f".{place.name}.mien-before")


def _free_name(place: Path) -> Path:
    number = 1
    while (free := place.with_name(f"{place.name}.new{number}")).exists():
        number += 1
    return free


def _holds_something(folder: Path) -> bool:
    return folder.is_dir() and any(folder.iterdir())


def _listed(folder: Path, kind: Kind) -> Mapping[str, Any] | None:
    """Read which files a folder's listing names; None if it has no listing of the kind."""
    file = folder / kind.listing
    try:
        status = file.stat(follow_symlinks=False)
        if not stat.S_ISREG(status.st_mode) or status.st_size > _MOST_LISTED:
            return None
        record = parse_json(file.read_bytes())
        listed = record["files"]
        known = record["kind"] == kind.name if kind.listing == LISTING else bool(listed)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return listed if known and isinstance(listed, dict) else None


def _is_for_weights(name: str, folder: Path, parents: Collection[str]) -> bool:
    """Tell whether an empty folder is that of a Core ML package of ours that has no weights."""
    above = Path(name).parent.as_posix()
    return ".mlpackage/" in name and above in parents and not any(folder.iterdir())


def _is_as_listed(file: Path, entry: Any) -> bool:
    wanted = isinstance(entry, dict) and (entry.get("bytes"), entry.get("sha256"))
    return bool(wanted) and wanted == (file.stat().st_size, _sha256(file))


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _sync_all(folder: Path) -> None:
    for path in (*folder.rglob("*"), folder):
        sync(path)
