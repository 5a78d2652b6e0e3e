"""The notebook of the documents: run as a reader would, `--write` keeps what its cells show."""

import argparse
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

from .pages import ROOT

NOTEBOOK = ROOT / "docs" / "notebook" / "first_bundle.ipynb"
_SECONDS = 1800
"""Of one cell, of which one exports a bundle: so many only so that a hang ends."""


def run(folder: Path) -> nbformat.NotebookNode:
    """Run every cell in ``folder`` and return the notebook with what they show.

    Raises:
        CellExecutionError: a cell failed.
    """
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    # Only the repository's own pictures are read by a path that starts at the notebook.
    for cell in notebook.cells:
        cell.source = cell.source.replace("../../", f"{ROOT}/")
    client = NotebookClient(notebook, timeout=_SECONDS, resources={"metadata": {"path": str(folder)}})
    return client.execute()


def write(executed: nbformat.NotebookNode) -> None:
    """Keep what the cells show in the notebook, without what differs from run to run."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    for cell, done in zip(notebook.cells, executed.cells, strict=True):
        if cell.cell_type == "code":
            cell.outputs = [one for one in done.outputs if one.get("name") != "stderr"]
            for output in cell.outputs:
                output.get("data", {}).pop("image/jpeg", None)  # the same picture as the PNG
            cell.execution_count = done.execution_count
    nbformat.write(notebook, NOTEBOOK)


def main() -> None:
    """Run the notebook; exit 1 with its traceback if a cell fails."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="keep what the cells show")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        executed = run(Path(folder))
    if chosen.write:
        write(executed)


if __name__ == "__main__":
    sys.exit(main())
