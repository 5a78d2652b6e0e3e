"""The tutorial as a reader follows it: its files, and every command in its order."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from .pages import ROOT, shell_lines

_PAGE = ROOT / "docs" / "tutorial.md"
_FILES = ROOT / "docs" / "tutorial"


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the tutorial's folder in which every command of the page has run."""
    folder = tmp_path_factory.mktemp("tutorial")
    for file in _FILES.glob("*.py"):
        shutil.copy(file, folder)
    programs = {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    for line in shell_lines(_PAGE.read_text(encoding="utf-8")):
        words = shlex.split(line)
        if words:
            done = subprocess.run(
                words, cwd=folder, env=os.environ | programs, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, f"{line}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    return folder


def test_every_command_succeeds_and_leaves_what_the_page_says(followed: Path) -> None:
    for made in ("bundle/manifest.json", "result.png", "android-models", "ios-models", "android-library"):
        assert (followed / made).exists(), made


def test_the_picture_shows_rust(followed: Path) -> None:
    picture = np.asarray(Image.open(followed / "result.png").convert("RGB"))
    _, exact, rounded = np.split(picture.astype(np.float64), 3, 1)
    assert np.minimum(exact, rounded).sum() > 0.9 * np.maximum(exact, rounded).sum() > 0


def test_the_page_shows_the_pipeline_as_the_file_has_it() -> None:
    code = (_FILES / "grader.py").read_text(encoding="utf-8")
    shown = _PAGE.read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]
    assert code.endswith(shown)
