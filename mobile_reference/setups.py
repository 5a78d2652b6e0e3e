"""What can be set up beside mien: an emulated system, programs for phones, environments of other converters.

Each room offers its own as an entry point of the group ``mien.setups``; ``mien setup`` finds them there.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from mien.mobile_reference.installed import entry_points

GROUP = "mien.setups"
Progress = Callable[[str], None]
"""Told in words what is under way: how long a fetch or a compiler takes is not known before."""


@dataclass(frozen=True)
class Setup:
    """One thing that is fetched or built once, and kept in a cache folder.

    ``serves`` says what needs it, ``size`` how much is fetched. ``is_ready`` tells whether a cache folder has
    it; ``make`` puts it there, does nothing when it is there, and raises an error of one line when it cannot.
    """

    name: str
    serves: str
    size: str
    is_ready: Callable[[Path], bool]
    make: Callable[[Path, Progress], None]


def setups() -> Iterator[Setup]:
    """Find every set-up that the installed rooms offer, by name."""
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name):
        found = entry.load()
        assert isinstance(found, Setup), f"{entry.value} is not a Setup"  # noqa: S101
        yield found
