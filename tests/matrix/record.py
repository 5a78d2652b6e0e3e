"""What is kept of the matrix in docs/verified.json: its cells, how old they are, and their table."""

import ast
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mien.mobile_reference.output.json_text import json_text
from tests.commands import ROOT

RECORD, PAGE = ROOT / "docs" / "verified.json", ROOT / "docs" / "results.md"
BEGIN, END = "<!-- matrix:begin -->", "<!-- matrix:end -->"
MODULE, PT2, TORCHSCRIPT, DYNAMO = "module", "pt2", "onnx-torchscript", "onnx-dynamo"
SOURCES = (MODULE, PT2, TORCHSCRIPT, DYNAMO)
SHOWN = ("tflite-fp32", "tflite-fp16", "tflite-int8", "coreml-fp16", "coreml-int8w", "coreml-w8a8")
NOT_RUN, LEFT_OUT, NO_IMPORTER = "not run", "left out", "n/a"
ROWS: Mapping[str, Sequence[str]] = {
    "appraisal": (MODULE,),
    "mobilenet_v3_small": SOURCES,
    "efficientnet_b0": SOURCES,
    "grader": SOURCES,
    "lraspp_mobilenet_v3_large": SOURCES,
    "hourglass": SOURCES,
    "attended": SOURCES,
    "shufflenet_v2_x0_5": SOURCES,
    "detected": SOURCES,
    "layers": SOURCES,
}
"""The pipelines of the matrix and their sources; ``appraisal`` is the built-in one with another inpainter."""
# Python that decides what a cell finds; of the built-in pipeline, its own cell alone would tell.
_COVERED = ("export", "models", "mobile_reference", "tests/matrix", "tests/networks.py", "tests/trained")
# What shows the cells decides nothing either.
_ELSEWHERE = (
    "models/appraisal/",
    "mobile_reference/commands/",
    "mobile_reference/report/",
    "tests/matrix/record.py",
)
_MUST_BE_SEEN = ("other weights", "a scale off by two")
"""The sabotages of a cell; of networks whose outputs hardly differ, two inputs may change places unseen."""

Cell = Mapping[str, Any]
Cells = Mapping[str, Cell]


def title(network: str, source: str) -> str:
    """Name a cell."""
    return f"{network} {source}"


def titles() -> tuple[str, ...]:
    """Name all cells."""
    return tuple(title(network, source) for network, sources in ROWS.items() for source in sources)


def covered_hash() -> str:
    """Hash the sources that decide what the cells find; comments and docstrings decide nothing."""
    state = hashlib.sha256()
    for file in sorted(_covered()):
        state.update(f"{file.relative_to(ROOT).as_posix()}\0{code_of(file.read_text())}\0".encode())
    return state.hexdigest()


def code_of(text: str) -> str:
    """Return what a file of Python does, in one form, whatever its comments, docstrings and lines are."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.__dict__["body"] = [one for one in body if not _says_only(one)]
    return ast.unparse(tree)


def _says_only(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def _covered() -> Iterator[Path]:
    for place in (ROOT / name for name in _COVERED):
        for file in place.rglob("*.py") if place.is_dir() else (place,):
            if not file.relative_to(ROOT).as_posix().startswith(_ELSEWHERE):
                yield file


def read_cells() -> dict[str, Cell]:
    """Read the cells that were run, by their titles."""
    return dict(json.loads(RECORD.read_text())["cells"]) if RECORD.is_file() else {}


def write_cells(cells: Cells) -> None:
    """Write the cells, their counts, and the table of docs/results.md."""
    kept = {name: cells[name] for name in titles() if name in cells}
    counts = {
        "cells": len(titles()),
        "run": len(kept),
        "passed": sum(map(holds, kept.values())),
        "variants": sum(len(cell["variants"]) for cell in kept.values()),
        "sabotages seen": sum(sum(cell.get("sabotages", {}).values()) for cell in kept.values()),
    }
    RECORD.write_text(json_text({"counts": counts, "cells": kept}, indent=1) + "\n")
    before, _, rest = PAGE.read_text().partition(BEGIN)
    after = rest.partition(END)[2]
    PAGE.write_text(f"{before}{BEGIN}\n" + "".join(f"{line}\n" for line in table(kept)) + END + after)


def table(cells: Cells) -> Iterator[str]:
    """Yield the lines of the table: a pipeline and its source on a row, a variant in a column."""
    yield f"| pipeline | source | {' | '.join(f'`{name}`' for name in SHOWN)} | verify | sabotage |"
    yield "|---" * (4 + len(SHOWN)) + "|"
    for network, sources in ROWS.items():
        for source in sources:
            cell = cells.get(title(network, source))
            yield f"| {network} | {source} | {' | '.join(_shown(source, cell))} |"


def _shown(source: str, cell: Cell | None) -> Iterator[str]:
    if cell is None:
        yield from [NOT_RUN] * (len(SHOWN) + 2)
        return
    if cell["error"]:
        yield from ["refused"] * len(SHOWN)
        yield from ["-", "-"]
        return
    made = {one["name"]: one for one in cell["variants"]}
    for name in SHOWN:
        if name in made:
            one = made[name]
            yield f"{_figure(one['error'])}, {100 * one['int8']:.0f} %, {one['bytes'] / 1e3:.0f} kB"
        else:
            yield NO_IMPORTER if name.startswith("coreml") and source.startswith("onnx") else LEFT_OUT
    yield "passed" if cell["verified"] else "FAILED"
    seen = cell.get("sabotages", {}).values()
    yield f"{sum(seen)} of {len(seen)}" + ("" if _spoilt_is_seen(cell) else " FAILED")


def holds(cell: Cell) -> bool:
    """Tell whether a cell was verified, and spoilt weights were seen in it."""
    return bool(cell.get("verified")) and _spoilt_is_seen(cell)


def _spoilt_is_seen(cell: Cell) -> bool:
    return all(cell.get("sabotages", {}).get(name) for name in _MUST_BE_SEEN)


def _figure(error: float | None) -> str:
    return "NaN" if error is None else f"{error:.2g}"
