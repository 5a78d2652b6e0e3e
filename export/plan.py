"""The conversions of one export: one job for every graph and platform, each in a process of its own."""

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from mien.mobile_reference.contract import PICTURE, TensorSpec
from mien.mobile_reference.output.json_text import json_text
from mien.mobile_reference.report.steps import Progress, quietly
from mien.models.pipeline import Pipeline
from mien.models.sources import Source, open_pipeline

from .component import Component, component, components
from .running.jobs import Job
from .running.threads import one_thread
from .tflite.samples import load_samples, propagate, received
from .variants import (
    ASSIGNED,
    COREML,
    COREML_INT8,
    NAMES,
    TFLITE_DYNAMIC,
    TFLITE_FP16,
    TFLITE_HALF,
    TFLITE_INT8,
    variant_named,
)

Route = Callable[[str, Source, Path, Path], None]
"""Converts the model of a name: source, folder of traces, folder of results."""
WARNINGS = "warnings"
_PROPAGATED = "propagated"
# Where in the folder of an export lies what conversions may leave, by route.
_MAKES = {
    "tflite": (
        "work/{name}/{name}.tflite",
        *(f"{variant}/{{name}}.tflite" for variant in (NAMES[0], *ASSIGNED)),
        "rounded/{name}.safetensors",
        "ranges/{name}.json",
        "ranges/{name}.precision.json",
        "warnings/{name}.json",
        f"{_PROPAGATED}/{{name}}",
    ),
    TFLITE_DYNAMIC: (f"{TFLITE_DYNAMIC}/{{name}}.tflite",),
    TFLITE_HALF: (f"{TFLITE_HALF}/{{name}}.tflite", f"warnings/{{name}}.{TFLITE_HALF}.json"),
    "coreml": (
        "coreml-fp32/{name}.mlpackage",
        "coreml-fp16/{name}.mlpackage",
        "coreml-int8w/{name}.mlpackage",
        "warnings/{name}.coreml.json",
    ),
    COREML_INT8: (
        f"{COREML_INT8}/{{name}}.mlpackage",
        "ranges/{name}.coreml.json",
        f"warnings/{{name}}.{COREML_INT8}.json",
    ),
}
# In a folder of its own: beside the traces it would be taken for one.
ROUNDINGS = Path("rounded") / "weights.safetensors"
"""Where in a folder of traces the rounded weights lie."""


def plan(
    source: Source,
    pipeline: Pipeline,
    traces: Path,
    folder: Path,
    precision: Path,
    variants: Sequence[str] = NAMES,
) -> list[Job]:
    """List the conversions of a pipeline to ``variants``, each behind those whose results it needs.

    What they make lies under ``folder``/<variant>/, and may be of more variants: those of TFLite are made
    together, as the float ones of Core ML are. ``precision`` is a file of assignments by variant.
    """

    def job(route: str, one: Component, work: Route, *after: str) -> Job:
        title, log = f"{route} {one.name}", folder / f"{route}-{one.name}.log"
        makes = tuple(place.format(name=one.name) for place in _MAKES[route])
        if route == "coreml" and not one.quantise:  # it is in all variants what it is in float32
            makes += (f"{COREML_INT8}/{one.name}.mlpackage",)
        reads = () if route == "coreml" else (precision,)
        return Job(title, log, partial(work, one.name, source, traces, folder), after, makes, reads)

    jobs, models = [], components(pipeline)
    whole = pipeline.end_to_end.name if pipeline.end_to_end else None
    # The largest goes first, so that no core waits for it at the end.
    for one in sorted(models, key=lambda one: one.name != whole):
        before = pipeline.spec.before(one.name)
        jobs.append(
            job("tflite", one, partial(convert_tflite, precision), *([f"tflite {before}"] if before else []))
        )
        if TFLITE_DYNAMIC in variants:
            jobs.append(job(TFLITE_DYNAMIC, one, convert_tflite_dynamic, f"tflite {one.name}"))
        if TFLITE_HALF in variants:
            half = partial(convert_tflite_half, precision)
            jobs.append(job(TFLITE_HALF, one, half, f"tflite {one.name}"))
        if any(variant_named(name).platform == COREML for name in variants):
            # Without a net the weights are rounded for the float graph of TFLite.
            after = [] if pipeline.net else [f"tflite {one.name}"]
            jobs.append(job("coreml", one, convert_coreml, *after))
    eights = [one for one in models if one.quantise and COREML_INT8 in variants]
    return jobs + [job(COREML_INT8, one, convert_coreml_int8, f"tflite {one.name}") for one in eights]


