"""The ends of a TFLite graph: tensors that the contract passes as they are, rather than channels last.

Every converter takes a tensor of four axes for a picture, and has it channels last. Where the contract does
not say that it is one, as of the maps of attention, a TRANSPOSE at the end of the graph gives its axes back;
so it does for what convolutions of one and three dimensions make, where a converter has it channels last.
"""

from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from mien.export.component import Component
from mien.export.tflite.edit import add_buffer, add_tensor, code_of
from mien.mobile_reference.contract import PICTURE, TensorSpec
from mien.mobile_reference.tflite.flatbuffer import parse, serialise

_TO_LAST, _TO_FIRST = (0, 2, 3, 1), (0, 3, 1, 2)
_BACK = {3: (0, 2, 1), 4: _TO_FIRST, 5: (0, 4, 1, 2, 3)}
"""How axes are put back by their number."""


def with_own_ends(component: Component, model: bytes) -> bytes:
    """Return a model whose four-axes ends are channels last with each end as the contract has it."""
    inputs, outputs = component.specs(component.inputs), component.specs(component.outputs)
    parsed = parse(model)
    ends = _Ends(parsed, parsed.subgraphs[0])
    given = [place for place, spec in enumerate(inputs) if _passes(spec) and not ends.stands(place, spec)]
    made = [place for place, spec in enumerate(outputs) if _passes(spec) or ends.is_turned(place, spec)]
    for place in given:
        ends.turn_input(place)
    for place in made:
        ends.turn_output(place)
    return serialise(parsed) if given or made else model


def _passes(spec: TensorSpec) -> bool:
    return len(spec.shape) == 4 and spec.layout != PICTURE


class _Ends:
    """Adds operations to one graph, whose objects it edits in place."""

    def __init__(self, model: Any, graph: Any) -> None:
        self.model, self.graph = model, graph

    def is_turned(self, place: int, spec: TensorSpec) -> bool:
        """Tell by its shape whether an output of three or five axes is channels last."""
        shape = [int(length) for length in self.graph.tensors[int(self.graph.outputs[place])].shape]
        back = _BACK[len(shape)] if len(shape) in (3, 5) else ()
        return tuple(shape) != spec.shape and tuple(shape[axis] for axis in back) == spec.shape

    def stands(self, place: int, spec: TensorSpec) -> bool:
        """Tell by its shape whether an input of four axes was left as the contract has it."""
        shape = tuple(int(length) for length in self.graph.tensors[int(self.graph.inputs[place])].shape)
        return shape == spec.shape != tuple(spec.shape[axis] for axis in _TO_LAST)

    def turn_input(self, place: int) -> None:
        """Let the graph take its input channels second, and turn it first."""
        inside = int(self.graph.inputs[place])
        outside = self._outside(inside)
        self.graph.operators.insert(0, self._transpose(outside, inside, _TO_LAST))
        self.graph.inputs = _replaced(self.graph.inputs, place, outside)
        self._sign("inputs", inside, outside)

    def turn_output(self, place: int) -> None:
        """Let the graph give its output channels second, and turn it last."""
        inside = int(self.graph.outputs[place])
        outside = self._outside(inside)
        order = _BACK[len(self.graph.tensors[inside].shape)]
        self.graph.operators.append(self._transpose(inside, outside, order))
        self.graph.outputs = _replaced(self.graph.outputs, place, outside)
        self._sign("outputs", inside, outside)

    def _outside(self, inside: int) -> int:
        """Make the tensor that the app sees; it takes the name of the one inside."""
        old = self.graph.tensors[inside]
        name, old.name = old.name, old.name + b"_channels_last"
        return add_tensor(self.graph, name, old.type, [old.shape[axis] for axis in _BACK[len(old.shape)]])

    def _transpose(self, source: int, target: int, order: tuple[int, ...]) -> Any:
        operator = schema.OperatorT()
        operator.opcodeIndex = code_of(self.model, schema.BuiltinOperator.TRANSPOSE)
        operator.inputs, operator.outputs = [source, self._order(order)], [target]
        operator.builtinOptionsType = schema.BuiltinOptions.TransposeOptions
        operator.builtinOptions = schema.TransposeOptionsT()
        return operator

    def _order(self, order: tuple[int, ...]) -> int:
        name, stored = (
            b"order_%d" % len(self.graph.tensors),
            add_buffer(self.model, np.array(order, np.int32)),
        )
        return add_tensor(self.graph, name, schema.TensorType.INT32, [len(order)], stored)

    def _sign(self, side: str, inside: int, outside: int) -> None:
        """Let signatures name the new end."""
        for signature in self.model.signatureDefs or ():
            for entry in getattr(signature, side) or ():
                if entry.tensorIndex == inside:
                    entry.tensorIndex = outside


def _replaced(ends: Any, place: int, index: int) -> list[int]:
    found = [int(end) for end in ends]
    found[place] = index
    return found
