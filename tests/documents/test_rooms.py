"""The drawing of the rooms is that of the code, and the rooms keep their measure."""

from pathlib import Path

import pytest

from tests.commands import ROOT

from .rooms import BEGIN, END, ROOMS, Imports, drawing, drawn, redraw

_AGAIN = "the drawing in docs/design.md is of other imports; run python -m tests.documents.rooms --write"
LARGEST = 20


def test_the_drawing_is_of_these_rooms() -> None:
    assert drawn() == drawing(), _AGAIN


def test_a_page_is_redrawn_between_its_marks_alone(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    redraw(page)
    assert drawn(page) == drawing()
    assert page.read_text().startswith(f"before\n{BEGIN}\n")
    assert page.read_text().endswith(f"{END}\nafter\n")


def test_imports_are_counted_as_they_are_written() -> None:
    imports = Imports()
    assert ("export", "models") in imports.between_rooms()
    assert not [edge for edge in imports.between_rooms() if edge[0] == "mobile_reference"]
    assert ("mobile_reference.coreml", "mobile_reference.coreml.ops") in imports.within("mobile_reference")
    assert 1 <= imports.floors("calibration") <= imports.floors("export")


@pytest.mark.parametrize("room", ROOMS)
def test_no_folder_is_full(room: str) -> None:
    folders = {file.parent for file in (ROOT / room).rglob("*.py")}
    assert folders
    sizes = {folder: sum(entry.is_file() for entry in folder.iterdir()) for folder in folders}
    assert not {folder for folder, size in sizes.items() if size > LARGEST}
