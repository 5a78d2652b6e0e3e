"""Run the tests of users' own pipelines with another PyTorch than the lock's: make other-torch TORCH=2.9.1.

All other packages are those of ``requirements.lock``; the environment is made anew under ``build``.
"""

import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import click

_ROOT = Path(__file__).resolve().parent.parent
# What PyTorch brings along, each with a version of its own.
_OF_TORCH = re.compile(r"(torch|torchvision|triton|nvidia-|cuda-)")
_TESTS = ("tests/models/test_sources.py", "tests/models/test_model_files.py", "tests/export/own")


@click.command()
@click.argument("version")
@click.option("--tests", multiple=True, default=_TESTS, help="Which tests; may be repeated.")
def main(version: str, tests: tuple[str, ...]) -> None:
    """Run tests with PyTorch VERSION, such as 2.9.1; exit 1 when one fails."""
    folder = _ROOT / "build" / f"torch-{version}"
    shutil.rmtree(folder, ignore_errors=True)
    venv.create(folder, symlinks=True)
    python = folder / "bin" / "python"
    others = folder / "others.txt"
    lines = (_ROOT / "requirements.lock").read_text().splitlines()
    others.write_text("\n".join(line for line in lines if not _OF_TORCH.match(line)))
    install = [shutil.which("uv", path=str(Path(sys.executable).parent)) or "uv", "pip", "install", "--quiet"]
    into = [*install, "--python", str(python)]
    _run([*into, "--requirement", str(others), f"torch=={version}", "torchvision"])
    _run([*into, "--no-deps", "--editable", str(_ROOT)])
    _run([str(python), "-c", "import torch; print('PyTorch', torch.__version__)"])
    sys.exit(_run([str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests], allowed=(0, 1)))


def _run(command: list[str], allowed: tuple[int, ...] = (0,)) -> int:
    code = subprocess.run(command, cwd=_ROOT, check=False).returncode
    if code not in allowed:
        sys.exit(code)
    return code


if __name__ == "__main__":
    main()
