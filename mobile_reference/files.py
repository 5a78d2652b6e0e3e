"""Files of this user: where programs keep what they can make again, and reading what may be anything."""

import os
from pathlib import Path


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
