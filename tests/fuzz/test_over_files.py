"""What an export does to a file that it meets is seen, before it began and while it runs."""

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fuzz.exports.over_files import OUT, WAYS, Meeting, aside, how_it_ended
from tests.fuzz.harness import PASSED, Bounds

IN_THE_FOLDER = [way for way in WAYS if way.__name__ != "_behind_a_link"]


def ended(act: Callable[[], object], work: Path, way: Callable[[Path], Path], after: float | None) -> str:
    def export() -> None:
        while after is not None and not ((work / "file").is_file() and (work / "file").read_text()):
            time.sleep(0.01)
        act()

    return how_it_ended(export, work, Meeting(way, after, over=False), Bounds())


@pytest.mark.parametrize("after", [None, 0.0])
@pytest.mark.parametrize("way", WAYS)
def test_what_is_kept_is_no_finding(tmp_path: Path, way: Callable[[Path], Path], after: float | None) -> None:
    assert ended(lambda: None, tmp_path, way, after) == PASSED


@pytest.mark.parametrize("after", [None, 0.0])
@pytest.mark.parametrize("way", IN_THE_FOLDER)
def test_a_folder_that_was_removed_is_found(
    tmp_path: Path, way: Callable[[Path], Path], after: float | None
) -> None:
    assert ended(lambda: shutil.rmtree(tmp_path / OUT), tmp_path, way, after).startswith("lost: ")


def test_a_file_that_was_written_through_a_link_is_found(tmp_path: Path) -> None:
    way = next(way for way in WAYS if way not in IN_THE_FOLDER)
    written = lambda: (tmp_path / OUT / "link" / "thesis.txt").write_text("gone")  # noqa: E731
    assert ended(written, tmp_path, way, None) == "lost: elsewhere/thesis.txt of somebody else"
    assert ended(lambda: None, tmp_path / "other", aside, None) == PASSED
