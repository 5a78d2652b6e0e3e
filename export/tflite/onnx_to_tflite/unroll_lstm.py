"""LSTMs of a fixed number of steps, written out in plain operations.

onnx2tf makes one fused operation of an LSTM, which is off by up to a fifteenth of full scale. A step is
written as ONNX defines it for the activations that are its default
(https://onnx.ai/onnx/operators/onnx__LSTM.html, opset 14).
"""

from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx

STEPS = 256
"""So many steps of a graph are written out, of all layers and directions: each is a dozen operations."""
_OPSET = 13  # from here on a Split has its sizes as an input
_GATES = 4
_ORDERS = {b"forward": (1,), b"reverse": (-1,), b"bidirectional": (1, -1)}
_ACTIVATIONS = (b"Sigmoid", b"Tanh", b"Tanh")
_LENGTHS, _PEEPHOLES = 4, 7
"""Places of inputs that are not taken."""


def unroll_lstms(model: onnx.ModelProto) -> None:
    """Write out the LSTMs of a graph whose shapes are known, in place.

    It leaves alone those beyond ``STEPS`` steps in all, of lengths by sequence, with other activations, a
    clip, peepholes, a coupled forget gate, or the batch first, and all of them below opset 13.
    """
    if max(one.version for one in model.opset_import if one.domain in ("", "ai.onnx")) < _OPSET:
        return
    graph = model.graph
    inferred = onnx.shape_inference.infer_shapes(model).graph
    shapes = {
        value.name: tuple(axis.dim_value for axis in value.type.tensor_type.shape.dim)
        for value in (*inferred.input, *inferred.value_info)
    }
    zeros = {tensor.name for tensor in graph.initializer if not onnx.numpy_helper.to_array(tensor).any()}
    nodes: list[onnx.NodeProto] = []
    left = STEPS
    for node in graph.node:
        lstm = _read(node, shapes.get(node.input[0], ())) if node.op_type == "LSTM" else None
        if lstm is None or lstm.steps * len(lstm.orders) > left:
            nodes.append(node)
            continue
        left -= lstm.steps * len(lstm.orders)
        nodes += _written_out(lstm, zeros)
    del graph.node[:]
    graph.node.extend(nodes)
    if left < STEPS:
        _count_axes(graph, shapes)


