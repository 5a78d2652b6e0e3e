"""Programs around the C of the phone's runner, which answer cases that tests write to them."""

import shutil
import subprocess
from pathlib import Path

import pytest

RUNNER = Path(__file__).parents[3] / "benchmarks/phone/runner"


def compiled(name: str, folder: Path) -> Path:
    """Compile ``NAME_harness.c``, or skip the test where there is no compiler."""
    if not (compiler := shutil.which("gcc")):
        pytest.skip(f"there is no gcc to compile benchmarks/phone/runner/{name}.c with")
    program, source = folder / name, Path(__file__).with_name(f"{name}_harness.c")
    flags = ["-O2", "-Wall", "-Werror", "-I", RUNNER]
    subprocess.run([compiler, *flags, source, "-o", program, "-lm"], check=True)
    return program
