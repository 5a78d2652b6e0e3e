"""What this install offers: the entry points of mien, and of any other package that has some for it.

To find those of every package Python imports its reader of e-mail, which takes a tenth of a first rating's
imports, and reads a file of each. So mien's own list is read first, by the specification of entry points.
"""

import os
import re
import sys
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

_FOLDER = re.compile(r"mien-[^-]+\.dist-info")
_LIST = "entry_points.txt"


class EntryPoint(NamedTuple):
    """What a package offers: by its name in a group, an object as ``package.module:attribute``."""

    name: str
    value: str
    group: str

    def load(self) -> Any:
        """Import the object."""
        module, _, attribute = self.value.partition(":")
        return getattr(import_module(module), attribute)


def entry_points(group: str, name: str | None = None) -> tuple[EntryPoint, ...]:
    """Return the entry points of a group, or those of one name in it: mien's own where it has such a name."""
    if name is None:
        return _select(_all(), group)
    return _select(_own(), group, name) or _select(_all(), group, name)


def own_entry_points(group: str) -> tuple[EntryPoint, ...]:
    """Return the entry points of a group that mien itself has, or where it has none those of all packages."""
    return _select(_own(), group) or _select(_all(), group)


def _select(found: tuple[EntryPoint, ...], group: str, name: str | None = None) -> tuple[EntryPoint, ...]:
    return tuple(one for one in found if one.group == group and name in (None, one.name))


@cache
def _own() -> tuple[EntryPoint, ...]:
    for place in sys.path:
        with suppress(OSError), os.scandir(place) as entries:
            for found in entries:
                if _FOLDER.fullmatch(found.name):
                    return tuple(_listed(Path(found, _LIST).read_text("utf-8")))
    return ()  # run from its sources


def _listed(text: str) -> Iterator[EntryPoint]:
    group = ""
    for line in map(str.strip, text.splitlines()):
        if line.startswith("["):
            group = line.strip("[]")
        elif "=" in line:
            name, _, value = line.partition("=")
            yield EntryPoint(name.strip(), value.strip(), group)


@cache
def _all() -> tuple[EntryPoint, ...]:
    from importlib.metadata import entry_points as installed

    return tuple(EntryPoint(one.name, one.value, one.group) for one in installed())
