"""The notebook of the documents runs, and shows what its text says."""

from pathlib import Path

import nbformat
import pytest

from .notebook import NOTEBOOK, run


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> nbformat.NotebookNode:
    return run(tmp_path_factory.mktemp("notebook"))


def shown(notebook: nbformat.NotebookNode, words: str) -> str:
    """Return what the cell that holds ``words`` printed or returned."""
    (cell,) = (one for one in notebook.cells if words in one.source)
    return "".join(one.get("text", "") or one.get("data", {}).get("text/plain", "") for one in cell.outputs)


def test_a_drawn_cleft_is_not_typical(executed: nbformat.NotebookNode) -> None:
    assert 0 < float(shown(executed, "mien.appraise(")) < 60


def test_the_bundle_has_what_was_asked_for_and_holds(executed: nbformat.NotebookNode) -> None:
    asked = ["tflite-fp32", "tflite-int8", "coreml-fp16"]
    assert shown(executed, "export_bundle(") == repr(asked)
    judged = {line.split(",")[0] for line in shown(executed, "verify_bundle(").splitlines()}
    assert judged == set(asked)


def test_rounding_shows_but_little(executed: nbformat.NotebookNode) -> None:
    assert 0 < float(shown(executed, "run_bundle(")) < 0.05


def test_what_the_notebook_shows_is_in_it() -> None:
    """A reader on the web sees results without running anything."""
    cells = nbformat.read(NOTEBOOK, as_version=4).cells
    assert any("image/png" in one.get("data", {}) for cell in cells for one in cell.get("outputs", []))


def test_nothing_is_written_beside_the_notebook() -> None:
    assert [Path(file).name for file in NOTEBOOK.parent.iterdir()] == [NOTEBOOK.name]
