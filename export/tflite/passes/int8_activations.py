"""Operations that have int8 kernels in LiteRT and that the quantiser leaves in float."""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from mien.export.tflite.blocks import ALONE_INT8
from mien.export.tflite.ranges import Range
from mien.mobile_reference.tflite.flatbuffer import constant_data, operation_name, parse, serialise

# Values are moved, so that they keep their scale.
_MOVES = frozenset(["DEPTH_TO_SPACE", "EXPAND_DIMS", "SQUEEZE"])
_LEVELS, _LEAST = 255, -128


def stay_int8(model: bytes, outputs: Collection[str], ranges: Mapping[str, Range]) -> bytes:
    """Let the operations that make ``outputs`` compute in int8, where they take in int8 brought back.

    A DEQUANTIZE before such an operation moves behind it, and goes where a QUANTIZE follows. ``ranges`` are
    those of the tensors.
    """
    parsed = parse(model)
    for graph in parsed.subgraphs:
        _Pass(parsed, graph).run(outputs, ranges)
    return serialise(parsed)


class _Pass:
    def __init__(self, parsed: Any, graph: Any) -> None:
        self.parsed = parsed
        self.graph = graph

    def run(self, outputs: Collection[str], ranges: Mapping[str, Range]) -> None:
        moved = False
        for operator in list(self.graph.operators):
            name = self.graph.tensors[operator.outputs[0]].name.decode()
            if name in outputs and operation_name(self.parsed, operator) in ALONE_INT8:
                source = self._brought_back(int(operator.inputs[0]))
                if source is not None:
                    self._move(operator, source, ranges[name])
                    moved = True
        if moved:
            self._drop_unread()

    def _brought_back(self, index: int) -> int | None:
        """Return the int8 tensor that a DEQUANTIZE makes a tensor of."""
        for operator in self.graph.operators:
            if int(operator.outputs[0]) == index and operation_name(self.parsed, operator) == "DEQUANTIZE":
                source = int(operator.inputs[0])
                return source if self.graph.tensors[source].type == schema.TensorType.INT8 else None
        return None

    def _move(self, operator: Any, source: int, reach: Range) -> None:
        """Let an operation read int8, and bring back what it makes."""
        whole = int(operator.outputs[0])
        quantised = self._quantised(operator, source, whole, reach)
        operator.inputs = [source, *map(int, operator.inputs[1:])]
        operator.outputs = [quantised]
        position = next(n for n, one in enumerate(self.graph.operators) if one is operator)
        self.graph.operators.insert(position + 1, self._dequantize(quantised, whole))
        self._requantise(quantised, whole)

    def _quantised(self, operator: Any, source: int, whole: int, reach: Range) -> int:
        """Add the int8 tensor that an operation makes in the place of float tensor ``whole``."""
        tensor = schema.TensorT()
        tensor.name = self.graph.tensors[whole].name + b"_int8"
        tensor.type, tensor.buffer = schema.TensorType.INT8, 0
        tensor.shape = list(self.graph.tensors[whole].shape)
        moves = operation_name(self.parsed, operator) in _MOVES
        tensor.quantization = self.graph.tensors[source].quantization if moves else _parameters(reach)
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def _requantise(self, quantised: int, whole: int) -> None:
        """Let those that read ``whole`` in int8 read ``quantised``, by a QUANTIZE only if scales differ."""
        mine = self.graph.tensors[quantised].quantization
        for operator in list(self.graph.operators):
            reads = operation_name(self.parsed, operator) == "QUANTIZE" and int(operator.inputs[0]) == whole
            if reads and self.graph.tensors[operator.outputs[0]].type == schema.TensorType.INT8:
                target = int(operator.outputs[0])
                if _equal(mine, self.graph.tensors[target].quantization):
                    self._redirect(target, quantised)
                    self.graph.operators = [one for one in self.graph.operators if one is not operator]
                else:
                    operator.inputs = [quantised]

    def _redirect(self, old: int, new: int) -> None:
        for operator in self.graph.operators:
            operator.inputs = [new if int(index) == old else int(index) for index in operator.inputs]

    def _dequantize(self, source: int, target: int) -> Any:
        codes = [code.builtinCode for code in self.parsed.operatorCodes]
        step = schema.OperatorT()
        step.opcodeIndex = codes.index(schema.BuiltinOperator.DEQUANTIZE)
        step.inputs, step.outputs = [source], [target]
        step.builtinOptionsType = schema.BuiltinOptions.DequantizeOptions
        step.builtinOptions = schema.DequantizeOptionsT()
        return step

    def _drop_unread(self) -> None:
        """Remove what brings back a tensor that nobody reads any more."""
        read = {int(index) for operator in self.graph.operators for index in operator.inputs}
        read |= {int(index) for index in self.graph.outputs}
        self.graph.operators = [
            operator
            for operator in self.graph.operators
            if operation_name(self.parsed, operator) != "DEQUANTIZE"
            or int(operator.outputs[0]) in read
            or constant_data(self.parsed, self.graph.tensors[operator.inputs[0]]) is not None
        ]


def _parameters(reach: Range) -> Any:
    """Return scale and zero point of a range, as the quantiser makes them: zero is a level of its own."""
    low, high = min(reach[0], 0.0), max(reach[1], 0.0)
    scale = max(high - low, 1e-9) / _LEVELS
    found = schema.QuantizationParametersT()
    found.scale, found.zeroPoint = [float(np.float32(scale))], [int(np.rint(_LEAST - low / scale))]
    found.quantizedDimension = 0
    return found


def _equal(one: Any, other: Any) -> bool:
    return np.array_equal(one.scale, other.scale) and np.array_equal(one.zeroPoint, other.zeroPoint)
