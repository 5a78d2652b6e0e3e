"""Which commit of mien makes a bundle."""

import subprocess
from pathlib import Path


def source_commit() -> str:
    """Return the commit of mien's own source tree, or ``unknown`` when it runs from a wheel."""
    here = Path(__file__).resolve().parents[1]
    if not (here.parent / ".git").exists():
        return "unknown"
    command = ["git", "-C", str(here), "rev-parse", "HEAD"]
    asked = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - ours
    return asked.stdout.strip() or "unknown"
