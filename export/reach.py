"""How far the tensors of a pipeline reach on folders of inputs, as a file that comes with it.

``python -m mien.export.reach [SOURCE] --calibration FOLDER... -o FILE`` converts the float TFLite models and
runs them on the inputs that an export would take of each folder. ``mien.export.tflite.reach`` reads the file.
"""

import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import click
import numpy as np

from mien.mobile_reference.commands.console import run
from mien.mobile_reference.output.file import OutputFile
from mien.mobile_reference.output.text import tell
from mien.mobile_reference.report.progress import one_bar
from mien.mobile_reference.report.steps import Progress, Step
from mien.models.pipeline import RUNNING, Arrays, Pipeline
from mien.models.sources import Source, as_origin, open_pipeline

from .component import Component, component, components
from .plan import float_file, float_model
from .running.isolation import Limits, run_isolated
from .running.threads import one_thread
from .tflite.blocks import find_blocks
from .tflite.passes.scale_inputs import dense_inputs
from .tflite.quantise import read_by_products
from .tflite.reach import NOTHING, KnownReach, Reach, extents, write_reach
from .tflite.samples import load_samples, save_samples

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
    with one_thread(), one_bar(RUNNING) as progress:
        found = reach_of(source, open_pipeline(source), calibration, progress)
    write_reach(found, file)
    tell(f"{output}: {found.inputs} inputs, {sum(len(one.ranges) for one in found.models.values())} tensors")


def reach_of(
    source: Path | None, pipeline: Pipeline, folders: Sequence[Path], progress: Progress
) -> KnownReach:
    """Run the float models of a pipeline on the inputs that an export would take of each folder."""
    gathered = [pipeline.inputs.gather(pipeline, (folder,), (), progress) for folder in folders]
    # Shapes may be known only now, by the inputs.
    pipeline, sets = gathered[0].pipeline, [one.calibration for one in gathered]
    samples = [sample.tensors for one in sets for sample in one.samples]
    origin = as_origin(source).of(pipeline)
    models = {
        one.name: _reach(one, origin, pipeline, samples, progress)
        for one in components(pipeline)
        if one.quantise
    }
    files = sorted({file for one in sets for file in one.files})
    return KnownReach(pipeline.weights, len(samples), tuple(files), models)


def _reach(
    one: Component, origin: Source, pipeline: Pipeline, samples: Sequence[Arrays], progress: Progress
) -> Reach:
    """Watch what int8 blocks may read and make, and what products read."""
    step = Step(f"converting and watching {one.name}", len(samples), progress)
    with tempfile.TemporaryDirectory(prefix="mien-reach-") as name:
        folder = Path(name)
        save_samples([{**sample} for sample in samples[:_PROOFS]], folder / "proofs")
        task = partial(_convert, one.name, origin, folder / "proofs", folder)
        run_isolated(task, folder / f"{one.name}.log", Limits(), f"tflite {one.name}")
        model = float_file(folder, one.name).read_bytes()
    blocks = find_blocks(model)
    made = {name for block in blocks for name in block.outputs}
    read = {name for block in blocks for name in block.inputs}
    seen = extents(one, model, step.over(samples), made | read | read_by_products(model))
    if not seen:
        return NOTHING
    ranges = {name: (float(low.min()), float(high.max())) for name, (low, high) in seen.items()}
    uneven = dense_inputs(model, read - made)
    channels = {name: np.maximum(-seen[name][0], seen[name][1]).astype(np.float64) for name in uneven}
    return Reach(ranges, channels)


def _convert(name: str, source: Source, proofs: Path, folder: Path) -> None:
    """Convert a model in a process of its own."""
    one = component(open_pipeline(source), name)
    float_model(one, source, load_samples(proofs), float_file(folder, name).parent)


if __name__ == "__main__":
    run(main, name="reach")
