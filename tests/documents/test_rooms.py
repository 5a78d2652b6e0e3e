"""The drawing of the rooms is that of the code, and the rooms keep their measure."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.commands import ROOT

from .rooms import BEGIN, END, ROOMS, Imports, drawing, drawn, redraw

_AGAIN = "the drawing in docs/design.md is of other imports; run python -m tests.documents.rooms --write"
LARGEST = 20
_APPRAISAL = ROOT / "models" / "appraisal"
_HOMOGRAPHS = {
    ("benchmarks/cli.py", "compare"): "a command",
    ("benchmarks/experiments/baseline.py", "change"): "a heading",
    ("benchmarks/reporting/summary.py", "score"): "of a record of mien appraise",
    ("benchmarks/targets/android.py", "detector"): "a setting of the phone runner, as the next three",
    ("benchmarks/targets/android.py", "face"): "",
    ("benchmarks/targets/android.py", "picture"): "",
    ("benchmarks/targets/android.py", "score"): "of a candidate of the front",
    ("mobile_reference/api/__init__.py", "appraisal"): "the public name of the built-in pipeline",
    ("mobile_reference/bundle/reader.py", "score"): "of a candidate of the front",
    ("mobile_reference/commands/appraise.py", "score"): "of a record of mien appraise",
    ("mobile_reference/front/quality_vectors.py", "score"): "of a candidate of the front",
    ("mobile_reference/rating/rows.py", "score"): "of a record of mien appraise",
    ("mobile_reference/rating/shards.py", "score"): "of a record of mien appraise",
    ("mobile_reference/verify/labels.py", "change"): "of a metric by labels",
    ("models/sources.py", "appraisal"): "the entry point of the built-in pipeline",
}
"""Words that the rooms use for something else than a tensor or stage of the appraisal, by file."""


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


def test_files_and_folders_of_export_stand_on_few_floors() -> None:
    assert 1 < Imports().folder_floors("export") <= 8


@pytest.mark.parametrize("room", ROOMS)
def test_files_and_folders_of_a_room_import_each_other_in_no_circle(room: str) -> None:
    assert Imports().folder_floors(room) >= 1


def test_folders_that_import_each_other_have_no_floors() -> None:
    imports = Imports()
    imports.of = {"export.a.x": {"export.b.x"}, "export.b.x": set(), "export.b.y": {"export.a.x"}}
    with pytest.raises(ValueError, match="cycle"):
        imports.folder_floors("export")
    imports.of["export.b.y"] = {"export.b.x"}
    assert imports.folder_floors("export") == 2


@pytest.mark.parametrize("room", ROOMS)
def test_no_folder_is_full(room: str) -> None:
    folders = {file.parent for file in (ROOT / room).rglob("*.py")}
    assert folders
    sizes = {folder: sum(entry.is_file() for entry in folder.iterdir()) for folder in folders}
    assert not {folder for folder, size in sizes.items() if size > LARGEST}


def test_tensors_and_stages_of_the_appraisal_are_named_in_its_own_room_alone() -> None:
    names = set(_names(_APPRAISAL / "pipeline.py"))
    assert {"face", "heat", "inpaint", "detector"} < names
    files = [file for room in ROOMS for file in (ROOT / room).rglob("*.py")]
    found = {
        (file.relative_to(ROOT).as_posix(), text)
        for file in files
        if not file.is_relative_to(_APPRAISAL)
        for text in _literals(file)
        if text in names
    }
    assert found == set(_HOMOGRAPHS)


def _literals(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def _names(pipeline: Path) -> Iterator[str]:
    """Yield the names of stages and tensors of a file that makes stages."""
    for node in ast.walk(ast.parse(pipeline.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Stage":
            name, _module, inputs, outputs = node.args
            yield from (ast.literal_eval(name), *ast.literal_eval(inputs), *ast.literal_eval(outputs))
