"""Looking into a TFLite file."""

from collections.abc import Iterator
from typing import Any

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
    """Return the model as the schema's objects."""
    return flatbuffer_utils.read_model_from_bytearray(bytearray(model))


def serialise(parsed: Any) -> bytes:
    """Return the bytes of a model of the schema's objects."""
    return bytes(flatbuffer_utils.convert_object_to_bytearray(parsed))


def operation_name(parsed: Any, operator: Any) -> str:
    """Return an operation's name, such as CONV_2D."""
    code = parsed.operatorCodes[operator.opcodeIndex]
    return str(_NAMES[flatbuffer_utils.get_builtin_code_from_operator_code(code)])


def operation_names(model: bytes) -> Iterator[str]:
    """Yield the names of all operations in the order of the file."""
    parsed = parse(model)
    for graph in parsed.subgraphs:
        yield from (operation_name(parsed, operator) for operator in graph.operators)


def activation_ranks(model: bytes) -> dict[str, int]:
    """Return the float tensors that are computed when the model runs, and how many axes each has."""
    parsed = parse(model)
    return {
        graph.tensors[index].name.decode(): len(graph.tensors[index].shape)
        for graph in parsed.subgraphs
        for operator in graph.operators
        for index in (*operator.inputs, *operator.outputs)
        if index >= 0 and graph.tensors[index].type == schema.TensorType.FLOAT32
        if constant_data(parsed, graph.tensors[index]) is None
    }


def constant_data(parsed: Any, tensor: Any) -> Any | None:
    """Return the bytes of a constant tensor, or None for one that is computed."""
    data = parsed.buffers[tensor.buffer].data
    return data if data is not None and len(data) else None