def _count_axes(graph: onnx.GraphProto, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Give every Reshape its lengths: onnx2tf joins several to one, for which 0 and -1 stand for others."""
    for node in graph.node:
        shape = shapes.get(node.output[0], ()) if node.op_type == "Reshape" else ()
        if shape and all(shape):
            name = node.output[0] + "_lengths"
            graph.initializer.append(onnx.numpy_helper.from_array(np.array(shape, np.int64), name))
            node.input[1] = name


@dataclass(frozen=True)
class _Lstm:
    node: onnx.NodeProto
    steps: int
    batch: int
    size: int
    hidden: int
    orders: tuple[int, ...]
    """For each direction 1, or -1 where it takes the last step first."""


def _read(node: onnx.NodeProto, shape: tuple[int, ...]) -> _Lstm | None:
    """Return an LSTM whose input has that shape, if it can be written out."""
    plain = {one.name: onnx.helper.get_attribute_value(one) for one in node.attribute}
    orders = _ORDERS[plain.pop("direction", b"forward")]
    activations = tuple(plain.pop("activations", _ACTIVATIONS * len(orders)))
    hidden = plain.pop("hidden_size")
    if len(shape) != 3 or not all(shape) or activations != _ACTIVATIONS * len(orders):
        return None
    if any(plain.values()) or _input(node, _LENGTHS) or _input(node, _PEEPHOLES):
        return None
    return _Lstm(node, *shape, hidden, orders)


def _input(node: onnx.NodeProto, place: int) -> str:
    """Return the name of an input, which is empty where it is left out."""
    return str(node.input[place]) if place < len(node.input) else ""


class _Nodes:
    """Nodes written one behind the other; their outputs have names of their own."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.written: list[onnx.NodeProto] = []

    def add(self, kind: str, *inputs: str, **attributes: Any) -> str:
        return self._several(kind, 1, *inputs, **attributes)[0]

    def _several(self, kind: str, count: int, *inputs: str, **attributes: Any) -> list[str]:
        names = [f"{self.prefix}_{len(self.written)}_{place}" for place in range(count)]
        self.written.append(onnx.helper.make_node(kind, inputs, names, **attributes))
        return names

    def split(self, name: str, count: int, length: int, axis: int = 0) -> list[str]:
        """Part a tensor into so many of that length."""
        return self._several("Split", count, name, self._lengths([length] * count), axis=axis)

    def shape(self, name: str, *shape: int) -> str:
        return self.add("Reshape", name, self._lengths(shape))

    def _lengths(self, lengths: "list[int] | tuple[int, ...]") -> str:
        return self.add("Constant", value=onnx.numpy_helper.from_array(np.array(lengths, np.int64)))


def _written_out(lstm: _Lstm, zeros: Set[str]) -> list[onnx.NodeProto]:
    """Return the nodes that compute an LSTM's outputs; a state or bias of ``zeros`` is left out."""
    nodes = _Nodes(next(filter(None, lstm.node.output)) + "_unrolled")
    directions = len(lstm.orders)
    weights = [nodes.split(lstm.node.input[place], directions, 1) for place in (1, 2)]
    others = [
        [""] * directions if name in zeros | {""} else nodes.split(name, directions, 1)
        for name in (_input(lstm.node, place) for place in (3, 5, 6))
    ]
    # Rows, for a converter takes three axes and more for channels that may be moved.
    rows = nodes.shape(lstm.node.input[0], lstm.steps * lstm.batch, lstm.size)
    made = [
        _direction(nodes, lstm, rows, *parts) for parts in zip(lstm.orders, *weights, *others, strict=True)
    ]
    states = [state for step in zip(*(hidden for hidden, _, _ in made), strict=True) for state in step]
    last, cells = ([one[place] for one in made] for place in (1, 2))
    once = (directions, lstm.batch, lstm.hidden)
    wholes = ((states, (lstm.steps, *once)), (last, once), (cells, once))
    for output, (parts, shape) in zip(lstm.node.output, wholes, strict=False):
        if output:
            nodes.shape(nodes.add("Concat", *parts, axis=0), *shape)
            nodes.written[-1].output[0] = output
    return nodes.written


def _direction(
    nodes: _Nodes, lstm: _Lstm, rows: str, order: int, w: str, r: str, b: str, state: str, cell: str
) -> tuple[list[str], str, str]:
    """Write one direction; returns its states in the order of the input, its last state, its last cell."""
    gates = _GATES * lstm.hidden
    w, r = nodes.shape(w, gates, lstm.size), nodes.shape(r, gates, lstm.hidden)
    state, cell = (nodes.shape(name, lstm.batch, lstm.hidden) if name else "" for name in (state, cell))
    bias = [nodes.shape(nodes.add("Add", *nodes.split(b, 2, gates, 1)), gates)] if b else []
    of_input = nodes.split(nodes.add("Gemm", rows, w, *bias, transB=1), lstm.steps, lstm.batch)
    states = []
    for step in of_input[::order]:
        given = nodes.add("Add", step, nodes.add("Gemm", state, r, transB=1)) if state else step
        i, o, f, c = nodes.split(given, _GATES, lstm.hidden, 1)
        new = nodes.add("Mul", nodes.add("Sigmoid", i), nodes.add("Tanh", c))
        cell = nodes.add("Add", nodes.add("Mul", nodes.add("Sigmoid", f), cell), new) if cell else new
        state = nodes.add("Mul", nodes.add("Sigmoid", o), nodes.add("Tanh", cell))
        states.append(state)
    return states[::order], state, cell
