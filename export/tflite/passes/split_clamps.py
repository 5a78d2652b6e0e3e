"""Clamps to 0..1 that phones' GPUs take.

The GPU delegate has no RELU_0_TO_1, and one such operation leaves to the processor what lies behind it.
"""

from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from mien.export.tflite.edit import add_buffer, add_tensor, code_of
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
    kind = schema.TensorType.FLOAT32
    above = add_tensor(graph, made.name + b"_above_0", kind, made.shape)
    one = add_tensor(graph, made.name + b"_1", kind, [], add_buffer(parsed, np.array(1, np.float32)))
    least = schema.OperatorT()
    least.opcodeIndex = code_of(parsed, schema.BuiltinOperator.MINIMUM)
    least.inputs, least.outputs = [above, one], operator.outputs
    least.builtinOptionsType = schema.BuiltinOptions.MaximumMinimumOptions
    least.builtinOptions = schema.MaximumMinimumOptionsT()
    operator.opcodeIndex = code_of(parsed, schema.BuiltinOperator.RELU)
    operator.outputs = [above]
    place = next(n for n, other in enumerate(graph.operators) if other is operator)
    graph.operators.insert(place + 1, least)
