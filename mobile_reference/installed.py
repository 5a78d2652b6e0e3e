"""What this install offers: the entry points of mien, and of any other package that has some for it.

To find those of every package Python reads a file of each, which takes a tenth of a first rating; so mien's
own are looked at first.
"""

import importlib.metadata
from functools import cache
from importlib.metadata import EntryPoints

_OURS = "mien"


def entry_points(group: str, name: str | None = None) -> EntryPoints:
    """Return the entry points of a group, or those of one name in it: mien's own where it has such a name."""
    if name is None:
        return _all().select(group=group)
    return _own().select(group=group, name=name) or _all().select(group=group, name=name)


def own_entry_points(group: str) -> EntryPoints:
    """Return the entry points of a group that mien itself has, or where it has none those of all packages."""
    return _own().select(group=group) or _all().select(group=group)


@cache
def _own() -> EntryPoints:
    try:
        return importlib.metadata.distribution(_OURS).entry_points
    except importlib.metadata.PackageNotFoundError:  # run from its sources
        return EntryPoints()


@cache
def _all() -> EntryPoints:
    return importlib.metadata.entry_points()