@one_thread()
def round_weights(pipeline: Pipeline, traces: Path, progress: Progress = quietly) -> None:
    """Round the weights of a pipeline's net for the samples in the folder of traces, into that folder.

    Without a net every model has weights of its own, which are rounded once its float graph is there.
    """
    from .weights.gptq import round_convolutions, write_roundings

    samples = load_samples(traces)
    inputs = [
        # Channels last in memory, as they lie in the samples: it decides the last bits of a convolution.
        [_channels_second(sample[name], pipeline.spec.tensor(name)) for name in pipeline.spec.inputs]
        for sample in samples
    ]
    rounded = round_convolutions(pipeline.net, inputs, progress) if pipeline.net else {}
    write_roundings(rounded, traces / ROUNDINGS)


def _channels_second(array: NDArray[Any], tensor: TensorSpec) -> Tensor:
    value = torch.from_numpy(array)
    return value.permute(0, 3, 1, 2) if tensor.layout == PICTURE else value


def model_roundings(pipeline: Pipeline, traces: Path, folder: Path, name: str) -> Path:
    """Say where the rounded weights of a model lie: those of the pipeline's net, or else its own."""
    return traces / ROUNDINGS if pipeline.net else folder / "rounded" / f"{name}.safetensors"


def float_file(folder: Path, name: str) -> Path:
    """Say where the float32 TFLite model of a graph lies under the folder of an export's conversions."""
    return folder / "work" / name / f"{name}.tflite"


def float_model(one: Component, source: Source, samples: Sequence[Mapping[str, Any]], work: Path) -> Path:
    """Convert a component to float32 TFLite in the folder ``work``, and check it against the samples."""
    from .tflite.conversion import convert_proven
    from .tflite.converters.flatbuffer_direct import WAYS

    work.mkdir(parents=True)
    return convert_proven(WAYS, one, source, samples, work)


def convert_tflite(precision: Path, name: str, source: Source, traces: Path, folder: Path) -> None:
    """Make the TFLite variants of a model but the dynamic one, the float one checked against the traces.

    Where ``precision`` chooses nothing for int8, what holds is chosen here, and lies with the ranges. The
    folder of traces holds the rounded weights of the pipeline's net too; without a net they are made here.
    A stage leaves in ``folder`` what its int8 model makes, for the ranges of the next one.
    """
    from .tflite import quantise as tflite
    from .tflite.blocks import find_blocks
    from .tflite.channels import made_ready
    from .tflite.graph_moments import round_graph
    from .tflite.holding import holding_assignment
    from .tflite.needed import room_for_others
    from .tflite.precision import ALL_INT8, stored_assignment, unmatched_blocks, write_assignments
    from .tflite.products import KINDS
    from .tflite.ranges import write_ranges
    from .tflite.reach import reach_of_model, reached
    from .weights.gptq import read_roundings, write_roundings

    pipeline, samples = open_pipeline(source), load_samples(traces)
    one = component(pipeline, name)
    model = float_model(one, source, samples, float_file(folder, name).parent)
    stored = model_roundings(pipeline, traces, folder, name)
    if not pipeline.net:
        write_roundings(round_graph(one, model.read_bytes(), samples), stored)
    half, eight = (stored_assignment(variant, precision) for variant in ASSIGNED)
    reach = reach_of_model(pipeline, name)
    ready, rounded = made_ready(one, model, eight or ALL_INT8, read_roundings(stored), samples, reach)
    downstream = received(pipeline.spec.before(name), samples, folder / _PROPAGATED)
    warnings: list[str] = []
    chosen = bool(eight)
    if not chosen:
        eight, warnings = holding_assignment(one, ready, rounded, samples, downstream)
        write_assignments({TFLITE_INT8: eight}, folder / "ranges" / f"{name}.precision.json")
    read = tflite.read_by_products(model.read_bytes())
    found = tflite.seen_by_converted(one, ready, eight, rounded, samples, downstream, read)
    found = reached(found, ready.read_bytes(), reach)
    if not chosen:
        found = room_for_others(found, ready.read_bytes(), len(samples))
    made = {
        NAMES[0]: tflite.finished(model.read_bytes()),
        TFLITE_FP16: tflite.quantise(model, half, found, rounded),
        TFLITE_INT8: tflite.quantise(ready, eight, found, rounded),
    }
    write_ranges(tflite.chosen_ranges(ready, eight, found), folder / "ranges" / f"{name}.json")
    warnings += tflite.int8_range_warnings(ready, eight, found)
    warnings += tflite.left_to_the_nearest(ready, eight, rounded, KINDS)
    whole = pipeline.end_to_end
    if eight and whole and name == whole.name:  # which has every block; the stages have some
        warnings += unmatched_blocks(find_blocks(model.read_bytes()), eight)
    write_warnings(warnings, folder / WARNINGS / f"{name}.json")
    for variant, content in made.items():
        _write_tflite(one, folder / variant, content)
    if pipeline.spec.maker(one.outputs[0]) == name and pipeline.spec.after(name):
        propagate(one, made[TFLITE_INT8], downstream, folder / _PROPAGATED)


