"""Run mypy on the rooms as ``mien.*``: it cannot follow the mapping of an editable install."""

import subprocess
import sys

from tests.linked_rooms import ROOMS, ROOT, linked


def main() -> int:
    """Check all rooms, and the names that ``import mien`` gives."""
    folder = linked("types", {"__init__.py": ROOT / "mobile_reference" / "api" / "__init__.py"})
    packages = [argument for room in ROOMS for argument in ("-p", f"mien.{room}")]
    command = [sys.executable, "-m", "mypy", "--config-file", str(ROOT / "pyproject.toml"), *packages]
    return subprocess.run(command, cwd=folder, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
