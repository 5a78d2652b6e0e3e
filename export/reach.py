"""How far the tensors of a pipeline reach on folders of inputs, as a file that comes with it.

``python -m mien.export.reach [SOURCE] --calibration FOLDER... -o FILE`` converts the float TFLite models and
runs them on the inputs that an export would take of each folder. ``mien.export.tflite.reach`` reads the file.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np

from mien.mobile_reference.commands.console import run
from mien.mobile_reference.output.file import OutputFile
from mien.mobile_reference.output.text import tell
from mien.models.pipeline import Arrays, Pipeline
from mien.models.sources import as_origin, open_pipeline

from .component import Component, components
from .plan import float_model
from .running.threads import one_thread
from .tflite.blocks import find_blocks
from .tflite.passes.scale_inputs import dense_inputs
from .tflite.quantise import read_by_products
from .tflite.reach import NOTHING, KnownReach, Reach, extents, write_reach

# Proves a converted model; more samples prove no more.
_PROOFS = 4
_PATH = click.Path(path_type=Path)


@click.command()
@click.argument("source", required=False, type=_PATH)
@click.option("--calibration", multiple=True, required=True, type=_PATH, help="A folder of inputs.")
@click.option("-o", "--output", required=True, type=_PATH, help="The file that is written.")
def main(source: Path | None, calibration: Sequence[Path], output: Path) -> None:
    """Write down how far the tensors of SOURCE (default: what ships) reach on inputs that are not kept."""
    file = OutputFile.at(output)
    with one_thread():
        found = reach_of(source, open_pipeline(source), calibration)
    write_reach(found, file)
    tell(f"{output}: {found.inputs} inputs, {sum(len(one.ranges) for one in found.models.values())} tensors")


def reach_of(source: Path | None, pipeline: Pipeline, folders: Sequence[Path]) -> KnownReach:
    """Run the float models of a pipeline on the inputs that an export would take of each folder."""
    sets = [pipeline.inputs.gather(pipeline, (folder,), ()).calibration for folder in folders]
    samples = [sample.tensors for one in sets for sample in one.samples]
    models = {
        one.name: _reach(one, source, pipeline, samples) for one in components(pipeline) if one.quantise
    }
    files = sorted({file for one in sets for file in one.files})
    return KnownReach(pipeline.weights, len(samples), tuple(files), models)


def _reach(one: Component, source: Path | None, pipeline: Pipeline, samples: Sequence[Arrays]) -> Reach:
    """Watch what int8 blocks may read and make, and what products read."""
    with tempfile.TemporaryDirectory(prefix="mien-reach-") as folder:
        proofs: list[dict[str, Any]] = [dict(sample) for sample in samples[:_PROOFS]]
        model = float_model(one, as_origin(source).of(pipeline), proofs, Path(folder) / "work").read_bytes()
    blocks = find_blocks(model)
    made = {name for block in blocks for name in block.outputs}
    read = {name for block in blocks for name in block.inputs}
    seen = extents(one, model, samples, made | read | read_by_products(model))
    if not seen:
        return NOTHING
    ranges = {name: (float(low.min()), float(high.max())) for name, (low, high) in seen.items()}
    uneven = dense_inputs(model, read - made)
    channels = {name: np.maximum(-seen[name][0], seen[name][1]).astype(np.float64) for name in uneven}
    return Reach(ranges, channels)


if __name__ == "__main__":
    run(main, name="reach")
