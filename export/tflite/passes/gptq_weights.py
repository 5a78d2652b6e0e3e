"""Rounded weights put into a float TFLite graph, in the place of those that they were rounded from."""

from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.export.errors import ConversionError
from mien.export.tflite.convolutions import convolution_name
from mien.export.weights.gptq import Rounded, Roundings
from mien.mobile_reference.tflite.flatbuffer import operation_name, parse, serialise

# Both come from the same weights, folded by different programs.
_TOLERANCE = 1e-3


def with_rounded(model: bytes, outputs: Collection[str], rounded: Roundings) -> bytes:
    """Give the dense convolutions that make ``outputs`` their rounded weights and biases.

    Raises:
        ConversionError: one has none, or they are of other weights.
    """
    parsed = parse(model)
    for graph in parsed.subgraphs:
        for operator in graph.operators:
            made = graph.tensors[operator.outputs[0]].name.decode()
            if made in outputs and operation_name(parsed, operator) == "CONV_2D":
                _, weights, bias = (graph.tensors[index] for index in operator.inputs)
                found = _found(weights, _values(parsed, weights), rounded)
                _store(parsed, weights, found.weight.transpose(0, 2, 3, 1))
                _store(parsed, bias, found.bias)
    return serialise(parsed)


def _found(weights: Any, values: NDArray[np.float32], rounded: Roundings) -> Rounded:
    name = weights.name.decode()
    found = rounded.get(convolution_name(name) or "")
    if found is None:
        raise ConversionError(
            f"{name} has no rounded weights; only convolutions of the appraisal's net are int8"
        )
    greatest, own = (np.abs(array).reshape(len(array), -1).max(axis=1) for array in (found.weight, values))
    if not np.allclose(greatest, own, rtol=_TOLERANCE):
        raise ConversionError(f"{name} is not what its weights were rounded from; export from one checkpoint")
    return found


def _values(parsed: Any, tensor: Any) -> NDArray[np.float32]:
    data = bytes(parsed.buffers[tensor.buffer].data)
    return np.frombuffer(data, np.float32).reshape(tensor.shape)


def _store(parsed: Any, tensor: Any, values: NDArray[np.float32]) -> None:
    parsed.buffers[tensor.buffer].data = np.frombuffer(values.tobytes(), np.uint8)
