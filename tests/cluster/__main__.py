"""Run the tests of a Ray cluster: make test-ray, in an environment of their own.

Ray, pyarrow and pandas take half a gigabyte, which no other test needs. The environment is kept under
``build``, and has the light install with the extra ``ray``.
"""

import shutil
import subprocess
import sys
import venv
from pathlib import Path

from tests.commands import ROOT

_LOCK = ROOT / "tests" / "cluster" / "requirements.lock"


def main() -> int:
    """Make the environment if it is not there, and run the tests in it."""
    folder = ROOT / "build" / "ray"
    python = folder / "bin" / "python"
    if not (folder / "ready").exists():
        shutil.rmtree(folder, ignore_errors=True)
        venv.create(folder, symlinks=True)
        uv = shutil.which("uv", path=str(Path(sys.executable).parent)) or "uv"
        into = [uv, "pip", "install", "--quiet", "--python", str(python)]
        subprocess.run([*into, "--requirement", str(_LOCK)], check=True)
        subprocess.run([*into, "--no-deps", "--editable", str(ROOT)], check=True)
        (folder / "ready").touch()
    command = [str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/cluster", *sys.argv[1:]]
    return subprocess.run(command, cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
