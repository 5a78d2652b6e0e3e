"""Export, verify and spoil every pipeline of the matrix from every source: ``make test-all``.

Of each cell docs/verified.json keeps every variant that was packed, with its worst error by the first gate,
its share of multiplications in int8 and its bytes; what was left out, and why; whether ``mien verify``
passed, and whether it failed what was done to the bundle (``sabotage.py``); the commit, a hash of the
sources, and processor seconds. A cell is run again if the sources have changed since: a run that was stopped
goes on. docs/results.md gets the table.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mien.export.scripting import export_bundle
from mien.mobile_reference.errors import MienError
from mien.mobile_reference.scripting import verify_bundle
from mien.models.sources import open_pipeline
from tests.commands import ROOT
from tests.matrix.record import (
    MODULE,
    PT2,
    ROWS,
    TORCHSCRIPT,
    covered_hash,
    holds,
    read_cells,
    title,
    write_cells,
)
from tests.matrix.sabotage import sabotages_seen
from tests.networks import NETWORKS, WHOLE, Network, component_of, inputs_of

MATRIX = {**NETWORKS, **WHOLE}
_COUNT, _SEED = 24, 1000
_APPRAISAL = """import torch
from mien import appraisal


class Grey(torch.nn.Module):
    def forward(self, face, mask):
        return face * (1 - mask) + 0.5 * mask


pipeline = appraisal.replace(inpainter=Grey(), name="grey")
"""
_STAGES = {
    "grader": """
        Stage("segment", one.module.segment, ["image"], ["out0"]),
        Stage("rate", one.module.rate, ["image", "out0"], ["out1"]),
    """
}
"""Modules of several stages; as a file each is one component."""
_PIPELINE = """import sys

sys.path.insert(0, {root!r})
from mien import Pipeline, Stage
from tests.matrix.__main__ import MATRIX
from tests.networks import component_of

one = component_of({name!r}, MATRIX)
pipeline = Pipeline(
    name={name!r},
    stages=[{stages}],
    layout={{tensor.name: tensor.layout for tensor in one.tensors.values() if tensor.dtype == "float32"}},
)
"""


def main() -> int:
    """Run what was asked for."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("names", nargs="*", metavar="NETWORK", help=f"of {', '.join(ROWS)}; all without one")
    asked.add_argument("--source", action="append", choices=ROWS["grader"], help="all without one")
    asked.add_argument("--seconds", type=float, help="begin no cell after so much processor time")
    given = asked.parse_args()
    sources = covered_hash()
    cells, start = read_cells(), _seconds()
    for name in given.names or ROWS:
        for source in (one for one in ROWS[name] if one in (given.source or ROWS[name])):
            known = cells.get(title(name, source))
            if known and known["sources"] == sources:
                continue
            if given.seconds is not None and _seconds() - start > given.seconds:
                return 0
            cells[title(name, source)] = cell(name, source) | {"sources": sources, "commit": _commit()}
            write_cells(cells)
            sys.stdout.write(f"{title(name, source)}: {json.dumps(cells[title(name, source)])}\n")
            sys.stdout.flush()
    return int(not all(map(holds, cells.values())))


def _seconds() -> float:
    return sum(os.times()[:4])


def _commit() -> str:
    """Name the commit, and tell whether something was changed since."""
    said = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=12"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return said.stdout.strip()


def cell(name: str, source: str) -> dict[str, Any]:
    """Export one network from one source with all variants, verify it, and spoil it."""
    start = _seconds()
    converting = 0.0
    found: dict[str, Any] = {"variants": [], "left_out": [], "error": ""}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        try:
            file, inputs = written(folder, name, source)
            report = export_bundle(file, folder / "bundle", calibration=inputs)
            converting = sum(one.processor for one in report.phases if not one.inside)
            start = _seconds()
            manifest = json.loads((folder / "bundle" / "manifest.json").read_text())
            found["variants"] = [
                {
                    "name": one["name"],
                    "error": one["measured"]["points"],
                    "bytes": one["measured"]["bytes"],
                    "int8": one["products_int8"],
                }
                for one in manifest["variants"]
            ]
            found["left_out"] = [line for line in report.warnings if "left out" in line]
            found["verified"] = not verify_bundle(folder / "bundle").failures
            found["sabotages"] = sabotages_seen(folder / "bundle")
        except MienError as error:
            found["error"] = str(error).replace(place, "")
    found["cpu_seconds"] = round(converting + _seconds() - start, 1)
    return found


def written(folder: Path, name: str, source: str) -> tuple[Path, list[Path]]:
    """Write what an engineer brings: a source, and inputs for it."""
    if name == "appraisal":
        (folder / "grey.py").write_text(_APPRAISAL)
        return folder / "grey.py", []
    network, inputs = MATRIX[name], folder / "inputs"
    if source == MODULE:
        file, taken = folder / f"{name}_matrix.py", list(network.inputs)
        stages = _STAGES.get(name, f"Stage({name!r}, one.module, one.inputs, one.outputs)")
        file.write_text(_PIPELINE.format(root=str(ROOT), name=name, stages=stages))
    else:
        file = _model_file(folder, name, source)
        taken = list(open_pipeline(file).stages[0].inputs)
    _write_inputs(inputs, network, taken)
    return file, [inputs]


def _model_file(folder: Path, name: str, source: str) -> Path:
    network, module = MATRIX[name], component_of(name, MATRIX).module
    example = tuple(inputs_of(network, 0))
    if source == PT2:
        torch.export.save(torch.export.export(module, example), folder / f"{name}.pt2")
        return folder / f"{name}.pt2"
    file = folder / f"{name}.onnx"
    names: dict[str, Any] = {"input_names": list(network.inputs), "dynamo": source != TORCHSCRIPT}
    torch.onnx.export(module, example, str(file), **names)
    return file


def _write_inputs(folder: Path, network: Network, taken: Sequence[str]) -> None:
    folder.mkdir()
    for number in range(max(_COUNT, network.samples)):
        arrays = [
            (value.permute(0, 2, 3, 1) if value.ndim == 4 else value).contiguous().numpy()
            for value in inputs_of(network, _SEED + number)
        ]
        named: dict[str, Any] = dict(zip(taken, arrays, strict=True))
        np.savez(folder / f"{number:02}.npz", **named)


if __name__ == "__main__":
    sys.exit(main())
