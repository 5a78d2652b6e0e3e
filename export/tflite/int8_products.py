"""The int8 products of a quantised TFLite graph, each beside the float one that it was made from."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from mien.mobile_reference.tflite.flatbuffer import operation_name

# Where an operation has its input, its weights and its bias.
_PLACES = {
    "CONV_2D": (0, 1, 2),
    "DEPTHWISE_CONV_2D": (0, 1, 2),
    "FULLY_CONNECTED": (0, 1, 2),
    "TRANSPOSE_CONV": (2, 1, 3),
}


@dataclass(frozen=True)
class Int8Product:
    """An operation of int8 input, int8 weights and an int32 bias, with the float values of the two.

    ``weight`` and ``bias`` are the tensors as the schema has them; ``source_scale`` is the step of the input,
    ``scales`` are those of the weights, one or one a channel along ``axis``.
    """

    made: str
    weight: Any
    bias: Any
    source_scale: float
    scales: NDArray[np.float64]
    axis: int
    exact_weight: NDArray[np.float64]
    exact_bias: NDArray[np.float64]

    def along(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Give values of each channel the axes of the weights."""
        if len(values) == 1:
            return values
        shape = [1] * self.exact_weight.ndim
        shape[self.axis] = len(values)
        return values.reshape(shape)


def int8_products(parsed: Any, exact: Any) -> Iterator[Int8Product]:
    """Yield the int8 products of a ``parsed`` model that have a bias; ``exact`` is the parsed float one.

    The float operation is the one of the same kind that makes the tensor of the same name.
    """
    floats = {
        (operation_name(exact, operator), graph.tensors[operator.outputs[0]].name): (graph, operator)
        for graph in exact.subgraphs
        for operator in graph.operators
    }
    for graph in parsed.subgraphs:
        for operator in graph.operators:
            kind = operation_name(parsed, operator)
            source = floats.get((kind, graph.tensors[operator.outputs[0]].name))
            if kind in _PLACES and source is not None:
                yield from _product(parsed, graph, operator, exact, *source)


def _product(
    parsed: Any, graph: Any, operator: Any, exact: Any, exact_graph: Any, exact_operator: Any
) -> Iterator[Int8Product]:
    places = _PLACES[operation_name(parsed, operator)]
    if len(operator.inputs) <= places[2] or operator.inputs[places[2]] < 0:
        return
    source, weight, bias = (graph.tensors[operator.inputs[place]] for place in places)
    kinds = (source.type, weight.type, bias.type)
    if kinds != (schema.TensorType.INT8, schema.TensorType.INT8, schema.TensorType.INT32):
        return
    values = [_values(exact, exact_graph.tensors[exact_operator.inputs[place]]) for place in places[1:]]
    yield Int8Product(
        made=graph.tensors[operator.outputs[0]].name.decode(),
        weight=weight,
        bias=bias,
        source_scale=float(source.quantization.scale[0]),
        scales=np.asarray(weight.quantization.scale, np.float64),
        axis=int(weight.quantization.quantizedDimension),
        exact_weight=values[0],
        exact_bias=values[1],
    )


def _values(parsed: Any, tensor: Any) -> NDArray[np.float64]:
    return (
        np.frombuffer(bytes(parsed.buffers[tensor.buffer].data), np.float32)
        .reshape(tensor.shape)
        .astype(np.float64)
    )
