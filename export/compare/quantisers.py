"""The ways to int8 beside each other: the same float graph, judged by the score over held-out faces."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from mien.export.component import Component, component
from mien.export.environments import TENSORFLOW
from mien.export.errors import ConversionError
from mien.export.plan import convert_tflite, float_file, round_weights
from mien.export.running.isolation import Limits, run_isolated
from mien.export.tflite.converters import CONVERTERS, tf_converter
from mien.export.tflite.converters.onnx2tf_program import quantise_saved_model, run_onnx2tf
from mien.export.tflite.converters.onnx_graph import to_onnx
from mien.export.tflite.interpreter import Runner
from mien.export.tflite.quantise import as_statistics, quantised
from mien.export.tflite.ranges import Method, histograms, ranges_by
from mien.export.tflite.samples import load_samples
from mien.export.tflite.signature import order_by_signature
from mien.mobile_reference.output.json_text import json_text
from mien.mobile_reference.report.steps import Progress
from mien.models.pipeline import Pipeline
from mien.models.sources import Source, open_pipeline

from .converters import FAILED, MISSING, WORKS
from .instructions import Instructions, count_instructions
from .timing import interleaved_ms

OURS = "mien"
_LIMITS = Limits(seconds=1800)
_HELD_OUT = "held-out.safetensors"
_INPUT, _RATING = "input", "rating"
_FED = "input.npy"


@dataclass(frozen=True)
class Cost:
    """What int8 costs: score errors in points over ``faces``, bytes, and ms on one thread of this host.

    ``arm64`` are the instructions of one run on an emulated processor, or why they were not counted.
    """

    faces: int
    mean: float
    p95: float
    worst: float
    bytes: int
    ms: float
    arm64: Instructions


@dataclass(frozen=True)
class Quantised:
    """One way to int8; ``state`` and ``reason`` as in ``compare_converters.Attempt``."""

    route: str
    state: str
    reason: str = ""
    cost: Cost | None = None


@dataclass(frozen=True)
class NamedModel:
    """The model that is quantised: where its pipeline comes from, and its name."""

    source: Source
    model: str

    def component(self) -> Component:
        """Open the model."""
        return component(open_pipeline(self.source), self.model)


def by_mien(subject: NamedModel, folder: Path) -> None:
    """Quantise as an export does; makes the float model for the others too."""
    pipeline, name = open_pipeline(subject.source), subject.model
    if pipeline.precision is None:
        raise ConversionError(
            f"pipeline {pipeline.name} comes with no precisions; search with --precision auto"
        )
    round_weights(pipeline, folder / "traces")
    convert_tflite(pipeline.precision, name, subject.source, folder / "traces", folder)
    _target(folder, OURS).write_bytes((folder / "tflite-int8" / f"{name}.tflite").read_bytes())


def by_quantiser(subject: NamedModel, folder: Path) -> None:
    """Quantise the same float model by ai-edge-quantizer's own recipe, ranges by least and greatest value.

    Its own calibration runs XNNPACK, which leaves tensors inside of what it fuses without data. Of weights
    that two tensors share it quantises one, hence the model as it was before they were shared.
    """
    from ai_edge_quantizer import quantizer, recipe

    model = float_file(folder, subject.model).read_bytes()
    ranges = ranges_by(
        Method.MIN_MAX, histograms(subject.component(), model, load_samples(folder / "traces"))
    )
    job = quantizer.Quantizer(bytearray(model))
    job.load_quantization_recipe(recipe.static_wi8_ai8())
    _target(folder, "ai-edge-quantizer").write_bytes(quantised(job, as_statistics(model, ranges)))


def by_quantiser_dynamically(subject: NamedModel, folder: Path) -> None:
    """Quantise the same float model by its recipe without ranges: inputs are quantised as they are read."""
    from ai_edge_quantizer import quantizer, recipe

    job = quantizer.Quantizer(str(float_file(folder, subject.model)))
    job.load_quantization_recipe(recipe.dynamic_wi8_afp32())
    _target(folder, "ai-edge-quantizer, dynamic").write_bytes(quantised(job))


def by_onnx2tf(subject: NamedModel, folder: Path) -> None:
    """Let onnx2tf quantise. It takes no pictures of bytes: pixels come as float32, 0..255."""
    given = folder / "calibration.npy"
    (name,) = subject.component().inputs
    np.save(
        given, np.concatenate([sample[name] for sample in _calibration(subject, folder)]).astype(np.float32)
    )
    model = onnx.load(str(_onnx(subject, folder)))
    model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    source = folder / "float-pixels.onnx"
    onnx.save(model, str(source))
    one = [[[[1.0, 1.0, 1.0]]]]
    run_onnx2tf(
        source,
        folder / "onnx2tf",
        tflite_backend="flatbuffer_direct",
        output_integer_quantized_tflite=True,
        custom_input_op_name_np_data_path=[[name, str(given), [[[[0.0, 0.0, 0.0]]]], one]],
    )
    made = sorted((folder / "onnx2tf").glob("*_integer_quant.tflite"))
    if not made:
        raise ConversionError("onnx2tf ended without an error and wrote no int8 model")
    _target(folder, "onnx2tf").write_bytes(made[-1].read_bytes())


def by_tensorflow(subject: NamedModel, folder: Path) -> None:
    """Let TensorFlow's converter quantise what onnx2tf's TensorFlow back end made."""
    saved, one = folder / tf_converter.SAVED_MODEL, subject.component()
    run_onnx2tf(_onnx(subject, folder), saved, environment=TENSORFLOW, tflite_backend="tf_converter")
    calibration, samples = folder / "calibration.npz", _calibration(subject, folder)
    stacked: dict[str, Any] = {name: np.stack([sample[name] for sample in samples]) for name in one.inputs}
    np.savez(calibration, **stacked)
    made = quantise_saved_model(saved, calibration, folder / "saved-model-int8.tflite").read_bytes()
    _target(folder, "TFLiteConverter").write_bytes(order_by_signature(made, one.inputs, one.outputs))


@dataclass(frozen=True)
class Route:
    """One way to int8: ``make`` writes its model; it needs a converter of the name ``needs``."""

    name: str
    make: Callable[["NamedModel", Path], None]
    needs: str


# Ours is first: it makes the float model that ai-edge-quantizer is given.
ROUTES: tuple[Route, ...] = (
    Route(OURS, by_mien, "flatbuffer_direct"),
    Route("ai-edge-quantizer", by_quantiser, "flatbuffer_direct"),
    Route("ai-edge-quantizer, dynamic", by_quantiser_dynamically, "flatbuffer_direct"),
    Route("onnx2tf", by_onnx2tf, "flatbuffer_direct"),
    Route("TFLiteConverter", by_tensorflow, "tf_converter"),
)


def compare_quantisers(
    source: Source,
    pipeline: Pipeline,
    faces: Path,
    folder: Path,
    progress: Progress,
    routes: Sequence[Route] = ROUTES,
) -> tuple[Quantised, ...]:
    """Quantise the end-to-end model every way and judge each by held-out portraits, plain and drawn upon.

    ``source`` is where other processes open the ``pipeline``; ``folder`` holds the float
    pipeline's ``traces`` and takes what is made.

    Raises:
        ImageSetError: ``faces`` holds no portrait that was held out.
    """
    total = 2 * len(routes) + 2
    subject = NamedModel(source, _save_held_out(faces, pipeline, folder))
    progress("rated held-out faces in float", 1, total)
    found: list[Quantised] = []
    for number, route in enumerate(routes, start=1):
        found.append(_tried(route, subject, folder))
        progress(f"{route.name}: {found[-1].state}", 2 * number + 1, total)
    measured = _measured(found, folder)
    progress("timed and counted", total, total)
    return measured


def _tried(route: Route, subject: NamedModel, folder: Path) -> Quantised:
    """Quantise and judge, each in a process of its own: some int8 models divide by zero when they run."""
    (converter,) = (one for one in CONVERTERS if one.name == route.needs)
    if not converter.installed():
        return Quantised(route.name, MISSING, f"{route.name}: {converter.install}")
    make, judge = partial(route.make, subject, folder), partial(_judge, folder, route.name)
    try:
        for step, task in (("make", make), ("judge", judge)):
            run_isolated(task, folder / f"{route.name}.{step}.log", _LIMITS, f"{route.name} ({step})")
    except ConversionError as error:
        return Quantised(route.name, FAILED, str(error))
    return Quantised(route.name, WORKS)


def _target(folder: Path, route: str) -> Path:
    return folder / f"{route}.tflite"


def _onnx(subject: NamedModel, folder: Path) -> Path:
    exported = folder / f"{subject.model}.onnx"
    to_onnx(subject.component(), exported)
    return exported


def _calibration(subject: NamedModel, folder: Path) -> list[dict[str, NDArray[Any]]]:
    inputs = subject.component().inputs
    return [{name: sample[name] for name in inputs} for sample in load_samples(folder / "traces")]


def _save_held_out(portraits: Path, pipeline: Pipeline, folder: Path) -> str:
    """Write held-out inputs [N, 1, ...] and their float ratings [N] where other processes find them.

    Returns:
        The name of the model that they are inputs of.

    Raises:
        ConversionError: the pipeline has no end-to-end model of one input.
    """
    if pipeline.end_to_end is None or len(pipeline.end_to_end.inputs) != 1:
        raise ConversionError(f"pipeline {pipeline.name} has no end-to-end model of one input to compare")
    samples = [
        sample.tensors for sample in pipeline.inputs.held_out(pipeline, portraits).samples(slice(None))
    ]
    named = {_INPUT: pipeline.end_to_end.inputs[0], _RATING: pipeline.spec.rating.tensor}
    arrays = {key: np.stack([sample[name] for sample in samples]) for key, name in named.items()}
    save_file(arrays, folder / _HELD_OUT)
    return pipeline.end_to_end.name


def _judge(folder: Path, route: str) -> None:
    """Rate every face and write the score errors."""
    faces = load_file(folder / _HELD_OUT)
    runner = Runner(_target(folder, route))
    try:
        scores = [float(runner.run([_fed(runner, face)])[0].reshape(-1)[0]) for face in faces[_INPUT]]
    except (RuntimeError, ValueError) as error:
        raise ConversionError(f"the model does not run: {' '.join(str(error).split())}") from error
    errors = np.abs(np.array(scores) - faces[_RATING].reshape(-1))
    if not np.isfinite(errors).all():
        raise ConversionError("the model gives scores that are not numbers")
    _target(folder, route).with_suffix(".json").write_text(json_text(errors.tolist()))


def _fed(runner: Runner, face: NDArray[Any]) -> NDArray[Any]:
    """Return the face in the type that the model takes."""
    ((_, kind),) = runner.signature()[0]
    return face.astype(kind)


def _measured(found: Sequence[Quantised], folder: Path) -> tuple[Quantised, ...]:
    """Time what works in turns, then count its ARM64 instructions where the emulation was set up."""
    models = {one.route: _target(folder, one.route) for one in found if one.state == WORKS}
    face = load_file(folder / _HELD_OUT)[_INPUT][0]
    runners = {route: Runner(model) for route, model in models.items()}
    times = interleaved_ms({route: (runner, [_fed(runner, face)]) for route, runner in runners.items()})
    np.save(folder / _FED, face)
    counts = count_instructions(models, folder / _FED)
    costs = {name: _cost(model, times[name], counts[name]) for name, model in models.items()}
    return tuple(replace(one, cost=costs.get(one.route)) for one in found)


def _cost(model: Path, ms: float, arm64: Instructions) -> Cost:
    errors = np.array(json.loads(model.with_suffix(".json").read_text()))
    return Cost(
        faces=len(errors),
        mean=float(errors.mean()),
        p95=float(np.quantile(errors, 0.95)),
        worst=float(errors.max()),
        bytes=model.stat().st_size,
        ms=ms,
        arm64=arm64,
    )
