"""Run mypy on the rooms as ``mien.*``: it cannot follow the mapping of an editable install."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
ROOMS = ("models", "calibration", "export", "mobile_reference", "benchmarks")


def main() -> int:
    """Link the rooms under one folder named mien and check them all."""
    package = ROOT / "build" / "types" / "mien"
    package.mkdir(parents=True, exist_ok=True)
    for room in ROOMS:
        link = package / room
        if not link.is_symlink():
            link.symlink_to(ROOT / room, target_is_directory=True)
    packages = [argument for room in ROOMS for argument in ("-p", f"mien.{room}")]
    command = [sys.executable, "-m", "mypy", "--config-file", str(ROOT / "pyproject.toml"), *packages]
    return subprocess.run(command, cwd=package.parent, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
