"""One layout for a whole TFLite graph: channels last, as every TFLite kernel wants it.

onnx2tf keeps ONNX's channels-first layout between convolutions and bridges the two by TRANSPOSE: more
than a hundred of them in our graph, and outputs in one layout or the other by accident. Here each
channels-first tensor is turned once and for all, so that the bridges join equal things and go, as do
poolings that change nothing.

The pass is all or nothing: a graph with an operation that is not in its tables is returned as it was.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from mien.mobile_reference.tflite.flatbuffer import (
    LAYOUT_OPERATIONS,
    constant_data,
    operation_name,
    parse,
    serialise,
)

_TO_LAST = (0, 2, 3, 1)
_TO_FIRST = (0, 3, 1, 2)
# Where an axis of a channels-first tensor lies once the channels are last.
_MOVED_AXIS = {0: 0, 1: 3, 2: 1, 3: 2}
_NUMPY = {
    schema.TensorType.FLOAT32: "float32",
    schema.TensorType.INT32: "int32",
    schema.TensorType.INT64: "int64",
}

# Operations that treat all axes alike: layout flows through them.
_UNARY = frozenset(["ABS", "CAST", "EXP", "LOGISTIC", "NEG", "RSQRT", "SQRT", "SQUARE", "TANH"])
_ACTIVATIONS = frozenset(["RELU", "RELU6", "RELU_0_TO_1"])
_BINARY = frozenset(["ADD", "DIV", "MAXIMUM", "MINIMUM", "MUL", "POW", "SUB"])
_ELEMENTWISE = _UNARY | _ACTIVATIONS | _BINARY
# Operations that name axes: layout flows through them, and the axes move.
_AXES = frozenset(["CONCATENATION", "GATHER", "MEAN", "PAD", "SLICE", "SUM"])


class _UnsupportedError(Exception):
    """The graph has something that the pass does not know."""


def channels_last_model(model: bytes) -> bytes:
    """Return the TFLite ``model`` with every 4-D tensor channels last, or unchanged if it cannot be."""
    parsed = parse(model)
    try:
        for graph in parsed.subgraphs:
            _Pass(parsed, graph).run()
    except _UnsupportedError:
        return model
    return serialise(parsed)


@dataclass(frozen=True)
class _Bridge:
    """An operation that goes: ``first`` is its channels-first side, if it turns the layout."""

    operator: Any
    source: int
    target: int
    first: int | None


class _Pass:
    """The pass over one subgraph, whose objects it edits in place."""

    def __init__(self, model: Any, graph: Any) -> None:
        self.model = model
        self.graph = graph
        self.changed: dict[tuple[int, bytes], int] = {}
        self.bridges = [bridge for op in graph.operators if (bridge := self._bridge(op))]
        self.first: set[int] = {b.first for b in self.bridges if b.first is not None}

    def run(self) -> None:
        """Find the channels-first tensors, turn them, and drop the bridges."""
        self._spread()
        bridging = [bridge.operator for bridge in self.bridges]
        for operator in self.graph.operators:
            if not any(operator is other for other in bridging):
                self._rewrite(operator)
        for index in self.first:
            tensor = self.graph.tensors[index]
            if self._constant(index) is None:
                tensor.shape = [tensor.shape[axis] for axis in _TO_LAST]
                tensor.shapeSignature = None
        self._drop(bridging)

    def name(self, operator: Any) -> str:
        """Return the operation's name."""
        return operation_name(self.model, operator)

    def _constant(self, index: int) -> NDArray[Any] | None:
        tensor = self.graph.tensors[index]
        data = constant_data(self.model, tensor)
        if data is None:
            return None
        if tensor.type not in _NUMPY:
            raise _UnsupportedError
        shape = () if tensor.shape is None else tuple(tensor.shape)
        values: NDArray[Any] = np.frombuffer(bytes(data), _NUMPY[tensor.type])
        return values.reshape(shape)

    def _shape(self, index: int) -> tuple[int, ...]:
        shape = self.graph.tensors[index].shape
        return () if shape is None else tuple(int(n) for n in shape)

    def _bridge(self, operator: Any) -> _Bridge | None:
        name = self.name(operator)
        source, target = int(operator.inputs[0]), int(operator.outputs[0])
        if name == "AVERAGE_POOL_2D" and _changes_nothing(operator.builtinOptions):
            return _Bridge(operator, source, target, None)
        if name not in LAYOUT_OPERATIONS:
            return None
        turn = self._permutation(operator, source, target)
        if turn == _TO_FIRST:
            return _Bridge(operator, source, target, target)
        if turn == _TO_LAST:
            return _Bridge(operator, source, target, source)
        return None

    def _permutation(self, operator: Any, source: int, target: int) -> tuple[int, ...] | None:
        """Return how a TRANSPOSE permutes, or a RESHAPE of a single channel that amounts to one."""
        if self.name(operator) == "TRANSPOSE":
            order = self._constant(int(operator.inputs[1]))
            return None if order is None else tuple(int(axis) for axis in order)
        before, after = self._shape(source), self._shape(target)
        if len(before) != 4 or len(after) != 4 or before == after:
            return None
        for turn, channels in ((_TO_FIRST, before[3]), (_TO_LAST, before[1])):
            if channels == 1 and tuple(before[axis] for axis in turn) == after:
                return turn
        return None

    def _flows(self, operator: Any) -> list[int]:
        """Return the tensors that share one layout in this operation."""
        if self.name(operator) not in _ELEMENTWISE | _AXES:
            return []
        ends = [int(i) for i in (*operator.inputs, *operator.outputs) if i >= 0]
        return [i for i in ends if len(self._shape(i)) == 4 and self._constant(i) is None]

    def _spread(self) -> None:
        """Let channels-first flow through operations until nothing changes."""
        groups = [group for op in self.graph.operators if len(group := self._flows(op)) > 1]
        grown = True
        while grown:
            grown = False
            for group in groups:
                if not self.first.isdisjoint(group) and not self.first.issuperset(group):
                    self.first.update(group)
                    grown = True

    def _rewrite(self, operator: Any) -> None:
        """Make an operation compute the same on turned tensors."""
        name = self.name(operator)
        ends = [int(i) for i in (*operator.inputs, *operator.outputs) if i >= 0]
        touched = not self.first.isdisjoint(ends)
        if not touched:
            return
        if name in _ELEMENTWISE:
            self._turn_constants(operator)
        elif name in ("CONCATENATION", "GATHER"):
            operator.builtinOptions.axis = _MOVED_AXIS[operator.builtinOptions.axis % 4]
        elif name in ("SUM", "MEAN"):
            self._replace(operator, 1, lambda axes: _moved_axes(operator, axes))
        elif name in ("PAD", "SLICE"):
            for position in range(1, len(operator.inputs)):
                self._replace(operator, position, lambda rows: rows[list(_TO_LAST)])
        else:
            raise _UnsupportedError

    def _turn_constants(self, operator: Any) -> None:
        """Turn constants that are broadcast against a channels-first tensor."""
        for position, index in enumerate(operator.inputs):
            constant = self._constant(int(index))
            if constant is not None and constant.size > 1:
                self._replace(operator, position, _turned)

    def _replace(self, operator: Any, position: int, change: Callable[[Any], NDArray[Any]]) -> None:
        """Give an operation a changed constant; readers that want no change keep the old one.

        Readers that want the same change share its result: the quantiser refuses two tensors of one name.
        """
        index = int(operator.inputs[position])
        old = self._constant(index)
        if old is None:
            raise _UnsupportedError
        new = np.ascontiguousarray(change(old))
        inputs = list(operator.inputs)
        inputs[position] = self._changed(index, new)
        operator.inputs = inputs

    def _changed(self, index: int, new: NDArray[Any]) -> int:
        """Return the number of the tensor that holds ``new`` in the place of constant ``index``."""
        key = (index, new.tobytes())
        if key not in self.changed:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(new.tobytes(), np.uint8)
            self.model.buffers.append(buffer)
            tensor = schema.TensorT()
            versions = sum(known == index for known, _ in self.changed)
            tensor.name = self.graph.tensors[index].name + b"_last" + b"_again" * versions
            tensor.type = self.graph.tensors[index].type
            tensor.shape = list(new.shape)
            tensor.buffer = len(self.model.buffers) - 1
            self.graph.tensors.append(tensor)
            self.changed[key] = len(self.graph.tensors) - 1
        return self.changed[key]

    def _drop(self, bridging: list[Any]) -> None:
        """Remove the bridges, letting readers of each target read its source.

        Where the target is an output of the graph, its producer writes it instead.
        """
        outputs = {int(i) for i in self.graph.outputs}
        renamed: dict[int, int] = {}
        for bridge in self.bridges:
            source = _follow(renamed, bridge.source)
            if bridge.target in outputs and source not in {int(i) for i in self.graph.inputs} | outputs:
                renamed[source] = bridge.target
            else:
                renamed[bridge.target] = source
        if any(_follow(renamed, index) != index for index in outputs):
            raise _UnsupportedError
        self.graph.operators = [op for op in self.graph.operators if not any(op is b for b in bridging)]
        for operator in self.graph.operators:
            operator.inputs = [_follow(renamed, int(i)) for i in operator.inputs]
            operator.outputs = [_follow(renamed, int(i)) for i in operator.outputs]


def _changes_nothing(pool: Any) -> bool:
    """Tell whether an average is taken of single values: a pooling that shields a tensor from onnx2tf."""
    sizes = (pool.filterHeight, pool.filterWidth, pool.strideH, pool.strideW)
    return sizes == (1, 1, 1, 1) and pool.fusedActivationFunction == schema.ActivationFunctionType.NONE


def _follow(renamed: dict[int, int], index: int) -> int:
    for _ in range(len(renamed) + 1):
        if index not in renamed:
            break
        index = renamed[index]
    return index


def _moved_axes(operator: Any, axes: NDArray[Any]) -> NDArray[Any]:
    """Move the axes of a reduction; one that drops axes must drop all but the batch, or keep them all."""
    moved = np.array([_MOVED_AXIS[int(axis) % 4] for axis in np.atleast_1d(axes)], axes.dtype)
    if not operator.builtinOptions.keepDims and sorted(moved) not in ([1, 2, 3], [0, 1, 2, 3]):
        raise _UnsupportedError
    return moved


def _turned(constant: NDArray[Any]) -> NDArray[Any]:
    """Turn a constant that is broadcast against [N, C, H, W]."""
    return constant.reshape((1,) * (4 - constant.ndim) + constant.shape).transpose(_TO_LAST)
