"""The scripts of the composite action, run as GitHub's runner would; nothing here is GitHub."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.commands import PROGRAMS
from tests.export.own.conftest import grader_bundle, pictures

from .action import SHELL, Step, steps

__all__ = ["grader_bundle", "pictures"]  # fixtures
INSTALL, VERIFY, COMPARE = steps()


def started(step: Step, folder: Path, **inputs: str) -> int:
    """Run a step in a folder of the runner's; returns its exit code."""
    script = folder / "step.sh"
    script.write_text(step.script)
    runner = {
        "RUNNER_TEMP": str(folder),
        "GITHUB_OUTPUT": str(folder / "output"),
        "GITHUB_STEP_SUMMARY": str(folder / "summary.md"),
        "PATH": f"{PROGRAMS}{os.pathsep}{os.environ['PATH']}",
    }
    given = {name.replace("_", "-"): value for name, value in inputs.items()}
    environment = os.environ | runner | step.environment(given)
    return subprocess.run([*SHELL, script], env=environment, cwd=folder, check=False).returncode


def test_a_bundle_is_verified_and_the_outputs_name_what_was_written(
    grader_bundle: Path, tmp_path: Path
) -> None:
    assert started(VERIFY, tmp_path, bundle=str(grader_bundle)) == 0
    outputs = dict(line.split("=", 1) for line in (tmp_path / "output").read_text().splitlines())
    assert set(outputs) == {"junit", "page"}
    assert Path(outputs["junit"]).read_text().startswith("<?xml")
    assert Path(outputs["page"]).read_text().startswith("<!doctype html>")


@pytest.mark.parametrize("max_shift", ["", "0.5"])
def test_a_comparison_goes_into_the_summary(grader_bundle: Path, tmp_path: Path, max_shift: str) -> None:
    old = tmp_path / "a bundle; exit 3"
    shutil.copytree(grader_bundle, old)
    assert started(COMPARE, tmp_path, bundle=str(grader_bundle), old=str(old), max_shift=max_shift) == 0
    assert "tflite-fp16" in (tmp_path / "summary.md").read_text()


def test_a_step_that_fails_is_seen_behind_its_pipe(grader_bundle: Path, tmp_path: Path) -> None:
    asked = {"bundle": str(grader_bundle), "old": str(tmp_path / "none"), "max_shift": ""}
    assert started(VERIFY, tmp_path, bundle=str(tmp_path / "none")) == 2
    assert started(COMPARE, tmp_path, **asked) == 2


def test_the_first_step_installs_the_action_itself() -> None:
    """It runs in ``.ci/check-image``; ``tests/test_install.py`` installs the like."""
    assert INSTALL.script == 'pip install --quiet "${GITHUB_ACTION_PATH}[page]"'
