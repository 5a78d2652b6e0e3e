"""Clamps to 0..1 that phones' GPUs take.

The GPU delegate has no RELU_0_TO_1, and one such operation leaves to the processor what lies behind it.
"""

from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from mien.mobile_reference.tflite.flatbuffer import operation_name, parse, serialise


def split_clamps(model: bytes) -> bytes:
    """Write every float RELU_0_TO_1 as a RELU and a MINIMUM with 1, which give the same values.

    An int8 one stays, since a GPU does not run int8.
    """
    parsed = parse(model)
    for graph in parsed.subgraphs:
        for operator in list(graph.operators):
            kind = graph.tensors[operator.inputs[0]].type
            if operation_name(parsed, operator) == "RELU_0_TO_1" and kind == schema.TensorType.FLOAT32:
                _split(parsed, graph, operator)
    return serialise(parsed)


def _split(parsed: Any, graph: Any, operator: Any) -> None:
    made = graph.tensors[operator.outputs[0]]
    above = _add_tensor(graph, made.name + b"_above_0", [int(size) for size in made.shape])
    one = _add_tensor(graph, made.name + b"_1", [])
    parsed.buffers.append(schema.BufferT())
    parsed.buffers[-1].data = np.frombuffer(np.float32(1).tobytes(), np.uint8)
    graph.tensors[one].buffer = len(parsed.buffers) - 1
    least = schema.OperatorT()
    least.opcodeIndex = _code(parsed, schema.BuiltinOperator.MINIMUM)
    least.inputs, least.outputs = [above, one], operator.outputs
    least.builtinOptionsType = schema.BuiltinOptions.MaximumMinimumOptions
    least.builtinOptions = schema.MaximumMinimumOptionsT()
    operator.opcodeIndex = _code(parsed, schema.BuiltinOperator.RELU)
    operator.outputs = [above]
    place = next(n for n, other in enumerate(graph.operators) if other is operator)
    graph.operators.insert(place + 1, least)


def _add_tensor(graph: Any, name: bytes, shape: list[int]) -> int:
    tensor = schema.TensorT()
    tensor.name, tensor.type, tensor.shape, tensor.buffer = name, schema.TensorType.FLOAT32, shape, 0
    graph.tensors.append(tensor)
    return len(graph.tensors) - 1


def _code(parsed: Any, number: int) -> int:
    """Return the place of an operation among the model's codes, adding it where it is not there."""
    for place, code in enumerate(parsed.operatorCodes):
        if max(code.builtinCode, code.deprecatedBuiltinCode) == number:
            return place
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = number
    code.version = 1
    parsed.operatorCodes.append(code)
    return len(parsed.operatorCodes) - 1
