"""TFLite graphs of one operation, built by hand, for tests that need no converter."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from mien.mobile_reference.tflite.flatbuffer import serialise


class GraphBuilder:
    """Collects tensors and operations of one float graph."""

    def __init__(self) -> None:
        self.model = schema.ModelT()
        self.model.version = 3
        self.model.description = b"test"
        self.model.buffers = [schema.BufferT()]
        self.model.operatorCodes = []
        self.graph = schema.SubGraphT()
        self.graph.name = b"main"
        self.graph.tensors, self.graph.operators = [], []
        self.graph.inputs, self.graph.outputs = [], []
        self.model.subgraphs = [self.graph]

    def tensor(self, name: str, shape: tuple[int, ...], kind: int = schema.TensorType.FLOAT32) -> int:
        """Add a tensor that is computed or given."""
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.type, tensor.buffer = name.encode(), list(shape), kind, 0
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def given(self, name: str, shape: tuple[int, ...]) -> int:
        """Add an input of the graph."""
        self.graph.inputs.append(self.tensor(name, shape))
        return int(self.graph.inputs[-1])

    def constant(self, name: str, values: NDArray[Any]) -> int:
        """Add a stored tensor of float32 or int32."""
        kind = schema.TensorType.INT32 if values.dtype == np.int32 else schema.TensorType.FLOAT32
        index = self.tensor(name, values.shape, kind)
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(np.ascontiguousarray(values).tobytes(), np.uint8)
        self.model.buffers.append(buffer)
        self.graph.tensors[index].buffer = len(self.model.buffers) - 1
        return index

    def add(self, kind: str, inputs: list[int], output: int, options: Any = None, version: int = 1) -> int:
        """Add an operation; ``options`` is an object of the schema such as ``Conv2DOptionsT``."""
        code = schema.OperatorCodeT()
        code.builtinCode = getattr(schema.BuiltinOperator, kind)
        code.deprecatedBuiltinCode, code.version = min(code.builtinCode, 127), version
        self.model.operatorCodes.append(code)
        operator = schema.OperatorT()
        operator.opcodeIndex = len(self.model.operatorCodes) - 1
        operator.inputs, operator.outputs = inputs, [output]
        if options is not None:
            operator.builtinOptions = options
            name = type(options).__name__.removesuffix("T")
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, name)
        self.graph.operators.append(operator)
        return output

    def _named(self, indices: Sequence[int]) -> list[Any]:
        maps = []
        for index in indices:
            entry = schema.TensorMapT()
            entry.name, entry.tensorIndex = self.graph.tensors[index].name, index
            maps.append(entry)
        return maps

    def build(self, *outputs: int) -> bytes:
        """Return the file, with these outputs."""
        self.graph.outputs = list(outputs)
        signature = schema.SignatureDefT()
        signature.signatureKey, signature.subgraphIndex = b"serving_default", 0
        signature.inputs, signature.outputs = map(self._named, (self.graph.inputs, outputs))
        self.model.signatureDefs = [signature]
        return serialise(self.model)
