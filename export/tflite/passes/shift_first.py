"""Pixels that are shifted before they are scaled, so that half floats hold them exactly.

Networks take pixels as x * a + b. In half floats the products of 0..255 are rounded at up to 1, and where the
sum is near zero that error is large beside it. (x + b / a) * a is the same, and the sum of a whole number and
a shift is rounded by its own size: of whole and half shifts, as 127.5, not at all.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from mien.export.tflite.edit import add_buffer, add_operator, add_tensor, drop_unread
from mien.mobile_reference.tflite.flatbuffer import constant_data, operation_name, parse, serialise

Values = NDArray[np.float64]
_FLOAT = schema.TensorType.FLOAT32
_GRAIN = 2.0**-20
# Half floats hold all whole and half numbers up to here.
_LARGEST = 1024.0


@dataclass(frozen=True)
class _Affine:
    """A tensor that is another one, ``source``, times ``scale`` plus ``shift``, both by channel or one."""

    source: int
    scale: Values
    shift: Values

    @property
    def is_even(self) -> bool:
        """Tell whether all channels have the same scale and shift."""
        return self.scale.size == self.shift.size == 1


def shift_first(model: bytes) -> bytes:
    """Shift first what a chain of constants scales and then shifts.

    Constants are one number or one for each channel, the last axis. Rows and columns may be picked meanwhile.
    A shift that halves do not hold to a half stays where it is.
    """
    parsed = parse(model)
    for graph in parsed.subgraphs:
        _Chains(parsed, graph).rewrite()
    return serialise(parsed)


class _Chains:
    """Follows the chains of one graph, whose objects it edits in place."""

    def __init__(self, parsed: Any, graph: Any) -> None:
        self._parsed, self._graph = parsed, graph
        self._known: dict[int, _Affine] = {}

    def rewrite(self) -> None:
        """Shift first, and leave out what nothing reads any more."""
        for operator in list(self._graph.operators):
            name = operation_name(self._parsed, operator)
            if name == "GATHER":
                self._pick(operator)
            elif name in ("MUL", "ADD", "SUB") and self._graph.tensors[operator.inputs[0]].type == _FLOAT:
                values = self._constant_of(operator)
                if values is not None:
                    self._follow(name, operator, values)
        drop_unread(self._graph)

    def _chain(self, index: int) -> _Affine:
        return self._known.get(index, _Affine(index, np.ones(1), np.zeros(1)))

    def _follow(self, name: str, operator: Any, values: Values) -> None:
        before, made = self._chain(int(operator.inputs[0])), int(operator.outputs[0])
        if name == "MUL":
            self._known[made] = _Affine(before.source, before.scale * values, before.shift * values)
            return
        after = _Affine(before.source, before.scale, before.shift + (values if name == "ADD" else -values))
        self._known[made] = after
        first = _whole_or_half(after.shift / after.scale) if after.scale.all() else np.array(np.inf)
        if (before.scale != 1).any() and np.abs(first).max() <= _LARGEST:
            self._shift(operator, after, first)

    def _constant_of(self, operator: Any) -> Values | None:
        """Return what an operation without an activation takes beside a tensor, if that is constant."""
        if operator.builtinOptions.fusedActivationFunction != schema.ActivationFunctionType.NONE:
            return None
        tensor = self._graph.tensors[int(operator.inputs[1])]
        data = constant_data(self._parsed, tensor)
        if data is None or tensor.type != _FLOAT:
            return None
        values = np.frombuffer(bytes(data), np.float32).astype(np.float64)
        channels = self._graph.tensors[int(operator.outputs[0])].shape[-1:]
        along = tensor.shape is not None and list(tensor.shape[-1:]) == list(channels) == [values.size]
        return values if values.size == 1 or along else None

    def _pick(self, operator: Any) -> None:
        """Let the same be picked of the source of a chain, from which the chain then goes on."""
        given, made = int(operator.inputs[0]), int(operator.outputs[0])
        chain = self._chain(given)
        if chain.source == given or not chain.is_even:
            return
        tensor = self._graph.tensors[made]
        picked = add_tensor(self._graph, tensor.name + b"_of_source", tensor.type, tensor.shape)
        inputs = [chain.source, *map(int, operator.inputs[1:])]
        twin = add_operator(
            self._parsed, self._graph, operator, schema.BuiltinOperator.GATHER, inputs, picked
        )
        twin.builtinOptionsType, twin.builtinOptions = operator.builtinOptionsType, operator.builtinOptions
        self._known[made] = _Affine(picked, chain.scale, chain.shift)

    def _shift(self, operator: Any, chain: _Affine, first: Values) -> None:
        """Make what ``operator`` made of the source of its chain: shifted ``first``, then scaled."""
        made = int(operator.outputs[0])
        tensor, parsed, graph = self._graph.tensors[made], self._parsed, self._graph
        shifted = add_tensor(graph, tensor.name + b"_shifted", tensor.type, tensor.shape)
        inputs = [chain.source, self._constant(tensor.name + b"_shift", first)]
        add = add_operator(parsed, graph, operator, schema.BuiltinOperator.ADD, inputs, shifted)
        add.builtinOptionsType, add.builtinOptions = schema.BuiltinOptions.AddOptions, schema.AddOptionsT()
        inputs = [shifted, self._constant(tensor.name + b"_scale", chain.scale)]
        scale = add_operator(parsed, graph, operator, schema.BuiltinOperator.MUL, inputs, made)
        scale.builtinOptionsType, scale.builtinOptions = (
            schema.BuiltinOptions.MulOptions,
            schema.MulOptionsT(),
        )
        graph.operators = [one for one in graph.operators if one is not operator]

    def _constant(self, name: bytes, values: Values) -> int:
        stored = add_buffer(self._parsed, values.astype(np.float32))
        return add_tensor(self._graph, name, _FLOAT, values.shape, stored)


def _whole_or_half(shift: Values) -> Values:
    """Return shifts as they were meant, where float32 put b / a beside a whole or a half number."""
    near = np.round(shift * 2) / 2
    return np.where(np.abs(near - shift) <= np.abs(shift) * _GRAIN, near, shift)
