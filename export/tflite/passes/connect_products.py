"""Matrix products with stored weights as fully connected layers.

LiteRT stores float16 weights, and int8 ones with a step for each channel, for FULLY_CONNECTED and not for
BATCH_MATMUL; converters write the latter for a linear layer of more than one row.
"""

from collections import Counter
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from mien.export.tflite.edit import add_buffer, add_operator, add_tensor, code_of
from mien.export.tflite.products import Product, products
from mien.mobile_reference.tflite.flatbuffer import constant_data, operation_name, parse, serialise

_KEEPS_AXES = 5
"""The first version of FULLY_CONNECTED that keeps the axes of its input."""


def connect_products(model: bytes) -> bytes:
    """Turn products [.., in] x [in, out] with stored weights into fully connected layers, bias and all."""
    parsed = parse(model)
    found = [one for one in products(parsed) if one.kind == "BATCH_MATMUL"]
    for one in found:
        _connect(parsed, one)
    return serialise(parsed) if found else model


def _connect(parsed: Any, product: Product) -> None:
    graph, operator = product.graph, product.operator
    name = graph.tensors[operator.outputs[0]].name + b"_fc_weights"
    stored = add_buffer(parsed, product.weight)
    weights = add_tensor(graph, name, schema.TensorType.FLOAT32, product.weight.shape, stored)
    operator.inputs = [_rows(parsed, graph, operator), weights]
    operator.opcodeIndex = code_of(parsed, schema.BuiltinOperator.FULLY_CONNECTED, _KEEPS_AXES)
    operator.builtinOptionsType = schema.BuiltinOptions.FullyConnectedOptions
    operator.builtinOptions = schema.FullyConnectedOptionsT()
    operator.builtinOptions.keepNumDims = True
    _take_bias(parsed, graph, operator, len(product.weight))


def _rows(parsed: Any, graph: Any, operator: Any) -> int:
    """Return what a product reads, its rows along the last axis: int8 kernels read no other as they should.

    Such an input is a single row in most graphs, as attention has them that takes its batch second.
    """
    index = int(operator.inputs[0])
    if not operator.builtinOptions.adjX:
        return index
    given = graph.tensors[index]
    *outer, columns, rows = map(int, given.shape)
    turned = (*outer, rows, columns)
    made = add_tensor(graph, given.name + b"_rows", schema.TensorType.FLOAT32, turned)
    single = 1 in (columns, rows)
    places = turned if single else (*range(len(outer)), len(outer) + 1, len(outer))
    kind = schema.BuiltinOperator.RESHAPE if single else schema.BuiltinOperator.TRANSPOSE
    buffer = add_buffer(parsed, np.array(places, np.int32))
    asked = add_tensor(graph, given.name + b"_rows_as", schema.TensorType.INT32, (len(places),), buffer)
    add_operator(parsed, graph, operator, kind, [index, asked], made)
    return made


def _take_bias(parsed: Any, graph: Any, operator: Any, size: int) -> None:
    """Let a layer add a stored vector itself, where an ADD that alone reads the layer does."""
    made = int(operator.outputs[0])
    readers = Counter(int(index) for one in graph.operators for index in one.inputs)
    readers.update(int(index) for index in graph.outputs)
    for one in graph.operators:
        inputs = [int(index) for index in one.inputs]
        if operation_name(parsed, one) != "ADD" or made not in inputs or readers[made] > 1:
            continue
        (other,) = (index for index in inputs if index != made)
        tensor = graph.tensors[other]
        plain = one.builtinOptions.fusedActivationFunction == schema.ActivationFunctionType.NONE
        if plain and constant_data(parsed, tensor) is not None and list(tensor.shape) == [size]:
            operator.inputs = [*operator.inputs, other]
            operator.outputs = one.outputs
            graph.operators = [kept for kept in graph.operators if kept is not one]
            return
