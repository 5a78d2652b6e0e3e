"""Where this user's programs keep what they can make again."""

import os
from pathlib import Path


def default_cache() -> Path:
    """Return mien's folder there, which need not exist."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "mien"
