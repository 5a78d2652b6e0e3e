"""The parameters of a quantised TFLite model, held against what they are by definition.

A quantiser that stores another bias than the float one, or a scale that a kernel does not expect, makes a
model that runs and computes something else.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from mien.export.errors import ConversionError
from mien.mobile_reference.tflite.flatbuffer import looked_into, operation_name

from .blocks import FIXED_SCALE
from .int8_products import Int8Product, int8_products

# Kernels of these move values or pick them: what goes out has the scale of what comes in.
_SAME_SCALE = frozenset(
    ["GATHER", "MAX_POOL_2D", "PAD", "RESHAPE", "RESIZE_BILINEAR", "SLICE", "STRIDED_SLICE", "TRANSPOSE"]
)
_NEAR = 1e-5


def check_parameters(model: bytes, exact: bytes) -> None:
    """Refuse an int8 model whose scales, zero points, weights or biases are not what they must be.

    ``exact`` is the float model that it was made from.

    Raises:
        ConversionError: one is not; it is named.
    """
    parsed = looked_into(model)
    problems = [*_of_tensors(parsed), *_of_operations(parsed)]
    for one in int8_products(parsed, looked_into(exact)):
        problems += _of_product(parsed, one)
    if problems:
        more = f", and {len(problems) - 1} more" if len(problems) > 1 else ""
        raise ConversionError(f"the quantiser made a wrong model: {problems[0]}{more}")


def _of_tensors(parsed: Any) -> Iterator[str]:
    for graph in parsed.subgraphs:
        for tensor in graph.tensors:
            if tensor.type != schema.TensorType.INT8:
                continue
            scales, zeros = _parameters(tensor)
            if not len(scales) or not (np.isfinite(scales) & (scales > 0)).all():
                yield f"{tensor.name.decode()} has scale {scales}, expected one above 0"
            elif (np.abs(zeros + 0.5) > 128).any():
                yield f"{tensor.name.decode()} has zero point {zeros}, expected -128..127"


def _of_operations(parsed: Any) -> Iterator[str]:
    for graph in parsed.subgraphs:
        for operator in graph.operators:
            kind = operation_name(parsed, operator)
            ends = [graph.tensors[index] for index in (operator.inputs[0], operator.outputs[0])]
            if any(tensor.type != schema.TensorType.INT8 for tensor in ends):
                continue
            before, after = map(_parameters, ends)
            if kind in _SAME_SCALE and not _equal(before, after):
                yield f"{ends[1].name.decode()} has not the scale of what {kind} takes it from"
            if kind in FIXED_SCALE and not _equal(tuple(map(np.atleast_1d, FIXED_SCALE[kind])), after):
                yield f"{ends[1].name.decode()} has not the scale that {kind} makes"


def _of_product(parsed: Any, one: Int8Product) -> Iterator[str]:
    weights, weight_zeros = _stored(parsed, one.weight, np.int8), _parameters(one.weight)[1]
    biases = _stored(parsed, one.bias, np.int32).reshape(-1)
    scales, zeros = _parameters(one.bias)
    expected = one.source_scale * one.scales
    if not np.allclose(scales, expected, rtol=_NEAR, atol=0) or zeros.any() or weight_zeros.any():
        yield f"the bias of {one.made} has not the scale of its input times that of its weights"
        return
    off = np.abs(biases * expected - one.exact_bias)
    if (off > 0.51 * expected + _NEAR * np.abs(one.exact_bias)).any():
        channel = int((off / expected).argmax())
        stored = float((biases * expected)[channel])
        yield f"bias {channel} of {one.made} is {stored:.4g}, expected {one.exact_bias[channel]:.4g}"
    steps = np.abs(weights - one.exact_weight / one.along(one.scales))
    if steps.max() > 0.51:
        yield f"a weight of {one.made} is off by {steps.max():.2g} steps, at most half a step is rounding"


def _parameters(tensor: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    found = tensor.quantization
    if found is None or found.scale is None or found.zeroPoint is None:
        return np.empty(0), np.empty(0)
    return np.asarray(found.scale, np.float64), np.asarray(found.zeroPoint, np.float64)


def _equal(one: Any, other: Any) -> bool:
    return all(np.allclose(a, b, rtol=_NEAR, atol=0) for a, b in zip(one, other, strict=True))


def _stored(parsed: Any, tensor: Any, kind: type) -> NDArray[np.float64]:
    return (
        np.frombuffer(bytes(parsed.buffers[tensor.buffer].data), kind)
        .reshape(tensor.shape)
        .astype(np.float64)
    )
