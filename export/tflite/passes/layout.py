"""One layout for a whole TFLite graph: channels last, as every TFLite kernel wants it.

onnx2tf keeps ONNX's channels-first layout between convolutions and bridges the two by TRANSPOSE: more
than a hundred of them in our graph, and outputs in one layout or the other by accident. Here each
channels-first tensor is turned once and for all, so that the bridges join equal things and go, as do
poolings that change nothing.

An operation that is not in the tables keeps its layout between two bridges of its own, and the log names it.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from mien.export.tflite.edit import add_buffer, add_tensor, code_of
from mien.mobile_reference.tflite.flatbuffer import (
    LAYOUT_OPERATIONS,
    constant_data,
    operation_name,
    parse,
    serialise,
)

_LOG = logging.getLogger(__name__)
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
_UNARY = frozenset(["ABS", "CAST", "EXP", "FLOOR", "LOGISTIC", "NEG", "RSQRT", "SQRT", "SQUARE", "TANH"])
_ACTIVATIONS = frozenset(
    ["ELU", "GELU", "HARD_SWISH", "LEAKY_RELU", "RELU", "RELU6", "RELU_0_TO_1", "RELU_N1_TO_1"]
)
_BINARY = frozenset(["ADD", "DIV", "MAXIMUM", "MINIMUM", "MUL", "POW", "PRELU", "SQUARED_DIFFERENCE", "SUB"])
_ELEMENTWISE = _UNARY | _ACTIVATIONS | _BINARY
_REDUCTIONS = frozenset(["MEAN", "REDUCE_MAX", "REDUCE_MIN", "SUM"])
# Operations that name axes: layout flows through them, and the axes move.
_AXES = _REDUCTIONS | {"CONCATENATION", "GATHER", "MIRROR_PAD", "PAD", "SLICE", "SPLIT"}


class _UnsupportedError(Exception):
    """An operation cannot compute the same on turned tensors."""


def channels_last_model(model: bytes) -> bytes:
    """Return the TFLite ``model`` with 4-D tensors channels last wherever its operations allow it."""
    parsed = parse(model)
    for graph in parsed.subgraphs:
        _Pass(parsed, graph).run()
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
        bridging = {id(bridge.operator) for bridge in self.bridges}
        operators: list[Any] = []
        for operator in self.graph.operators:
            operators += [operator] if id(operator) in bridging else self._rewritten(operator)
        self.graph.operators = operators
        for index in self.first:
            tensor = self.graph.tensors[index]
            if not self._is_stored(index):
                tensor.shape = [tensor.shape[axis] for axis in _TO_LAST]
                tensor.shapeSignature = None
        self._drop()

    def name(self, operator: Any) -> str:
        """Return the operation's name."""
        return operation_name(self.model, operator)

    def _is_stored(self, index: int) -> bool:
        return constant_data(self.model, self.graph.tensors[index]) is not None

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
        """Return how a TRANSPOSE permutes, or a RESHAPE of one channel or one place that amounts to one."""
        if self.name(operator) == "TRANSPOSE":
            order = self._constant(int(operator.inputs[1]))
            return None if order is None else tuple(int(axis) for axis in order)
        before, after = self._shape(source), self._shape(target)
        if len(before) != 4 or len(after) != 4 or before == after:
            return None
        for turn, last in ((_TO_FIRST, before), (_TO_LAST, after)):
            if _is_vector(last) and tuple(before[axis] for axis in turn) == after:
                return turn
        return None

    def _flows(self, operator: Any) -> list[int]:
        """Return the tensors that share one layout in this operation."""
        if self.name(operator) not in _ELEMENTWISE | _AXES:
            return []
        ends = [int(i) for i in (*operator.inputs, *operator.outputs) if i >= 0]
        return [i for i in ends if len(self._shape(i)) == 4 and not self._is_stored(i)]

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

    def _rewritten(self, operator: Any) -> list[Any]:
        """Make an operation compute the same on turned tensors, or else put it between bridges."""
        ends = [int(i) for i in (*operator.inputs, *operator.outputs) if i >= 0]
        if self.first.isdisjoint(ends):
            return [operator]
        before = list(operator.inputs)
        try:
            self._rewrite(operator)
        except _UnsupportedError:
            operator.inputs = before
            return self._bridged(operator)
        return [operator]

    def _rewrite(self, operator: Any) -> None:
        """Make an operation compute the same on turned tensors.

        Raises:
            _UnsupportedError: it cannot; its inputs may have been changed.
        """
        name = self.name(operator)
        if name not in _REWRITES:
            raise _UnsupportedError
        _REWRITES[name](self, operator)

    def _concatenate(self, operator: Any) -> None:
        self._turn_constants(operator)
        self._move_axis(operator)

    def _move_axis(self, operator: Any) -> None:
        operator.builtinOptions.axis = _MOVED_AXIS[operator.builtinOptions.axis % 4]

    def _reduce(self, operator: Any) -> None:
        self._replace(operator, 1, lambda axes: _moved_axes(operator, axes))

    def _move_rows(self, operator: Any) -> None:
        for position in range(1, len(operator.inputs)):
            self._replace(operator, position, lambda rows: rows[list(_TO_LAST)])

    def _split(self, operator: Any) -> None:
        def moved(axis: NDArray[Any]) -> NDArray[Any]:
            return np.full(axis.shape, _MOVED_AXIS[int(axis.item()) % 4], axis.dtype)

        self._replace(operator, 0, moved)

    def _permute(self, operator: Any) -> None:
        self._replace(operator, 1, lambda order: self._moved_order(operator, order))

    def _moved_order(self, operator: Any, order: NDArray[Any]) -> NDArray[Any]:
        """Return the permutation that does on turned tensors what ``order`` did."""
        source, target = int(operator.inputs[0]), int(operator.outputs[0])
        turned = [_TO_FIRST[axis] for axis in order] if source in self.first else list(order)
        return np.array([turned[axis] for axis in _TO_LAST] if target in self.first else turned, order.dtype)

    def _reshape(self, operator: Any) -> None:
        """Reshape a turned tensor whose values lie in the same order as before."""
        source, target = int(operator.inputs[0]), int(operator.outputs[0])
        for index in {source, target} & self.first:
            shape = self._shape(index)
            if not _is_vector([shape[axis] for axis in _TO_LAST]):
                raise _UnsupportedError
        if target in self.first:
            turned = [self._shape(target)[axis] for axis in _TO_LAST]
            self._replace(operator, 1, lambda _: np.array(turned, np.int32))
            if operator.builtinOptions is not None:
                operator.builtinOptions.newShape = turned

    def _bridged(self, operator: Any) -> list[Any]:
        """Let an operation keep its layout: turn what it takes in before it, and what it makes behind it."""
        made = self.graph.tensors[operator.outputs[0]].name.decode()
        _LOG.warning("%s, which makes %s, keeps its channels first", self.name(operator), made)
        before: list[Any] = []
        behind: list[Any] = []
        for position, index in enumerate(map(int, operator.inputs)):
            if index in self.first:
                copy = self._copied(index)
                before.append(self._transpose(index, copy, _TO_FIRST))
                operator.inputs = [copy if n == position else int(i) for n, i in enumerate(operator.inputs)]
        for position, index in enumerate(map(int, operator.outputs)):
            if index in self.first:
                copy = self._copied(index)
                behind.append(self._transpose(copy, index, _TO_LAST))
                operator.outputs = [copy if n == position else int(i) for n, i in enumerate(operator.outputs)]
        return [*before, operator, *behind]

    def _copied(self, index: int) -> int:
        """Add a tensor like one that is computed, in the layout that it has now."""
        source = self.graph.tensors[index]
        name = source.name + b"_first_%d" % len(self.graph.tensors)
        return add_tensor(self.graph, name, source.type, source.shape)

    def _stored(self, name: bytes, values: NDArray[Any]) -> int:
        """Add a stored tensor of int32."""
        name, stored = name + b"_%d" % len(self.graph.tensors), add_buffer(self.model, values)
        return add_tensor(self.graph, name, schema.TensorType.INT32, values.shape, stored)

    def _transpose(self, source: int, target: int, order: tuple[int, ...]) -> Any:
        step = self._operator("TRANSPOSE")
        step.inputs = [source, self._stored(b"order", np.array(order, np.int32))]
        step.outputs = [target]
        step.builtinOptionsType = schema.BuiltinOptions.TransposeOptions
        step.builtinOptions = schema.TransposeOptionsT()
        return step

    def _operator(self, name: str) -> Any:
        """Return a new operation without tensors, its code added to the model's where it is not there."""
        step = schema.OperatorT()
        step.opcodeIndex = code_of(self.model, getattr(schema.BuiltinOperator, name))
        return step

    def _turn_constants(self, operator: Any) -> None:
        """Turn constants that are broadcast against a channels-first tensor, or stand beside it."""
        for position, index in enumerate(map(int, operator.inputs)):
            if self._is_stored(index):
                constant = self._constant(index)
                if constant is not None and constant.size > 1:
                    self._replace(operator, position, _turned)
            elif len(self._shape(index)) in (1, 2, 3) and max(self._shape(index)) > 1:
                raise _UnsupportedError  # broadcast by its last axes, and computed

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
            old, versions = self.graph.tensors[index], sum(known == index for known, _ in self.changed)
            name, stored = old.name + b"_last" + b"_again" * versions, add_buffer(self.model, new)
            self.changed[key] = add_tensor(self.graph, name, old.type, new.shape, stored)
        return self.changed[key]

    def _drop(self) -> None:
        """Remove the bridges, letting readers of each target read its source.

        Where the target is an output of the graph, its producer writes it instead; if the graph gives the
        source itself as well, the bridge becomes a copy.
        """
        inputs, outputs = ({int(i) for i in ends} for ends in (self.graph.inputs, self.graph.outputs))
        renamed: dict[int, int] = {}
        copies: dict[int, Any] = {}
        for bridge in self.bridges:
            source = _follow(renamed, bridge.source)
            if bridge.target not in outputs:
                renamed[bridge.target] = source
            elif source in inputs | outputs:
                copies[id(bridge.operator)] = self._copy(source, bridge.target)
            else:
                renamed[source] = bridge.target
        bridging = {id(bridge.operator) for bridge in self.bridges}
        kept = [copies.get(id(one), one) for one in self.graph.operators]
        self.graph.operators = [one for one in kept if id(one) not in bridging]
        for operator in self.graph.operators:
            operator.inputs = [_follow(renamed, int(i)) for i in operator.inputs]
            operator.outputs = [_follow(renamed, int(i)) for i in operator.outputs]

    def _copy(self, source: int, target: int) -> Any:
        """Return an operation that gives a tensor once more: a RESHAPE to its own shape."""
        step, shape = self._operator("RESHAPE"), np.array(self._shape(target), np.int32)
        step.inputs, step.outputs = [source, self._stored(b"shape", shape)], [target]
        step.builtinOptionsType = schema.BuiltinOptions.ReshapeOptions
        step.builtinOptions = schema.ReshapeOptionsT()
        step.builtinOptions.newShape = [int(size) for size in shape]
        return step


