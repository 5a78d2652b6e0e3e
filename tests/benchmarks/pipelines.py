"""Small pipelines of other shapes than the appraisal, and their bundles: made by hand, in milliseconds.

``GRADER`` has a stage of two inputs, a picture among them. ``SENSORS`` takes tensors alone, of float32 and
int32. ``EDGES`` takes a grey picture, has a stage of two outputs of equal size, and stages that are called
what our own steps are called.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from mien.mobile_reference.bundle.reader import FORMAT, open_bundle
from mien.mobile_reference.contract import PICTURE, SCALAR, GateSpec, PipelineSpec, StageSpec, TensorSpec
from mien.mobile_reference.run.models import TFLiteModel
from tests.benchmarks.tinymodels import PROVENANCE, Maker, list_files

_OPERATOR = schema.BuiltinOperator
_OPTIONS = schema.BuiltinOptions
_KINDS = {"uint8": schema.TensorType.UINT8, "int32": schema.TensorType.INT32}
VARIANTS = {"tflite-fp32": "tflite", "tflite-fp16": "tflite", "coreml-fp16": "coreml"}

GRADER = PipelineSpec(
    name="grader",
    tensors=(
        TensorSpec("image", (1, 16, 16, 3), "uint8", 255, "a picture", PICTURE),
        TensorSpec("mask", (1, 16, 16, 1), "float32", 1, "what was found", PICTURE),
        TensorSpec("grade", (1,), "float32", 100, "how much of it"),
    ),
    stages=(
        StageSpec("segment", ("image",), ("mask",)),
        StageSpec("rate", ("image", "mask"), ("grade",)),
    ),
    gates=(GateSpec("grade", SCALAR, {"fp32": 0.01, "fp16": 0.5}),),
)
SENSORS = PipelineSpec(
    name="sensors",
    tensors=(
        TensorSpec("readings", (1, 4), "float32", 1, "measured"),
        TensorSpec("counts", (1, 4), "int32", 10, "counted"),
        TensorSpec("risk", (1,), "float32", 1, "of both"),
    ),
    stages=(StageSpec("mlp", ("readings", "counts"), ("risk",)),),
    gates=(GateSpec("risk", SCALAR, {"any": 1e-4}),),
)
EDGES = PipelineSpec(
    name="edges",
    tensors=(
        TensorSpec("grey", (1, 8, 8, 1), "uint8", 255, "a grey picture", PICTURE),
        TensorSpec("low", (1, 4), "float32", 1, "the one half"),
        TensorSpec("high", (1, 4), "float32", 1, "the other half"),
        TensorSpec("limit", (1, 4), "float32", 1, "of the same size"),
        TensorSpec("bound", (1, 4), "float32", 1, "low under a limit"),
        TensorSpec("margin", (1,), "float32", 100, "high over twice low"),
    ),
    stages=(
        StageSpec("decode", ("grey",), ("low", "high")),
        StageSpec("align", ("low", "limit"), ("bound",)),
        StageSpec("total", ("high", "bound"), ("margin",)),
    ),
    gates=(GateSpec("margin", SCALAR, {"any": 1e-4}),),
)
Write = Callable[[Path], Path]


def _cast(maker: Maker, source: int, kind: str, shape: list[int]) -> int:
    options = schema.CastOptionsT(inDataType=_KINDS[kind], outDataType=schema.TensorType.FLOAT32)
    made = maker.tensor(f"float_{source}", shape)
    return maker.add(_OPERATOR.CAST, [source], made, _OPTIONS.CastOptions, options)


def _times(maker: Maker, a: int, b: int, output: int) -> int:
    return maker.add(_OPERATOR.MUL, [a, b], output, _OPTIONS.MulOptions, schema.MulOptionsT())


def _minus(maker: Maker, a: int, b: int, output: int) -> int:
    return maker.add(_OPERATOR.SUB, [a, b], output, _OPTIONS.SubOptions, schema.SubOptionsT())


def _plus(maker: Maker, a: int, b: int, output: int) -> int:
    return maker.add(_OPERATOR.ADD, [a, b], output, _OPTIONS.AddOptions, schema.AddOptionsT())


def _mean(maker: Maker, source: int, axes: list[int], output: int) -> int:
    numbers = maker.constant(f"axes_{source}", np.array(axes, np.int32))
    options = schema.ReducerOptionsT(keepDims=False)
    return maker.add(_OPERATOR.MEAN, [source, numbers], output, _OPTIONS.ReducerOptions, options)


def _random(maker: Maker, name: str, shape: tuple[int, ...], seed: int) -> int:
    values = np.random.default_rng(seed).normal(0, 0.01, shape)
    return maker.constant(name, values.astype(np.float32))


def segment(file: Path) -> Path:
    """One convolution and its sigmoid."""
    maker = Maker()
    image = maker.tensor("image", [1, 16, 16, 3], "uint8")
    pixels = _cast(maker, image, "uint8", [1, 16, 16, 3])
    bias = maker.constant("bias", np.zeros(1, np.float32))
    heat = maker.tensor("heat", [1, 16, 16, 1])
    maker.convolve(pixels, _random(maker, "weights", (1, 3, 3, 3), 1), bias, heat)
    return maker.write(
        file, [image], [maker.add(_OPERATOR.LOGISTIC, [heat], maker.tensor("mask", [1, 16, 16, 1]))]
    )


def rate(file: Path) -> Path:
    """The mean of what the mask leaves of the picture."""
    maker = Maker()
    image = maker.tensor("image", [1, 16, 16, 3], "uint8")
    mask = maker.tensor("mask", [1, 16, 16, 1])
    pixels = _cast(maker, image, "uint8", [1, 16, 16, 3])
    left = _times(maker, pixels, mask, maker.tensor("left", [1, 16, 16, 3]))
    return maker.write(file, [image, mask], [_mean(maker, left, [1, 2, 3], maker.tensor("grade", [1]))])


def mlp(file: Path) -> Path:
    """One layer on the readings, and the counts beside it."""
    maker = Maker()
    readings, counts = maker.tensor("readings", [1, 4]), maker.tensor("counts", [1, 4], "int32")
    weights = _random(maker, "weights", (4, 4), 2)
    bias = maker.constant("bias", np.ones(4, np.float32))
    hidden = maker.tensor("hidden", [1, 4])
    options = schema.FullyConnectedOptionsT()
    kind = _OPTIONS.FullyConnectedOptions
    maker.add(_OPERATOR.FULLY_CONNECTED, [readings, weights, bias], hidden, kind, options)
    counted = _cast(maker, counts, "int32", [1, 4])
    both = _times(maker, hidden, counted, maker.tensor("both", [1, 4]))
    return maker.write(file, [readings, counts], [_mean(maker, both, [1], maker.tensor("risk", [1]))])


def decode(file: Path) -> Path:
    """Two outputs of equal size, the second the double of the first."""
    maker = Maker()
    grey = maker.tensor("grey", [1, 8, 8, 1], "uint8")
    pixels = _cast(maker, grey, "uint8", [1, 8, 8, 1])
    mean = _mean(maker, pixels, [2, 3], maker.tensor("rows", [1, 8]))
    low, high = maker.tensor("low", [1, 4]), maker.tensor("high", [1, 4])
    options = schema.FullyConnectedOptionsT()
    kind = _OPTIONS.FullyConnectedOptions
    bias = maker.constant("bias", np.zeros(4, np.float32))
    weights = _random(maker, "weights", (4, 8), 3)
    maker.add(_OPERATOR.FULLY_CONNECTED, [mean, weights, bias], low, kind, options)
    _plus(maker, low, low, high)
    return maker.write(file, [grey], [low, high])


def align(file: Path) -> Path:
    """The first input less the second one's third."""
    maker = Maker()
    low, limit = maker.tensor("low", [1, 4]), maker.tensor("limit", [1, 4])
    third = maker.constant("third", np.full((1, 4), 1 / 3, np.float32))
    part = _times(maker, limit, third, maker.tensor("part", [1, 4]))
    return maker.write(file, [low, limit], [_minus(maker, low, part, maker.tensor("bound", [1, 4]))])


