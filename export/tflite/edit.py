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