def _is_vector(last: Sequence[int]) -> bool:
    """Tell whether a channels-last shape has one channel or one place: then both layouts have one order."""
    return last[3] == 1 or last[1] == last[2] == 1


_REWRITES: Mapping[str, Callable[[_Pass, Any], None]] = {
    **dict.fromkeys(_ELEMENTWISE, _Pass._turn_constants),
    **dict.fromkeys(_REDUCTIONS, _Pass._reduce),
    **dict.fromkeys(("MIRROR_PAD", "PAD", "SLICE"), _Pass._move_rows),
    "CONCATENATION": _Pass._concatenate,
    "GATHER": _Pass._move_axis,
    "RESHAPE": _Pass._reshape,
    "SPLIT": _Pass._split,
    "TRANSPOSE": _Pass._permute,
}


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
    """Move the axes of a reduction; where it drops them, the others must stay in their order."""
    reduced = [int(axis) % 4 for axis in np.atleast_1d(axes)]
    kept = [_MOVED_AXIS[axis] for axis in range(4) if axis not in reduced]
    if not operator.builtinOptions.keepDims and kept != sorted(kept):
        raise _UnsupportedError
    return np.array([_MOVED_AXIS[axis] for axis in reduced], axes.dtype)


def _turned(constant: NDArray[Any]) -> NDArray[Any]:
    """Turn a constant that is broadcast against [N, C, H, W]."""
    return constant.reshape((1,) * (4 - constant.ndim) + constant.shape).transpose(_TO_LAST)
