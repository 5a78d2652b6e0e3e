"""Small edits of a TFLite graph that kernels reward."""

from collections import Counter
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from mien.export.tflite.edit import add_buffer, add_tensor
from mien.mobile_reference.tflite.flatbuffer import constant_data, operation_name, parse, serialise

# Operations with weights, and where they have their bias.
_BIASED = {"CONV_2D": 2, "DEPTHWISE_CONV_2D": 2, "FULLY_CONNECTED": 2, "TRANSPOSE_CONV": 3}
_FUSING = frozenset(["CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"])
_FILTER = 1


def fuse_relu(model: bytes) -> bytes:
    """Let a convolution or fully connected layer that only a RELU reads do it itself.

    XNNPACK takes no integer RELU of its own: left apart, they were a fifth of the int8 graph's work.
    """
    parsed = parse(model)
    for graph in parsed.subgraphs:
        readers = Counter(int(i) for operator in graph.operators for i in operator.inputs)
        readers.update(int(i) for i in graph.outputs)
        makers: dict[int, Any] = {int(i): operator for operator in graph.operators for i in operator.outputs}
        kept = []
        for operator in graph.operators:
            source = int(operator.inputs[0])
            maker: Any = makers.get(source)
            if operation_name(parsed, operator) == "RELU" and readers[source] == 1 and _plain(parsed, maker):
                maker.builtinOptions.fusedActivationFunction = schema.ActivationFunctionType.RELU
                maker.outputs = operator.outputs
            else:
                kept.append(operator)
        graph.operators = kept
    return serialise(parsed)


def _plain(parsed: Any, operator: Any) -> bool:
    """Tell whether an operation could have an activation and has none."""
    if operator is None or operation_name(parsed, operator) not in _FUSING:
        return False
    return bool(operator.builtinOptions.fusedActivationFunction == schema.ActivationFunctionType.NONE)


def cast_biases_fp16(model: bytes) -> bytes:
    """Store the biases of layers of float16 weights in float16 too, each brought back by a DEQUANTIZE.

    XNNPACK refuses a layer whose weights are float16 and whose bias is float32, and the model then
    runs three times as long.
    """
    parsed = parse(model)
    for graph in parsed.subgraphs:
        halved = _brought_back(parsed, graph)
        operators = []
        for operator in graph.operators:
            place = _BIASED.get(operation_name(parsed, operator), len(operator.inputs))
            if place < len(operator.inputs) and operator.inputs[place] >= 0:
                bias = graph.tensors[operator.inputs[place]]
                plain = constant_data(parsed, bias) is not None and bias.type == schema.TensorType.FLOAT32
                if plain and int(operator.inputs[_FILTER]) in halved:
                    operators.append(_halved(parsed, graph, operator, place))
            operators.append(operator)
        graph.operators = operators
    return serialise(parsed)


def _brought_back(parsed: Any, graph: Any) -> set[int]:
    """Return the tensors that a DEQUANTIZE makes of float16 constants."""
    return {
        int(operator.outputs[0])
        for operator in graph.operators
        if operation_name(parsed, operator) == "DEQUANTIZE"
        and graph.tensors[operator.inputs[0]].type == schema.TensorType.FLOAT16
    }


def _bring_back(parsed: Any, source: int, target: int) -> Any:
    """Return a DEQUANTIZE from tensor to tensor; tensors that are quantised have brought its code along."""
    step = schema.OperatorT()
    codes = [code.builtinCode for code in parsed.operatorCodes]
    step.opcodeIndex = codes.index(schema.BuiltinOperator.DEQUANTIZE)
    step.inputs, step.outputs = [source], [target]
    step.builtinOptionsType = schema.BuiltinOptions.DequantizeOptions
    step.builtinOptions = schema.DequantizeOptionsT()
    return step


def _halved(parsed: Any, graph: Any, operator: Any, place: int) -> Any:
    """Give a layer a float16 copy of its bias at ``place``, and return the operation that brings it back."""
    index = int(operator.inputs[place])
    values = np.frombuffer(bytes(parsed.buffers[graph.tensors[index].buffer].data), np.float32)
    name = graph.tensors[index].name
    stored = add_buffer(parsed, values.astype(np.float16))
    half = add_tensor(graph, name + b"_half", schema.TensorType.FLOAT16, values.shape, stored)
    whole = add_tensor(graph, name + b"_whole", schema.TensorType.FLOAT32, values.shape)
    operator.inputs = [whole if position == place else int(i) for position, i in enumerate(operator.inputs)]
    return _bring_back(parsed, half, whole)


def widen_by_float(model: bytes) -> bytes:
    """Go from int8 to int16 by way of float32: LiteRT's QUANTIZE does not do it at once."""
    parsed = parse(model)
    for graph in parsed.subgraphs:
        operators = []
        for operator in graph.operators:
            if operation_name(parsed, operator) == "QUANTIZE" and _widens(graph, operator):
                source = graph.tensors[operator.inputs[0]]
                kind = schema.TensorType.FLOAT32
                whole = add_tensor(graph, source.name + b"_between", kind, source.shape)
                operators.append(_bring_back(parsed, int(operator.inputs[0]), whole))
                operator.inputs = [whole]
            operators.append(operator)
        graph.operators = operators
    return serialise(parsed)


def _widens(graph: Any, operator: Any) -> bool:
    kinds = [graph.tensors[index].type for index in (operator.inputs[0], operator.outputs[0])]
    return kinds == [schema.TensorType.INT8, schema.TensorType.INT16]
