"""What depthwise convolutions read, brought to a mean of zero, so that half-float sums stay small.

Their kernels add the taps up one by one and round every sum. Where a filter takes neighbours from each other,
as those of edges do, the sums on the way are as large as the mean of what is read times the weights, and what
is left in the end has their error. A convolution is linear: w (x - m) + (b + m w) is the same, with sums of
the size of what varies, and rounded weights err by no more than that.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from mien.export.tflite.edit import add_buffer, add_operator, add_tensor
from mien.export.tflite.products import Product, products
from mien.mobile_reference.tflite.flatbuffer import parse, serialise

Values = NDArray[np.float64]
Channels = Mapping[str, tuple[Values, Values]]
"""Mean and variance of every channel, the last axis of a tensor, by the tensor's name."""
DEPTHWISE = "DEPTHWISE_CONV_2D"
_FLOAT = schema.TensorType.FLOAT32


def centre_depthwise(model: bytes, seen: Channels) -> bytes:
    """Put a SUB in front of depthwise convolutions whose input has a mean that is large beside its spread.

    Their padding goes in front of it, so that zeros are shifted too.
    """
    parsed = parse(model)
    for one in list(products(parsed)):
        if one.kind == DEPTHWISE and one.bias is not None and one.source in seen:
            mean, variance = seen[one.source]
            if _pays(one, mean, variance):
                _centre(parsed, one, mean)
    return serialise(parsed)


def _pays(one: Product, mean: Values, variance: Values) -> bool:
    """Tell whether the means are more than half of what the sums on the way amount to."""
    reach = np.abs(one.weight).sum(axis=(1, 2, 3), dtype=np.float64).reshape(len(mean), -1).max(axis=1)
    return bool((reach**2 * mean**2).sum() > (reach**2 * variance).sum())


def _centre(parsed: Any, one: Product, mean: Values) -> None:
    graph, operator = one.graph, one.operator
    assert one.bias is not None  # noqa: S101 - for the types
    # As halves have it, so that the bias makes up for what is taken away.
    taken = mean.astype(np.float16).astype(np.float32)
    source = _padded(parsed, one)
    tensor = graph.tensors[source]
    centred = add_tensor(graph, tensor.name + b"_centred", _FLOAT, tensor.shape)
    means = add_tensor(graph, tensor.name + b"_mean", _FLOAT, taken.shape, add_buffer(parsed, taken))
    subtract = add_operator(parsed, graph, operator, schema.BuiltinOperator.SUB, [source, means], centred)
    subtract.builtinOptionsType = schema.BuiltinOptions.SubOptions
    subtract.builtinOptions = schema.SubOptionsT()
    weights = one.weight.sum(axis=(1, 2, 3), dtype=np.float64)
    bias = (one.bias + weights * np.repeat(taken, len(weights) // len(taken))).astype(np.float32)
    stored = add_tensor(graph, one.made.encode() + b"_bias", _FLOAT, bias.shape, add_buffer(parsed, bias))
    operator.inputs = [centred, int(operator.inputs[1]), stored]


def _padded(parsed: Any, one: Product) -> int:
    """Return the number of the tensor that the convolution reads, with the zeros that it puts around it."""
    graph, operator, options = one.graph, one.operator, one.operator.builtinOptions
    source = int(operator.inputs[0])
    if options.padding == schema.Padding.VALID:
        return source
    before, after = one.shapes
    strides = (options.strideH, options.strideW)
    dilations = (options.dilationHFactor, options.dilationWFactor)
    around = np.zeros((4, 2), np.int32)
    for axis, (kernel, stride, dilation) in enumerate(
        zip(one.weight.shape[2:], strides, dilations, strict=True), start=1
    ):
        total = max((after[axis] - 1) * stride + (kernel - 1) * dilation + 1 - before[axis], 0)
        around[axis] = total // 2, total - total // 2
    options.padding = schema.Padding.VALID
    tensor = graph.tensors[source]
    shape = np.array(before) + around.sum(axis=1)
    padded = add_tensor(graph, tensor.name + b"_padded", tensor.type, shape)
    zeros = add_tensor(
        graph, tensor.name + b"_zeros", schema.TensorType.INT32, [4, 2], add_buffer(parsed, around)
    )
    pad = add_operator(parsed, graph, operator, schema.BuiltinOperator.PAD, [source, zeros], padded)
    pad.builtinOptionsType, pad.builtinOptions = schema.BuiltinOptions.PadOptions, schema.PadOptionsT()
    return padded
