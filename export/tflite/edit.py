"""What passes add to a parsed model: operation codes, tensors, stored values."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray


def code_of(parsed: Any, number: int, version: int = 1) -> int:
    """Return the place of an operation among the model's codes, adding it where it is not there.

    Its version becomes at least the one that is asked for.
    """
    for place, code in enumerate(parsed.operatorCodes):
        if max(code.builtinCode, code.deprecatedBuiltinCode) == number:
            code.version = max(code.version, version)
            return place
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = number
    code.version = version
    parsed.operatorCodes.append(code)
    return len(parsed.operatorCodes) - 1


def add_tensor(graph: Any, name: bytes, kind: int, shape: Iterable[int], buffer: int = 0) -> int:
    """Add a tensor, computed unless ``buffer`` says where its values lie; returns its number."""
    tensor = schema.TensorT()
    tensor.name, tensor.type, tensor.buffer = name, kind, buffer
    tensor.shape = [int(size) for size in shape]
    graph.tensors.append(tensor)
    return len(graph.tensors) - 1


def add_buffer(parsed: Any, values: NDArray[Any]) -> int:
    """Store values, and return the number of their buffer."""
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(np.ascontiguousarray(values).tobytes(), np.uint8)
    parsed.buffers.append(buffer)
    return len(parsed.buffers) - 1


def add_operator(
    parsed: Any, graph: Any, before: Any, number: int, inputs: Iterable[int], output: int
) -> Any:
    """Add an operation of a ``number`` of the schema in front of another one; it has no options yet."""
    added = schema.OperatorT()
    added.opcodeIndex = code_of(parsed, number)
    added.inputs, added.outputs = list(inputs), [output]
    place = next(n for n, other in enumerate(graph.operators) if other is before)
    graph.operators.insert(place, added)
    return added


def drop_unread(graph: Any) -> None:
    """Leave out operations of which nothing that they make is read, and those that these alone read from."""
    read = set(map(int, graph.outputs))
    kept = []
    for operator in reversed(graph.operators):  # which are in the order in which they run
        if read.intersection(map(int, operator.outputs)):
            kept.append(operator)
            read.update(map(int, operator.inputs))
    graph.operators = kept[::-1]
