"""Folders that are generated: made again as long as nothing in them is the user's."""

from pathlib import Path, PurePosixPath

import pytest

from mien.benchmarks.apps.generated_project import RESULTS, write_folder
from mien.mobile_reference.errors import UsageError

SPEC = PurePosixPath("assets/spec.json")


def generate(folder: Path, text: str) -> None:
    def fill(part: Path) -> None:
        (part / SPEC).parent.mkdir(parents=True)
        (part / SPEC).write_text(text)

    write_folder(folder, SPEC, fill)


def test_a_folder_is_generated_again(tmp_path: Path) -> None:
    generate(tmp_path / "library", "1")
    generate(tmp_path / "library", "2")
    assert (tmp_path / "library" / SPEC).read_text() == "2"
    assert [path.name for path in tmp_path.iterdir()] == ["library"]


def test_results_stay(tmp_path: Path) -> None:
    generate(tmp_path, "1")
    (tmp_path / RESULTS).mkdir()
    with pytest.raises(UsageError, match="holds results of a measurement"):
        generate(tmp_path, "2")
    assert (tmp_path / SPEC).read_text() == "1"


def test_what_the_user_put_there_or_changed_stays(tmp_path: Path) -> None:
    generate(tmp_path / "library", "1")
    (tmp_path / "library" / SPEC).write_text("mine")
    with pytest.raises(UsageError, match="was not written by mien, or was changed"):
        generate(tmp_path / "library", "2")
    assert (tmp_path / "library" / SPEC).read_text() == "mine"
