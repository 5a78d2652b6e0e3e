"""What int16 activations would cost, beside int8 and float32: why the search does not try them.

    python tests/export/int16_activations.py BUNDLE

Every block of the bundle's one graph gets int8 weights and activations of 16 or of 8 bits, with ranges of the
golden faces and rounding to the nearest; then every other block 16 and 8. Errors are over the golden faces,
times those of one thread of this host.
"""

import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from mien.export.blocks import Block, find_blocks
from mien.export.errors import ConversionError
from mien.export.graphs import graph_named
from mien.export.litert import Runner
from mien.export.ranges import Method, ranges_by, spreads
from mien.export.tflite import as_statistics
from mien.mobile_reference.bundle import APPRAISAL, open_bundle
from mien.mobile_reference.runner import DEFAULT_VARIANT

Faces = Sequence[NDArray[np.uint8]]


def quantised(model: bytes, bits: Mapping[int, Sequence[Block]], statistics: dict[str, Any]) -> bytes:
    """Give blocks activations of so many bits."""
    from ai_edge_quantizer import qtyping, quantizer

    job = quantizer.Quantizer(bytearray(model))
    for width, blocks in bits.items():
        names = [name.replace(".", r"\.") for block in blocks for name in block.outputs]
        job.add_static_config(
            regex=f"^(?:{'|'.join(names)});$",
            operation_name=qtyping.TFLOperationName.ALL_SUPPORTED,
            activation_num_bits=width,
            weight_num_bits=8,
        )
    return bytes(job.quantize(statistics).quantized_model) if bits else model


def row(model: bytes, faces: Faces, exact: NDArray[np.float64]) -> tuple[str, ...]:
    """Rate the faces: mean and worst error in points, and milliseconds a face; or say why there are none."""
    try:
        runner = Runner(model)
    except ConversionError as error:
        return "-", "-", "-", str(error).partition(": ")[2]
    start = time.perf_counter()
    scores = np.array([float(runner.run([face])[0][0]) for face in faces])
    milliseconds = (time.perf_counter() - start) / len(faces) * 1e3
    errors = np.abs(scores - exact)
    return f"{errors.mean():.3f}", f"{errors.max():.3f}", f"{milliseconds:.0f}", ""


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path, exists=True))
def main(bundle: Path) -> None:
    """Print the table."""
    opened = open_bundle(bundle)
    model = opened.variant(DEFAULT_VARIANT).files[APPRAISAL].read_bytes()
    faces = [golden.read("face") for golden in opened.goldens]
    exact = np.array([float(Runner(model).run([face])[0][0]) for face in faces])
    found = spreads(graph_named(APPRAISAL), model, [{"face": face} for face in faces])
    statistics = as_statistics(model, ranges_by(Method.MIN_MAX, found))
    blocks = find_blocks(model)
    table = Table("activations", "mean", "worst", "ms", "")
    cases: dict[str, Mapping[int, Sequence[Block]]] = {
        "float32": {},
        "int16": {16: blocks},
        "int8": {8: blocks},
        "int16 and int8 by turns": {16: blocks[::2], 8: blocks[1::2]},
    }
    for title, bits in cases.items():
        table.add_row(title, *row(quantised(model, bits, statistics), faces, exact))
    Console().print(table)


if __name__ == "__main__":
    sys.exit(main())
