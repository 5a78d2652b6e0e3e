"""Channels that a dense layer reads, brought to one reach, so that one int8 step fits them all.

Activations have one step for each tensor. Where a channel reaches a tenth of what its neighbour does, it has
a tenth of the levels. So channels are multiplied by a factor in front of the layer, and its weights divided
by it (SmoothQuant, arXiv 2211.10438, does so for the sake of outliers).
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from mien.export.tflite.edit import add_buffer, add_tensor, code_of
from mien.export.tflite.products import Product, products
from mien.mobile_reference.tflite.flatbuffer import looked_into, parse, serialise

Reaches = Mapping[str, NDArray[np.float64]]
"""The greatest magnitude of every channel, the last axis of a tensor, by the tensor's name."""
_DENSE = frozenset(["CONV_2D", "FULLY_CONNECTED"])
_SCALED = "_scaled_input"
# Channels that differ by less gain less than a MUL costs.
_UNEVEN = 4.0
# The most that a channel is scaled up by beside the others: one that hardly ever leaves zero stays small.
_MOST = 2.0**10


def dense_inputs(model: bytes, among: Collection[str]) -> frozenset[str]:
    """Name the tensors ``among`` the given ones that dense layers read, each layer all channels."""
    return frozenset(
        one.source for one in products(looked_into(model)) if one.source in among and _is_dense(one)
    )


def scale_inputs(model: bytes, reaches: Reaches) -> bytes:
    """Put a MUL in front of the dense layers that read a tensor of uneven ``reaches``.

    Factors are powers of two, so that a float model computes the same to the last bit, and the same for all
    runs of a layer.
    """
    parsed = parse(model)
    layers: dict[bytes, list[Product]] = {}
    for one in products(parsed):
        layers.setdefault(one.weight.tobytes(), []).append(one)
    for runs in layers.values():
        if all(_is_dense(one) and one.source in reaches for one in runs):
            factors = _factors(np.max([reaches[one.source] for one in runs], axis=0))
            if factors is not None:
                _divide_weights(parsed, runs, factors)
                for one in runs:
                    _multiply_input(parsed, one, factors)
    return serialise(parsed)


def scaled_inputs(model: bytes) -> frozenset[str]:
    """Name the tensors that ``scale_inputs`` made: none reaches further than from -1 to 1."""
    return frozenset(one.source for one in products(looked_into(model)) if one.source == one.made + _SCALED)


def _is_dense(one: Product) -> bool:
    return one.kind in _DENSE and one.groups == 1


def _factors(reach: NDArray[np.float64]) -> NDArray[np.float32] | None:
    """Return the powers of two that bring each reach to between a half and 1; None where they are even."""
    live = reach[reach > 0]
    if not live.size or live.max() < _UNEVEN * live.min():
        return None
    found: NDArray[np.float32] = np.exp2(-np.ceil(np.log2(np.maximum(reach, live.max() / _MOST))))
    return found.astype(np.float32)


def _divide_weights(parsed: Any, runs: Sequence[Product], factors: NDArray[np.float32]) -> None:
    """Divide the weights of a layer; the last axis of both kinds is that of what is read."""
    for index in {int(one.operator.inputs[1]) for one in runs}:
        tensor = runs[0].graph.tensors[index]
        tensor.buffer = add_buffer(parsed, (_values(parsed, tensor) / factors).astype(np.float32))


def _multiply_input(parsed: Any, one: Product, factors: NDArray[np.float32]) -> None:
    """Multiply what one run of a layer reads."""
    graph, operator = one.graph, one.operator
    source = int(operator.inputs[0])
    kind, name = schema.TensorType.FLOAT32, one.made.encode()
    scaled = add_tensor(graph, name + _SCALED.encode(), kind, graph.tensors[source].shape)
    constant = add_tensor(graph, name + b"_factors", kind, [len(factors)], add_buffer(parsed, factors))
    step = schema.OperatorT()
    step.opcodeIndex = code_of(parsed, schema.BuiltinOperator.MUL)
    step.inputs, step.outputs = [source, constant], [scaled]
    step.builtinOptionsType = schema.BuiltinOptions.MulOptions
    step.builtinOptions = schema.MulOptionsT()
    place = next(n for n, other in enumerate(graph.operators) if other is operator)
    graph.operators.insert(place, step)
    operator.inputs = [scaled, *map(int, operator.inputs[1:])]


def _values(parsed: Any, tensor: Any) -> NDArray[np.float32]:
    return np.frombuffer(bytes(parsed.buffers[tensor.buffer].data), np.float32).reshape(tensor.shape)
