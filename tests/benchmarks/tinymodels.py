"""Tiny TFLite models and a bundle of them, made from nothing: seconds instead of a real export."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray
from PIL import Image

from mien.mobile_reference.bundle.reader import FACE_ALIGNMENT, FORMAT, MANIFEST, open_bundle, sha256
from mien.mobile_reference.contract import (
    PICTURE,
    SCALAR,
    FrontSpec,
    GateSpec,
    PipelineSpec,
    SkipSpec,
    StageSpec,
    TensorSpec,
)
from mien.mobile_reference.run.runner import BundleRunner, rating_of

_TYPES = {
    "float16": schema.TensorType.FLOAT16,
    "float32": schema.TensorType.FLOAT32,
    "uint8": schema.TensorType.UINT8,
    "int8": schema.TensorType.INT8,
    "int32": schema.TensorType.INT32,
}
SIGNATURE = b"serving_default"
_OPERATOR = schema.BuiltinOperator
_OPTIONS = schema.BuiltinOptions


class _AlignedBuilder(flatbuffers.Builder):  # type: ignore[misc] - flatbuffers is untyped
    """Puts stored values at multiples of 16 bytes, as the schema of TFLite demands."""

    def CreateNumpyVector(self, values: NDArray[Any]) -> int:  # noqa: N802 - overrides
        self.Prep(16, values.nbytes)
        return int(super().CreateNumpyVector(values))


@dataclass
class Maker:
    """Collects tensors and operators of one model; numbers of tensors stand for them."""

    tensors: list[Any] = field(default_factory=list)
    buffers: list[Any] = field(default_factory=lambda: [schema.BufferT()])
    operators: list[Any] = field(default_factory=list)
    codes: list[int] = field(default_factory=list)

    def tensor(self, name: str, shape: list[int], dtype: str = "float32", **quantization: Any) -> int:
        tensor = schema.TensorT(shape=shape, type=_TYPES[dtype], buffer=0, name=name.encode())
        if quantization:
            tensor.quantization = schema.QuantizationParametersT(**quantization)
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    def constant(self, name: str, values: NDArray[Any], **quantization: Any) -> int:
        number = self.tensor(name, list(values.shape), values.dtype.name, **quantization)
        self.buffers.append(schema.BufferT(data=np.frombuffer(values.tobytes(), np.uint8)))
        self.tensors[number].buffer = len(self.buffers) - 1
        return number

    def add(self, code: int, inputs: list[int], output: int, kind: int = 0, options: Any = None) -> int:
        if code not in self.codes:
            self.codes.append(code)
        self.operators.append(
            schema.OperatorT(
                opcodeIndex=self.codes.index(code),
                inputs=inputs,
                outputs=[output],
                builtinOptionsType=kind,
                builtinOptions=options,
            )
        )
        return output

    def convolve(self, source: int, weights: int, bias: int, output: int, stride: int = 1) -> int:
        options = schema.Conv2DOptionsT(padding=schema.Padding.SAME, strideW=stride, strideH=stride)
        return self.add(_OPERATOR.CONV_2D, [source, weights, bias], output, _OPTIONS.Conv2DOptions, options)

    def depthwise(self, source: int, weights: int, bias: int, output: int) -> int:
        options = schema.DepthwiseConv2DOptionsT(
            padding=schema.Padding.SAME, strideW=1, strideH=1, depthMultiplier=1
        )
        kind = _OPTIONS.DepthwiseConv2DOptions
        return self.add(_OPERATOR.DEPTHWISE_CONV_2D, [source, weights, bias], output, kind, options)

    def write(self, file: Path, inputs: list[int], outputs: list[int]) -> Path:
        graph = schema.SubGraphT(
            tensors=self.tensors, inputs=inputs, outputs=outputs, operators=self.operators, name=b"main"
        )
        codes = [
            schema.OperatorCodeT(deprecatedBuiltinCode=min(code, 127), builtinCode=code)
            for code in self.codes
        ]
        signature = schema.SignatureDefT(
            inputs=self._mapped(inputs),
            outputs=self._mapped(outputs),
            signatureKey=SIGNATURE,
            subgraphIndex=0,
        )
        model = schema.ModelT(
            version=3,
            operatorCodes=codes,
            subgraphs=[graph],
            buffers=self.buffers,
            signatureDefs=[signature],
        )
        builder = _AlignedBuilder(1024)
        builder.Finish(model.Pack(builder), b"TFL3")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(bytes(builder.Output()))
        return file

    def _mapped(self, numbers: list[int]) -> list[Any]:
        """Name tensors as converters do, in the order of the alphabet and not in that of the graph."""
        named = sorted((self.tensors[number].name, number) for number in numbers)
        return [schema.TensorMapT(name=name, tensorIndex=number) for name, number in named]


def _cast(maker: Maker, source: int, name: str, shape: list[int]) -> int:
    options = schema.CastOptionsT(inDataType=_TYPES["uint8"], outDataType=_TYPES["float32"])
    return maker.add(_OPERATOR.CAST, [source], maker.tensor(name, shape), _OPTIONS.CastOptions, options)


def _mean(maker: Maker, source: int, name: str) -> int:
    axes = maker.constant(name + "_axes", np.array([1, 2, 3], np.int32))
    options = schema.ReducerOptionsT(keepDims=False)
    return maker.add(
        _OPERATOR.MEAN, [source, axes], maker.tensor(name, [1]), _OPTIONS.ReducerOptions, options
    )


def _floats(maker: Maker, name: str, shape: tuple[int, ...], seed: int) -> int:
    values = np.random.default_rng(seed).normal(0, 0.2, shape)
    return maker.constant(name, values.astype(np.float32))


def _zeros(maker: Maker, name: str, count: int) -> int:
    return maker.constant(name, np.zeros(count, np.float32))


def _times(maker: Maker, a: int, b: int, output: int) -> int:
    return maker.add(_OPERATOR.MUL, [a, b], output, _OPTIONS.MulOptions, schema.MulOptionsT())


def _plus(maker: Maker, a: int, b: int, output: int) -> int:
    return maker.add(_OPERATOR.ADD, [a, b], output, _OPTIONS.AddOptions, schema.AddOptionsT())


def detector(file: Path) -> Path:
    """Always find the one face in the middle of the picture."""
    face = [0.99, 0.5, 0.5, 0.5, 0.5, 0.4, 0.4, 0.6, 0.4, 0.5, 0.5, 0.5, 0.6, 0.3, 0.5, 0.7, 0.5]
    maker = Maker()
    picture = maker.tensor("picture", [1, 128, 128, 3], "uint8")
    mean = _mean(maker, _cast(maker, picture, "float", [1, 128, 128, 3]), "mean")
    nothing = maker.constant("zeros", np.zeros((1, 2, 17), np.float32))
    still = _times(maker, nothing, mean, maker.tensor("still", [1, 2, 17]))
    found = maker.constant("found", np.array([[face, [0.0] * 17]], np.float32))
    return maker.write(file, [picture], [_plus(maker, still, found, maker.tensor("candidates", [1, 2, 17]))])


def heatmap(file: Path) -> Path:
    """Two convolutions, 3x3 of stride 2 and a depthwise one."""
    maker = Maker()
    face = maker.tensor("face", [1, 256, 256, 3], "uint8")
    pixels = _cast(maker, face, "float", [1, 256, 256, 3])
    weights = _floats(maker, "w1", (8, 3, 3, 3), 1)
    wide = maker.convolve(
        pixels, weights, _zeros(maker, "b1", 8), maker.tensor("wide", [1, 128, 128, 8]), stride=2
    )
    depth = maker.depthwise(
        wide,
        _floats(maker, "w2", (1, 3, 3, 8), 2),
        _zeros(maker, "b2", 8),
        maker.tensor("depth", [1, 128, 128, 8]),
    )
    heat = maker.convolve(
        depth,
        _floats(maker, "w3", (1, 1, 1, 8), 3),
        _zeros(maker, "b3", 1),
        maker.tensor("heat", [1, 128, 128, 1]),
    )
    return maker.write(file, [face], [heat])


def _appraisal_weights() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    generator = np.random.default_rng(4)
    wide = generator.normal(0, 0.2, (32, 3, 3, 3)).astype(np.float32)
    return wide, generator.normal(0, 0.2, (1, 1, 1, 32)).astype(np.float32)


def appraisal(file: Path) -> Path:
    """Rate by the mean of two convolutions of the face, 3x3 of stride 2 and 1x1."""
    maker = Maker()
    face = maker.tensor("face", [1, 256, 256, 3], "uint8")
    pixels = _cast(maker, face, "float", [1, 256, 256, 3])
    first, second = (maker.constant(f"w{n}", weights) for n, weights in enumerate(_appraisal_weights()))
    wide = maker.tensor("wide", [1, 128, 128, 32])
    maker.convolve(pixels, first, _zeros(maker, "b1", 32), wide, stride=2)
    heat = maker.tensor("heatmap", [1, 128, 128, 1])
    maker.convolve(wide, second, _zeros(maker, "b2", 1), heat)
    return maker.write(file, [face], [_mean(maker, heat, "score"), heat])


def int8_appraisal(file: Path) -> Path:
    """Do the same in int8, with weights by channel; uint8 in, float out."""
    maker = Maker()
    face = maker.tensor("face", [1, 256, 256, 3], "uint8", scale=[1.0], zeroPoint=[0])
    signed = maker.tensor("signed", [1, 256, 256, 3], "int8", scale=[1.0], zeroPoint=[-128])
    maker.add(_OPERATOR.QUANTIZE, [face], signed)
    first, second = _appraisal_weights()
    wide = maker.tensor("wide", [1, 128, 128, 32], "int8", scale=[8.0], zeroPoint=[0])
    _int8_convolution(maker, signed, 1.0, first, wide, stride=2)
    heat = maker.tensor("heat", [1, 128, 128, 1], "int8", scale=[8.0], zeroPoint=[0])
    _int8_convolution(maker, wide, 8.0, second, heat, stride=1)
    axes = maker.constant("axes", np.array([1, 2, 3], np.int32))
    mean = maker.tensor("mean", [1], "int8", scale=[2.0], zeroPoint=[0])
    options = schema.ReducerOptionsT(keepDims=False)
    maker.add(_OPERATOR.MEAN, [heat, axes], mean, _OPTIONS.ReducerOptions, options)
    score, heatmap_ = maker.tensor("score", [1]), maker.tensor("heatmap", [1, 128, 128, 1])
    maker.add(_OPERATOR.DEQUANTIZE, [mean], score)
    maker.add(_OPERATOR.DEQUANTIZE, [heat], heatmap_)
    return maker.write(file, [face], [score, heatmap_])


def softmax_of_products(file: Path) -> Path:
    """Multiply two inputs as matrices, as attention does."""
    maker = Maker()
    query, key = (maker.tensor(name, [1, 16, 16]) for name in ("query", "key"))
    options = schema.BatchMatMulOptionsT()
    output = maker.tensor("weights", [1, 16, 16])
    maker.add(_OPERATOR.BATCH_MATMUL, [query, key], output, _OPTIONS.BatchMatMulOptions, options)
    return maker.write(file, [query, key], [output])


def _int8_convolution(
    maker: Maker, source: int, scale: float, weights: NDArray[np.float32], output: int, stride: int
) -> None:
    count = len(weights)
    scales = np.abs(weights).max(axis=(1, 2, 3)) / 127
    values = np.rint(weights / scales[:, None, None, None]).astype(np.int8)
    channels: dict[str, Any] = {"zeroPoint": [0] * count, "quantizedDimension": 0}
    stored = maker.constant(f"w{output}", values, scale=scales.tolist(), **channels)
    nothing = np.zeros(count, np.int32)
    bias = maker.constant(f"b{output}", nothing, scale=(scale * scales).tolist(), **channels)
    maker.convolve(source, stored, bias, output, stride)


def compare(file: Path) -> Path:
    """Rate by the mean of the heat, which is the heatmap, doubled."""
    maker = Maker()
    heat = maker.tensor("heat", [1, 128, 128, 1])
    doubled = _plus(maker, heat, heat, maker.tensor("heatmap", [1, 128, 128, 1]))
    return maker.write(file, [heat], [_mean(maker, doubled, "score"), doubled])


_MODELS = {"detector": detector, "heatmap": heatmap, "compare": compare, "appraisal": appraisal}
_TENSORS = (
    TensorSpec("picture", (1, 128, 128, 3), "uint8", 255, "what the detector sees", PICTURE),
    TensorSpec("candidates", (1, 2, 17), "float32", 1, "what it finds"),
    TensorSpec("face", (1, 256, 256, 3), "uint8", 255, "the aligned face", PICTURE),
    TensorSpec("heat", (1, 128, 128, 1), "float32", 1, "of a test", PICTURE),
    TensorSpec("heatmap", (1, 128, 128, 1), "float32", 1, "of a test", PICTURE),
    TensorSpec("score", (1,), "float32", 100, "the mean of the heatmap"),
)
_RULE = {
    "size": 256,
    "template": [[96, 112], [160, 112], [128, 150], [128, 180]],
    "keypoints": list("abcdef"),
    "score": 0.5,
    "overlap": 0.3,
    "second_look": 2.0,
    "smallest": 20,
    "detector_size": 128,
    "coordinates": "pixels",
    "resampling": "bilinear",
    "snap": 0.125,
}
PROVENANCE = {
    "mien": "0",
    "commit": "unknown",
    "versions": {},
    "checkpoint": "0" * 64,
    "calibration": {"inputs": 1, "sha256": "0" * 64, "ranges": "none"},
}
"""What the manifest of a bundle says that no export made."""
TOLERANCES = {"tflite-fp32": 0.01, "tflite-int8": 2.0}
PIPELINE = PipelineSpec(
    name="tiny",
    tensors=_TENSORS,
    front=FrontSpec(
        FACE_ALIGNMENT, ("face",), _RULE, (StageSpec("detector", ("picture",), ("candidates",)),)
    ),
    stages=(
        StageSpec("heatmap", ("face",), ("heat",)),
        StageSpec("compare", ("heat",), ("score", "heatmap")),
    ),
    whole=StageSpec("appraisal", ("face",), ("score", "heatmap")),
    gates=(GateSpec("score", SCALAR, TOLERANCES),),
)
"""Two stages that an end-to-end model replaces, behind a front that aligns faces."""


def _manifest(spec: PipelineSpec, score: float) -> dict[str, Any]:
    names = [model.name for model in spec.models]
    return {
        "format": FORMAT,
        **spec.record(),
        "platforms": {"tflite": {"layout": "NHWC", "pixels": "RGB", "minimum": "any"}},
        "variants": [
            {
                "name": name,
                "platform": "tflite",
                "precision": name.partition("-")[2],
                "files": {model: f"{name}/{model}.tflite" for model in names},
                "minimum": "any",
                "products_int8": None,
                "runtime": None,
            }
            for name in TOLERANCES
        ],
        "goldens": [
            {
                "name": "noise",
                "source": "noise.png" if spec.front else None,
                "front": {"alignment": [[1, 0, 0], [0, 1, 0]]} if spec.front else {},
                "values": {spec.rating.tensor: score},
                "vectors": {tensor.name: f"vectors/{tensor.name}.npy" for tensor in spec.tensors},
            }
        ],
        "files": {},
        "provenance": PROVENANCE,
    }


def write_manifest(folder: Path, score: float, spec: PipelineSpec = PIPELINE) -> None:
    """Describe what lies in the folder, with ``score`` as the float score of its photograph."""
    list_files(folder, _manifest(spec, score))


def list_files(folder: Path, manifest: dict[str, Any]) -> None:
    """Write a manifest with the sizes and hashes of all files of the folder."""
    for file in sorted(folder.rglob("*")):
        if file.is_file() and file.name != MANIFEST:
            entry = {"bytes": file.stat().st_size, "sha256": sha256(file)}
            manifest["files"][file.relative_to(folder).as_posix()] = entry
    (folder / MANIFEST).write_text(json.dumps(manifest))


def tiny_bundle(folder: Path) -> Path:
    """Make a bundle of two variants whose end-to-end model differs, and a photograph of noise."""
    for variant in TOLERANCES:
        for name, make in _MODELS.items():
            make(folder / variant / f"{name}.tflite")
    int8_appraisal(folder / "tflite-int8" / "appraisal.tflite")
    pixels = np.random.default_rng(7).integers(0, 256, (300, 300, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(folder / "noise.png")
    (folder / "vectors").mkdir()
    _write_vectors(folder, {})
    write_manifest(folder, 0.0)
    opened = open_bundle(folder)
    rating = BundleRunner(opened).appraise(opened.goldens[0].read_photograph())
    _write_vectors(folder, {**rating.prepared.inputs, **rating.tensors})
    write_manifest(folder, rating.score)
    return folder


def _write_vectors(folder: Path, known: Mapping[str, NDArray[Any]]) -> None:
    """Write golden tensors, zeros for what is not known."""
    for tensor in _TENSORS:
        zeros = np.zeros(tensor.shape, tensor.dtype)
        np.save(folder / "vectors" / f"{tensor.name}.npy", known.get(tensor.name, zeros))


def leaving_bundle(tiny: Path, folder: Path, outputs: Mapping[str, float] | None = None) -> Path:
    """Copy the tiny bundle as one whose last stage is left out where there is no heat, such as of black.

    What it then makes are ``outputs``, zeros by default, as the end-to-end model does.
    """
    shutil.copytree(tiny, folder)
    manifest = json.loads((folder / MANIFEST).read_text())
    first, last = PIPELINE.stages
    skip = SkipSpec("heat", outputs or {"score": 0.0, "heatmap": 0.0})
    manifest["stages"] = replace(PIPELINE, stages=(first, replace(last, skip_when=skip))).record()["stages"]
    for variant in manifest["variants"]:
        variant["early_exit"] = {"inputs": 1, "left": 1}
    (folder / MANIFEST).write_text(json.dumps(manifest))
    return folder


def other_bundle(tiny: Path, folder: Path, spec: PipelineSpec, prefix: str = "") -> Path:
    """Copy the tiny bundle as one of another pipeline; ``prefix`` begins its models' and tensors' names."""
    shutil.copytree(tiny, folder)
    for file in [*folder.glob("*/*.tflite"), *folder.glob("vectors/*.npy")]:
        file.rename(file.with_name(prefix + file.name))
    write_manifest(folder, 0.0, spec)
    opened = open_bundle(folder)
    runner, golden = BundleRunner(opened), opened.goldens[0]
    inputs = runner.prepare(golden.read_photograph()).inputs if spec.front else golden.inputs()
    write_manifest(folder, rating_of(spec, runner.rate(inputs)), spec)
    return folder


def renamed(prefix: str) -> PipelineSpec:
    """Return the tiny pipeline with a prefix before the names of all models and tensors."""

    def other(names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(prefix + name for name in names)

    def model(stage: StageSpec) -> StageSpec:
        return StageSpec(prefix + stage.name, other(stage.inputs), other(stage.outputs))

    front, whole = PIPELINE.front, PIPELINE.whole
    assert front
    assert whole
    return replace(
        PIPELINE,
        name="mine",
        tensors=tuple(replace(tensor, name=prefix + tensor.name) for tensor in PIPELINE.tensors),
        front=replace(front, outputs=other(front.outputs), models=tuple(map(model, front.models))),
        stages=tuple(map(model, PIPELINE.stages)),
        whole=model(whole),
        gates=(replace(PIPELINE.rating, tensor=prefix + PIPELINE.rating.tensor),),
    )


def mean_of_pixels(file: Path) -> Path:
    """Make the mean of a picture of 16 x 16 pixels."""
    maker = Maker()
    image = maker.tensor("image", [1, 16, 16, 3], "uint8")
    pixels = _cast(maker, image, "float", [1, 16, 16, 3])
    return maker.write(file, [image], [_mean(maker, pixels, "score")])
