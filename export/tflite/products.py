"""The products of a float TFLite graph: operations that multiply what they read by stored weights."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from mien.mobile_reference.tflite.flatbuffer import constant_data, operation_name


@dataclass(frozen=True)
class _Operands:
    """Where an operation has its input, weights and bias, and how the weights turn into PyTorch's order."""

    source: int
    weight: int
    bias: int
    turn: tuple[int, ...]


_CONVOLUTION = _Operands(0, 1, 2, (0, 3, 1, 2))
_OPERANDS: Mapping[str, _Operands] = {
    "CONV_2D": _CONVOLUTION,
    "DEPTHWISE_CONV_2D": _Operands(0, 1, 2, (3, 0, 1, 2)),
    "TRANSPOSE_CONV": _Operands(2, 1, 3, (0, 3, 1, 2)),
    "FULLY_CONNECTED": _Operands(0, 1, 2, (0, 1)),
    # Weights on the right; they lie [in, out] unless the operation turns them.
    "BATCH_MATMUL": _Operands(0, 1, 2, (1, 0)),
}
KINDS = frozenset(_OPERANDS)
"""The operations that may be products."""


@dataclass(frozen=True)
class Product:
    """One operation with weights, in a graph that was parsed.

    ``weight`` [out, in of a group, rows, columns] or [out, in] and ``bias`` [out] have PyTorch's axes; those
    of a transposed convolution are in the order of a plain one. ``bias`` is None where there is none.
    """

    kind: str
    graph: Any
    operator: Any
    weight: NDArray[np.float32]
    bias: NDArray[np.float32] | None

    @property
    def source(self) -> str:
        """The tensor that is read."""
        return self._name(_OPERANDS[self.kind].source)

    @property
    def made(self) -> str:
        """The tensor that is made."""
        return str(self.graph.tensors[self.operator.outputs[0]].name.decode())

    @property
    def groups(self) -> int:
        """How many groups of inputs are read, each by its own share of the outputs."""
        if self.kind not in ("CONV_2D", "DEPTHWISE_CONV_2D"):
            return 1
        return self.shapes[0][-1] // self.weight.shape[1]

    @property
    def shapes(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The shapes of what is read and of what is made."""
        ends = (self.operator.inputs[_OPERANDS[self.kind].source], self.operator.outputs[0])
        before, after = (tuple(map(int, self.graph.tensors[index].shape)) for index in ends)
        return before, after

    @property
    def macs(self) -> int:
        """Multiplications of one run."""
        before, after = self.shapes
        places = before if self.kind == "TRANSPOSE_CONV" else after
        return prod(places) * self.weight.size // (places[-1] or 1)

    def store(self, parsed: Any, weight: NDArray[np.float32], bias: NDArray[np.float32]) -> None:
        """Replace the weights, and the bias where there is one."""
        operands = _OPERANDS[self.kind]
        if self.kind == "BATCH_MATMUL" and self.operator.builtinOptions.adjY:
            turned = weight
        else:
            turned = weight.reshape(self.weight.shape).transpose(np.argsort(operands.turn))
        self._put(parsed, operands.weight, turned)
        if self.bias is not None:
            self._put(parsed, operands.bias, bias)

    def _put(self, parsed: Any, position: int, values: NDArray[np.float32]) -> None:
        tensor = self.graph.tensors[self.operator.inputs[position]]
        data = np.ascontiguousarray(values, np.float32).tobytes()
        parsed.buffers[tensor.buffer].data = np.frombuffer(data, np.uint8)

    def _name(self, position: int) -> str:
        return str(self.graph.tensors[self.operator.inputs[position]].name.decode())


def products(parsed: Any) -> Iterator[Product]:
    """Yield the products of a parsed model whose weights are stored as float32, in the order of the file."""
    for graph in parsed.subgraphs:
        for operator in graph.operators:
            found = product_of(parsed, graph, operator)
            if found is not None:
                yield found


def product_of(parsed: Any, graph: Any, operator: Any) -> Product | None:
    """Return an operation as a product; None if it is not one, or not of stored float32 weights."""
    kind = operation_name(parsed, operator)
    operands = _OPERANDS.get(kind)
    if operands is None:
        return None
    weight, bias = (
        _constant(parsed, graph, operator, position) for position in (operands.weight, operands.bias)
    )
    if weight is None or (kind == "BATCH_MATMUL" and weight.ndim != 2):
        return None
    if kind == "BATCH_MATMUL" and operator.builtinOptions.adjY:
        return Product(kind, graph, operator, weight, None)
    return Product(kind, graph, operator, np.ascontiguousarray(weight.transpose(operands.turn)), bias)


def _constant(parsed: Any, graph: Any, operator: Any, position: int) -> NDArray[np.float32] | None:
    if position >= len(operator.inputs) or operator.inputs[position] < 0:
        return None
    tensor = graph.tensors[operator.inputs[position]]
    data = constant_data(parsed, tensor)
    if data is None or tensor.type != schema.TensorType.FLOAT32:
        return None
    return np.frombuffer(bytes(data), np.float32).reshape(tensor.shape)
