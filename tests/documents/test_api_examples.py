"""The examples of the public names run, in a folder with a bundle and a portrait as docs/api.md says."""

import doctest
import inspect
import shutil
from pathlib import Path

import pytest

import mien
import mien.models.appraisal

SMALL = Path(mien.models.appraisal.__file__).parent / "bundle"
_NAMES = [name for name in mien.__all__ if not name.startswith("_")]


@pytest.mark.parametrize("name", _NAMES)
def test_the_example_runs(
    name: str, exported: Path, sample_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Judging the exported one takes a minute and a half, and other tests do.
    (tmp_path / "bundle").symlink_to(SMALL if name == "verify_bundle" else exported)
    shutil.copy(sample_folder / "nobody-01.jpg", tmp_path / "photo.jpg")
    monkeypatch.chdir(tmp_path)
    text = inspect.getdoc(getattr(mien, name)) or ""
    test = doctest.DocTestParser().get_doctest(text, {"mien": mien}, name, None, 0)
    assert test.examples
    said: list[str] = []
    doctest.DocTestRunner().run(test, out=said.append)
    assert not said, "".join(said)
