"""The bundle that an install carries, for whoever names none."""

from pathlib import Path

from mien.mobile_reference.errors import UsageError
from mien.mobile_reference.installed import own_entry_points

BUNDLES = "mien.bundles"
"""Which folders with a bundle are installed: the first is taken."""


def shipped_bundle() -> Path:
    """Return the folder of the bundle that is installed beside mien.

    Raises:
        UsageError: there is none.
    """
    for entry in sorted(own_entry_points(BUNDLES)):
        folder: Path = entry.load()
        return folder
    raise UsageError("no bundle was given, and this install carries none; name a bundle's folder")
