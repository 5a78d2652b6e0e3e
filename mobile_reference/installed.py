"""What this install offers: the entry points of every package in it, read once in a process.

To find them Python reads a file of each package, which takes a tenth of a first rating.
"""

import importlib.metadata
from functools import cache
from importlib.metadata import EntryPoints


def entry_points(group: str, name: str | None = None) -> EntryPoints:
    """Return the entry points of a group, or those of one name in it."""
    found = _all().select(group=group)
    return found if name is None else found.select(name=name)


@cache
def _all() -> EntryPoints:
    return importlib.metadata.entry_points()
