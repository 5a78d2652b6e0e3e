"""Looking into a TFLite file."""

import math
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils

_NAMES = {value: name for name, value in vars(schema.BuiltinOperator).items() if not name.startswith("_")}
LAYOUT_OPERATIONS = frozenset(["TRANSPOSE", "RESHAPE"])
"""What converters bridge layouts with."""
MOVES = LAYOUT_OPERATIONS | {
    "BROADCAST_TO",
    "EXPAND_DIMS",
    "GATHER",
    "SLICE",
    "SPLIT",
    "SQUEEZE",
    "STRIDED_SLICE",
    "TILE",
}
"""Operations that compute nothing: they only move values."""


def parse(model: bytes) -> Any:
    """Return the model as the schema's objects, each constant in its buffer."""
    content = bytearray(model)
    parsed = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    # LiteRT's own reader gives buffers other numbers, from 2.2 on.
    for buffer in parsed.buffers or []:
        if buffer.offset:  # the quantiser writes the constants of larger models behind the tables
            buffer.data = np.frombuffer(content, np.uint8)[buffer.offset : buffer.offset + buffer.size]
            buffer.offset = buffer.size = 0
    return parsed


@lru_cache(maxsize=4)  # an export looks into one graph some thirty times
def looked_into(model: bytes) -> Any:
    """Return what ``parse`` does to all who ask for the same model: it is there to be read, not changed."""
    return parse(model)


def serialise(parsed: Any) -> bytes:
    """Return the bytes of a model of the schema's objects."""
    return bytes(flatbuffer_utils.convert_object_to_bytearray(parsed))


def operation_name(parsed: Any, operator: Any) -> str:
    """Return an operation's name, such as CONV_2D."""
    code = parsed.operatorCodes[operator.opcodeIndex]
    return str(_NAMES[flatbuffer_utils.get_builtin_code_from_operator_code(code)])


def operation_names(model: bytes) -> Iterator[str]:
    """Yield the names of all operations in the order of the file."""
    parsed = looked_into(model)
    for graph in parsed.subgraphs:
        yield from (operation_name(parsed, operator) for operator in graph.operators)


def activation_ranks(model: bytes) -> dict[str, int]:
    """Return the float tensors that are computed when the model runs, and how many axes each has."""
    return {name: len(shape) for name, shape in _activations(model)}


def activation_sizes(model: bytes) -> dict[str, int]:
    """Return the float tensors that are computed when the model runs, and how many values each has."""
    return {name: math.prod(shape) for name, shape in _activations(model)}


def _activations(model: bytes) -> Iterator[tuple[str, tuple[int, ...]]]:
    parsed = looked_into(model)
    for graph in parsed.subgraphs:
        for operator in graph.operators:
            for index in (*operator.inputs, *operator.outputs):
                tensor = graph.tensors[index]
                computed = index >= 0 and tensor.type == schema.TensorType.FLOAT32
                if computed and constant_data(parsed, tensor) is None:
                    yield tensor.name.decode(), () if tensor.shape is None else tuple(map(int, tensor.shape))


def following_inputs(model: bytes) -> frozenset[str]:
    """Name the tensors of the first graph that depend on its inputs; others are the same in every run."""
    parsed = looked_into(model)
    graph = parsed.subgraphs[0]
    found = set(map(int, graph.inputs))
    for operator in graph.operators:
        if found.intersection(map(int, operator.inputs)):
            found.update(map(int, operator.outputs))
    return frozenset(graph.tensors[index].name.decode() for index in found)


def constant_data(parsed: Any, tensor: Any) -> Any | None:
    """Return the bytes of a constant tensor, or None for one that is computed."""
    data = parsed.buffers[tensor.buffer].data
    return data if data is not None and len(data) else None