def convert_tflite_dynamic(name: str, source: Source, traces: Path, folder: Path) -> None:
    """Make the TFLite variant of a model whose weights are int8 and whose activations are float.

    Its weights are rounded as those of the int8 one; it needs no ranges. A model that must not be quantised
    has float16 weights.
    """
    from .tflite import quantise as tflite
    from .tflite.precision import ALL_DYNAMIC
    from .weights.gptq import read_roundings

    pipeline = open_pipeline(source)
    one = component(pipeline, name)
    rounded = read_roundings(model_roundings(pipeline, traces, folder, name))
    chosen = ALL_DYNAMIC if one.quantise else {}
    content = tflite.quantise(float_file(folder, name), chosen, {}, rounded)
    _write_tflite(one, folder / TFLITE_DYNAMIC, content)


def convert_tflite_half(precision: Path, name: str, source: Source, traces: Path, folder: Path) -> None:
    """Make the TFLite variant of a model that asks for half-float arithmetic."""
    from mien.export.tflite.half import half_floats
    from mien.export.tflite.precision import stored_assignment

    one = component(open_pipeline(source), name)
    stored = stored_assignment(TFLITE_FP16, precision)
    content, warnings = half_floats(one, float_file(folder, name), stored, load_samples(traces))
    write_warnings(warnings, folder / WARNINGS / f"{name}.{TFLITE_HALF}.json")
    _write_tflite(one, folder / TFLITE_HALF, content)


def _write_tflite(one: Component, folder: Path, content: bytes) -> None:
    from .tflite.quantise import check_contract

    folder.mkdir(exist_ok=True)
    target = folder / f"{one.name}.tflite"
    target.write_bytes(content)
    check_contract(one, target)


def write_warnings(warnings: Sequence[str], file: Path) -> None:
    """Write what is to be said of a graph's ranges."""
    file.parent.mkdir(exist_ok=True)
    file.write_text(json_text(list(warnings)))


def read_warnings(folder: Path) -> tuple[str, ...]:
    """Read what the conversions had to say of ranges, graph by graph."""
    files = sorted((folder / WARNINGS).glob("*.json"))
    return tuple(f"{file.stem}: {warning}" for file in files for warning in json.loads(file.read_text()))


def convert_coreml(name: str, source: Source, traces: Path, folder: Path) -> None:
    """Make the Core ML variants of a model whose activations are float, each proven on the traces."""
    from .coreml.convert import to_coreml
    from .weights.gptq import read_roundings

    pipeline = open_pipeline(source)
    rounded = read_roundings(model_roundings(pipeline, traces, folder, name))
    warnings = to_coreml(component(pipeline, name), pipeline.coreml, rounded, load_samples(traces), folder)
    write_warnings(warnings, folder / WARNINGS / f"{name}.coreml.json")


def convert_coreml_int8(name: str, source: Source, traces: Path, folder: Path) -> None:
    """Make the Core ML variant of a model whose activations are int8, with the ranges that TFLite has."""
    from .coreml.activations import weights_ranges
    from .coreml.convert import INT8, to_int8
    from .tflite.ranges import read_ranges
    from .weights.gptq import read_roundings

    pipeline = open_pipeline(source)
    model = float_file(folder, name).read_bytes()
    known = weights_ranges(model, read_ranges(folder / "ranges" / f"{name}.json"))
    roundings = read_roundings(model_roundings(pipeline, traces, folder, name))
    one = component(pipeline, name)
    warnings = to_int8(one, pipeline.coreml, roundings, known, load_samples(traces), folder)
    write_warnings(warnings, folder / WARNINGS / f"{name}.{INT8}.json")


def palette_job(variant: str, name: str, source: Source, traces: Path, folder: Path) -> Job:
    """Return the conversion of one model to a variant whose weights are palettes."""
    work = partial(convert_palettes, variant, name, source, traces, folder)
    makes = (f"{variant}/{name}.mlpackage", f"warnings/{name}.{variant}.json")
    return Job(f"{variant} {name}", folder / f"{variant}-{name}.log", work, makes=makes)


def convert_palettes(variant: str, name: str, source: Source, traces: Path, folder: Path) -> None:
    """Make a Core ML variant of a model from its float16 one."""
    from .coreml.convert import to_palettes

    pipeline = open_pipeline(source)
    one = component(pipeline, name)
    warnings = to_palettes(one, pipeline.coreml, variant, load_samples(traces), folder)
    write_warnings(warnings, folder / WARNINGS / f"{name}.{variant}.json")
