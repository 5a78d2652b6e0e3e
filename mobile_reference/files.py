"""Files of this user: where programs keep what they can make again, and reading what may be anything."""

import codecs
import os
import re
import sys
from pathlib import Path

from mien.mobile_reference.errors import UsageError

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_STANDARD_INPUT = Path("-")
_LONGEST_LIST = 256 << 20
"""Some millions of paths."""


def default_cache() -> Path:
    """Return mien's folder there, which need not exist."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "mien"


def check_size(file: Path, most_bytes: int) -> None:
    """Refuse what would block or never end, such as a pipe or a device, and what is too large.

    Raises:
        ValueError: the path is not a regular file (a link to one is), or has more than ``most_bytes``. The
            message does not name the file.
    """
    if not file.is_file():
        raise ValueError("it is not a file")
    if file.stat().st_size > most_bytes:
        raise ValueError(f"it is larger than {most_bytes} bytes")


def path_or_address(text: str) -> Path | str:
    """Return a path as such, and an address such as ``s3://bucket/photo.jpg`` as it is."""
    return text if _ADDRESS.match(text) else Path(text)


def listed_paths(place: Path) -> tuple[Path | str, ...]:
    """Read the paths or addresses of photographs that a file lists, or standard input for ``-``.

    Empty lines name nothing; a byte order mark, which some editors write, is passed over.

    Raises:
        UsageError: it cannot be read, is too long, or names nothing.
    """
    try:
        with sys.stdin.buffer if place == _STANDARD_INPUT else place.open("rb") as stream:
            listed = stream.read(_LONGEST_LIST + 1)
    except OSError as error:
        raise UsageError(f"{place} lists no photographs: {error.strerror}; give a text file") from error
    if len(listed) > _LONGEST_LIST or b"\0" in listed:
        raise UsageError(
            f"{place} is not a list of photographs; give a text file of one path a line, up to "
            f"{_LONGEST_LIST >> 20} MiB"
        )
    lines = [line for line in listed.removeprefix(codecs.BOM_UTF8).splitlines() if line.strip()]
    if not lines:
        raise UsageError(f"{place} lists no photographs; write one path a line")
    return tuple(path_or_address(os.fsdecode(line)) for line in lines)
