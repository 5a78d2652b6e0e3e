"""Bundles of two small models that compute the same, y = x * weight + 1, made without any converter."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from mien.mobile_reference.tflite.flatbuffer import parse, serialise
from tests.benchmarks.tinymodels import Maker

# The builder of small packages.
from tests.mobile_reference.coreml import mil_packages

TFLITE, PACKAGE = "models/tflite-fp32/net.tflite", "models/coreml-fp32/net.mlpackage"
MODELS = (TFLITE, PACKAGE)
RANGES = "ranges/net.json"
VECTOR, SECOND = "golden/face/x.npy", "golden/second/x.npy"


def write_bundle(folder: Path, module: str = "net", weight: float = 2.0) -> Path:
    """Write models whose tensors are named after ``module``, two golden faces and ranges."""
    write_tflite(folder / TFLITE, module, weight)
    write_package(folder / PACKAGE, module, weight)
    for vector, first in ((VECTOR, 0), (SECOND, -8)):
        (folder / vector).parent.mkdir(parents=True)
        np.save(folder / vector, np.arange(first, first + 16, dtype=np.float32).reshape(1, 4, 4, 1))
    (folder / RANGES).parent.mkdir()
    (folder / RANGES).write_text(f'{{"/{module}/conv": [0.0, {weight}], "x": [0.0, 15.0]}}')
    return folder


def write_tflite(file: Path, module: str, weight: float, signature: str = "x") -> None:
    """Write a convolution by one weight."""
    maker = Maker()
    x = maker.tensor(f"{module}_x", [1, 4, 4, 1])
    weights = maker.constant(f"/{module}/conv_filter", np.full((1, 1, 1, 1), weight, np.float32))
    bias = maker.constant(f"/{module}/conv_bias", np.ones(1, np.float32))
    y = maker.tensor(f"/{module}/conv", [1, 4, 4, 1])
    maker.convolve(x, weights, bias, y)
    model = parse(maker.write(file, [x], [y]).read_bytes())
    maps = [[schema.TensorMapT(n, t)] for n, t in ((signature.encode(), x), (b"y", y))]
    model.signatureDefs = [schema.SignatureDefT(*maps, signatureKey=b"serving_default", subgraphIndex=0)]
    model.description = f"made of {module}".encode()
    model.buffers.append(schema.BufferT(data=np.frombuffer(module.encode(), np.uint8)))
    model.metadata = [schema.MetadataT(b"source", len(model.buffers) - 1)]
    file.write_bytes(serialise(model))


def write_package(folder: Path, module: str, weight: float, before: Sequence[float] = ()) -> None:
    """Write a product and a sum, the weight in the weight file, behind those that nothing reads."""
    build = mil_packages
    stored, offsets = build.weights(*(np.full((1,), value, np.float32) for value in (*before, weight)))
    offset = offsets[-1]
    kind = build.tensor_type("float32", (1, 1, 4, 4))
    label = build.entry(5, "name", build.value(f"{module}/conv"))
    product = build.operation("mul", {"x": "x", "y": f"{module}_w"}, [(f"{module}_product", kind)])
    metadata = build.message(build.entry(100, "source", module.encode()))
    description = build.message((1, build.message((1, "x"))), (10, build.message((1, "y"))), (100, metadata))
    model = build.model(
        operations=[
            build.const(
                f"{module}_w",
                build.blob_value("float32", (1,), offset),
                build.tensor_type("float32", (1,)),
            ),
            build.const(f"{module}_one", np.float32(1)),
            product + build.message(label),
            build.operation("add", {"x": f"{module}_product", "y": f"{module}_one"}, [("y", kind)]),
        ],
        outputs=["y"],
        inputs=[("x", kind)],
        description=description,
    )
    folder.parent.mkdir(parents=True, exist_ok=True)
    build.write(folder.parent, model, stored)
