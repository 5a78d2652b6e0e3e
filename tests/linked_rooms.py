"""The rooms linked under one folder named mien, for tools that cannot follow an editable install's mapping.

``python -m tests.linked_rooms`` runs import-linter on them.
"""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.commands import PROGRAMS, ROOT

ROOMS = ("models", "calibration", "export", "mobile_reference", "benchmarks")


def linked(folder: str, files: Mapping[str, Path]) -> Path:
    """Link the rooms and ``files`` into build/``folder``/mien, and return the folder above mien."""
    package = ROOT / "build" / folder / "mien"
    package.mkdir(parents=True, exist_ok=True)
    for name, target in (files | {room: ROOT / room for room in ROOMS}).items():
        link = package / name
        if not link.is_symlink():
            link.symlink_to(target, target_is_directory=target.is_dir())
    return package.parent


def namespace() -> dict[str, str]:
    """Return an environment in which mien is a namespace of rooms.

    grimp, which import-linter stands on, takes a room for a package of its own only then.
    """
    return os.environ | {"PYTHONPATH": str(linked("imports", {}))}


def main() -> int:
    """Lint the imports between the rooms."""
    command = [str(PROGRAMS / "lint-imports"), "--config", str(ROOT / "pyproject.toml")]
    return subprocess.run(command, env=namespace(), cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
