"""A file that a command writes: whole or not at all, where the user named it and nowhere else."""

import os
import shutil
import stat
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from mien.mobile_reference.errors import UsageError

from .unfinished import make_file, sync, unfinished

STDOUT = Path("/dev/stdout")
_MANIFEST = "manifest.json"


@dataclass(frozen=True)
class OutputFile:
    """A file to be written; ``place`` is its path without links, none for standard output."""

    place: Path | None

    @classmethod
    def at(cls, path: Path) -> "OutputFile":
        """Find out where ``path`` leads, once, before minutes are spent on what the file shall hold.

        Raises:
            UsageError: the path is a folder, a device or a FIFO (but ``/dev/stdout``), lies in no folder, in
                one that cannot be written to, or in a bundle that the same command was given; or it is
                another file that the command was given, or standard output where JSON goes there too.
        """
        if path == STDOUT:
            _check_alone(path)
            return cls(None)
        # Not Path.resolve, which raises where links go in a circle.
        place = Path(os.path.realpath(path))
        _check(path, place)
        _check_others(path, place)
        return cls(place)

    @classmethod
    def maybe(cls, path: Path | None) -> "OutputFile | None":
        """Return what ``at`` does for a path that was given, and None for none."""
        return None if path is None else cls.at(path)

    def write(self, content: str | bytes) -> None:
        """Write the content beside the place and move it there, so that it is never half-written.

        Raises:
            UsageError: the place became a folder, a device or a FIFO meanwhile.
        """
        data = content.encode("utf-8") if isinstance(content, str) else content
        if self.place is None:
            sys.stdout.flush()
            sys.stdout.buffer.write(data)
            sys.stdout.flush()
            return
        _check(self.place, self.place)
        with unfinished(self.place.parent, make_file) as partial:
            partial.write_bytes(data)
            if self.place.exists():
                shutil.copymode(self.place, partial)
            sync(partial)
            partial.replace(self.place)
        sync(self.place.parent)


def _check(typed: Path, place: Path) -> None:
    with suppress(FileNotFoundError, NotADirectoryError):
        mode = place.stat(follow_symlinks=False).st_mode
        if stat.S_ISDIR(mode):
            raise UsageError(f"{typed} is a folder; give the name of a file")
        if not stat.S_ISREG(mode):
            raise UsageError(f"{typed} is a device, a pipe or a circle of links; give the name of a file")
    if not place.parent.is_dir():
        raise UsageError(f"{typed.parent} is not a folder; make it first, or give a file elsewhere")
    if not os.access(place.parent, os.W_OK | os.X_OK):
        raise UsageError(f"{typed.parent} cannot be written to; give a file elsewhere")


def _check_alone(typed: Path) -> None:
    """Refuse to write to standard output what would stand among other things that a program reads."""
    command = click.get_current_context(silent=True)
    if command and command.params.get("as_json"):
        raise UsageError(f"{typed} was given with --json, which is printed there; give the name of a file")
    if any(other is not typed and other == STDOUT for other in _given()):
        raise UsageError(f"{typed} was given twice, so both would be mixed; give the name of a file")


def _check_others(typed: Path, place: Path) -> None:
    """Refuse to replace what else the running command was given: what it reads, or writes too."""
    for other in _given():
        if other is not typed and Path(os.path.realpath(other)) == place:
            raise UsageError(f"{typed} was given twice, so one would replace the other; give another file")
    check_outside(typed, place)


def check_outside(typed: Path, place: Path) -> None:
    """Refuse to put anything into a bundle that the running command was given.

    Raises:
        UsageError: ``place``, where the path that was ``typed`` leads, lies in one.
    """
    for other in _given():
        where = Path(os.path.realpath(other))
        if where in place.parents and (where / _MANIFEST).is_file():
            raise UsageError(f"{typed} lies in the bundle {other}; give a place elsewhere")


def _given() -> Iterator[Path]:
    """Give the paths that the running command was given."""
    command = click.get_current_context(silent=True)
    return _paths(command.params.values() if command else ())


def _paths(values: Iterable[Any]) -> Iterator[Path]:
    for value in values:
        if isinstance(value, Path):
            yield value
        elif isinstance(value, tuple):
            yield from _paths(value)
