"""Running the command line as a user does."""

import io
import os
import subprocess
import sysconfig
import warnings
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROGRAMS = Path(sysconfig.get_path("scripts"))
_COLUMNS = "100"
_BEFORE = dict(os.environ)
"""Without what libraries that tests import add later: it would change the keys of caches."""


def run_mien(
    *arguments: object, expect: int = 0, cache: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the installed command line in a process of its own and check its exit code.

    ``cache`` keeps what an export makes; without it nothing is taken from another run.
    """
    command = [str(PROGRAMS / "mien"), *map(str, arguments)]
    kept = _BEFORE | {"MIEN_CACHE": str(cache)} if cache else dict(os.environ)
    environment = kept | {"COLUMNS": _COLUMNS, "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == expect, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr
    return done


def call_mien(*arguments: object, expect: int = 0) -> subprocess.CompletedProcess[str]:
    """Call the command line in this process, which need not import PyTorch anew, and check its exit code."""
    from mien.mobile_reference.commands.console import main

    out, err, code = io.StringIO(), io.StringIO(), None
    command = [*map(str, arguments)]
    quiet = warnings.catch_warnings(action="ignore")
    with redirect_stdout(out), redirect_stderr(err), pytest.MonkeyPatch.context() as patch, quiet:
        patch.setenv("COLUMNS", _COLUMNS)
        try:
            main(command)
        except SystemExit as ended:
            code = ended.code
    assert code == expect, f"exit {code}\n{out.getvalue()}\n{err.getvalue()}"
    assert "Traceback" not in err.getvalue()
    return subprocess.CompletedProcess(command, expect, out.getvalue(), err.getvalue())
