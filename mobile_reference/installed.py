"""What this install offers: the entry points of every package in it, read once in a process.

To find them Python reads a file of each package, which takes a tenth of a first rating.
"""

import importlib.metadata
from functools import cache
from importlib.metadata import EntryPoints
from typing import Any


def entry_points(**wanted: Any) -> EntryPoints:
    """Return the entry points with these values, such as ``group`` or ``name``."""
    return _all().select(**wanted)


@cache
def _all() -> EntryPoints:
    return importlib.metadata.entry_points()
