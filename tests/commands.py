"""Running the command line as a user does."""

import os
import subprocess
import sysconfig
from pathlib import Path

ROOT = Path(__file__).parent.parent
PROGRAMS = Path(sysconfig.get_path("scripts"))


def run_mien(*arguments: object, expect: int = 0) -> subprocess.CompletedProcess[str]:
    """Run the installed command line in a process of its own and check its exit code."""
    command = [str(PROGRAMS / "mien"), *map(str, arguments)]
    environment = os.environ | {"COLUMNS": "100", "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == expect, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr
    return done
