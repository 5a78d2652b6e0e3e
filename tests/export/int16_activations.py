"""What int16 activations cost, beside int8 and float32: where the search's ``_INT16_LOSS`` is from.

    python tests/export/int16_activations.py BUNDLE

Every block of the end-to-end model of the shipped checkpoint's BUNDLE gets int8 weights, and activations of
16 or of 8 bits, with ranges of the golden faces; then every other block 16 and 8. Errors are over the golden
faces, times those of one thread of this host.
"""

import sys
import time
from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path

import click
import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from mien.export.tflite.blocks import find_blocks
from mien.export.tflite.interpreter import Runner
from mien.export.tflite.precision import Choice, Precision
from mien.export.tflite.quantise import quantise
from mien.export.tflite.ranges import histograms
from mien.export.weights.gptq import round_convolutions
from mien.mobile_reference.bundle.reader import APPRAISAL, DEFAULT_VARIANT, open_bundle
from mien.models.appraisal.checkpoint import REFERENCE, load_checkpoint
from tests.export.components import shipped

Faces = Sequence[NDArray[np.uint8]]
CASES: Mapping[str, Sequence[Precision]] = {
    "float32": [Precision.FLOAT32],
    "int16": [Precision.INT16],
    "int8": [Precision.INT8],
    "int16 and int8 by turns": [Precision.INT16, Precision.INT8],
}


def row(model: bytes, faces: Faces, exact: NDArray[np.float64]) -> tuple[str, ...]:
    """Rate the faces: mean and worst error in points, and milliseconds a face."""
    runner = Runner(model)
    start = time.perf_counter()
    scores = np.array([float(runner.run([face])[0][0]) for face in faces])
    milliseconds = (time.perf_counter() - start) / len(faces) * 1e3
    errors = np.abs(scores - exact)
    return f"{errors.mean():.3f}", f"{errors.max():.3f}", f"{milliseconds:.0f}"


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path, exists=True))
def main(bundle: Path) -> None:
    """Print the table."""
    opened = open_bundle(bundle)
    file = opened.variant(DEFAULT_VARIANT).files[APPRAISAL]
    faces = [golden.read("face") for golden in opened.goldens]
    exact = np.array([float(Runner(file).run([face])[0][0]) for face in faces])
    found = histograms(shipped("appraisal"), file.read_bytes(), [{"face": face} for face in faces])
    net = load_checkpoint(REFERENCE).appraisal
    rounded = round_convolutions(net, [[torch.from_numpy(face).permute(0, 3, 1, 2)] for face in faces])
    names = [block.name for block in find_blocks(file.read_bytes())]
    table = Table("activations", "mean", "worst", "ms")
    for title, precisions in CASES.items():
        assignment = {name: Choice(one) for name, one in zip(names, cycle(precisions), strict=False)}
        table.add_row(title, *row(quantise(file, assignment, found, rounded), faces, exact))
    Console().print(table)


if __name__ == "__main__":
    sys.exit(main())