def total(file: Path) -> Path:
    """The mean of the first input less that of the second."""
    maker = Maker()
    high, bound = maker.tensor("high", [1, 4]), maker.tensor("bound", [1, 4])
    rest = _minus(maker, high, bound, maker.tensor("rest", [1, 4]))
    return maker.write(file, [high, bound], [_mean(maker, rest, [1], maker.tensor("margin", [1]))])


MODELS: Mapping[str, Write] = {one.__name__: one for one in (segment, rate, mlp, decode, align, total)}


def make_bundle(folder: Path, spec: PipelineSpec, models: Mapping[str, Write] = MODELS) -> Path:
    """Make a bundle of a pipeline without a front; its Core ML packages are stand-ins that nothing runs."""
    for variant, platform in VARIANTS.items():
        for model in spec.models:
            if platform == "tflite":
                models[model.name](folder / variant / f"{model.name}.tflite")
            else:
                file = folder / variant / f"{model.name}.mlpackage" / "Manifest.json"
                file.parent.mkdir(parents=True)
                file.write_text("{}")
    tensors = _golden_tensors(folder, spec)
    (folder / "vectors").mkdir()
    for name, array in tensors.items():
        np.save(folder / "vectors" / f"{name}.npy", array)
    list_files(folder, _manifest(spec, tensors))
    open_bundle(folder)
    return folder


def _golden_tensors(folder: Path, spec: PipelineSpec) -> dict[str, NDArray[Any]]:
    generator = np.random.default_rng(5)
    known: dict[str, NDArray[Any]] = {}
    for tensor in spec.tensors_of(spec.inputs):
        if tensor.dtype == "float32":
            known[tensor.name] = generator.normal(0, 1, tensor.shape).astype(np.float32)
        else:
            known[tensor.name] = generator.integers(0, tensor.full_scale, tensor.shape).astype(tensor.dtype)
    for stage in spec.stages:
        file = folder / "tflite-fp32" / f"{stage.name}.tflite"
        tensors = spec.tensors_of(stage.inputs), spec.tensors_of(stage.outputs)
        known |= TFLiteModel(file, *tensors, threads=1)({name: known[name] for name in stage.inputs})
    return known


def _manifest(spec: PipelineSpec, tensors: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    rated = float(tensors[spec.rating.tensor].reshape(-1)[0])
    return {
        "format": FORMAT,
        **spec.record(),
        "platforms": {
            "tflite": {"layout": "NHWC", "pixels": "RGB", "minimum": "any"},
            "coreml": {"layout": "NCHW", "pixels": "RGB", "minimum": "any"},
        },
        "variants": [
            {
                "name": name,
                "platform": platform,
                "precision": name.partition("-")[2],
                "files": {
                    model.name: f"{name}/{model.name}.{'tflite' if platform == 'tflite' else 'mlpackage'}"
                    for model in spec.models
                },
                "minimum": "any",
                "products_int8": None,
                "runtime": None,
            }
            for name, platform in VARIANTS.items()
        ],
        "goldens": [
            {
                "name": "one",
                "source": None,
                "front": {},
                "values": {spec.rating.tensor: rated},
                "vectors": {name: f"vectors/{name}.npy" for name in tensors},
            }
        ],
        "files": {},
        "provenance": PROVENANCE,
    }
