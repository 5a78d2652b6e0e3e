"""What a TFLite file holds: its operators, their tensors, and how much work they are."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ai_edge_litert import schema_py_generated as schema
from mien.mobile_reference.errors import BundleError

_MAX_BYTES = 512 << 20


def _names(table: type) -> dict[int, str]:
    return {number: name for name, number in vars(table).items() if isinstance(number, int)}


_OPERATORS = _names(schema.BuiltinOperator)
_TYPES = _names(schema.TensorType)
_CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "FULLY_CONNECTED")
# Operators that change a number's type and compute nothing.
_TYPE_CHANGES = ("QUANTIZE", "DEQUANTIZE", "CAST")


@dataclass(frozen=True)
class TensorOf:
    """A tensor of a file; ``dtype`` as in the schema (``INT8``), ``constant`` if its values are stored."""

    shape: tuple[int, ...]
    dtype: str
    constant: bool

    @property
    def elements(self) -> int:
        """The number of values."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Operator:
    """An operator by its name in the schema; a missing optional input is left out."""

    name: str
    inputs: tuple[TensorOf, ...]
    outputs: tuple[TensorOf, ...]


@dataclass(frozen=True)
class TFLiteFile:
    """The operators of a model's main graph."""

    operators: tuple[Operator, ...]

    @cached_property
    def integer_only(self) -> bool:
        """Tell whether all arithmetic is on integers, which every processor must do alike."""
        return not any(
            tensor.dtype.startswith(("FLOAT", "BFLOAT"))
            for operator in self.operators
            if operator.name not in _TYPE_CHANGES
            for tensor in operator.outputs
        )

    @cached_property
    def has_integer_convolution(self) -> bool:
        """Tell whether a dense convolution takes and gives int8."""
        return any(
            operator.name == "CONV_2D" and operator.inputs[0].dtype == operator.outputs[0].dtype == "INT8"
            for operator in self.operators
        )


def read_tflite(path: Path) -> TFLiteFile:
    """Read a model.

    Raises:
        BundleError: the file is no TFLite model or larger than any phone would take.
    """
    if path.stat().st_size > _MAX_BYTES:
        raise BundleError(f"{path} is larger than {_MAX_BYTES} bytes; export the bundle again")
    data = path.read_bytes()
    if data[4:8] != b"TFL3":
        raise BundleError(f"{path} is no TFLite model; export the bundle again")
    try:
        return TFLiteFile(tuple(_operators(schema.Model.GetRootAs(data))))
    except Exception as error:  # the generated reader raises whatever a wrong offset leads to
        raise BundleError(f"{path} is a damaged TFLite model: {error}; export the bundle again") from error


def _operators(model: Any) -> Iterator[Operator]:
    graph = model.Subgraphs(0)
    tensors = [_tensor(model, graph.Tensors(number)) for number in range(graph.TensorsLength())]
    for number in range(graph.OperatorsLength()):
        operator = graph.Operators(number)
        code = model.OperatorCodes(operator.OpcodeIndex())
        yield Operator(
            name=_OPERATORS[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())],
            inputs=tuple(tensors[i] for i in map(operator.Inputs, range(operator.InputsLength())) if i >= 0),
            outputs=tuple(tensors[i] for i in map(operator.Outputs, range(operator.OutputsLength()))),
        )


def _tensor(model: Any, tensor: Any) -> TensorOf:
    return TensorOf(
        shape=tuple(tensor.Shape(axis) for axis in range(tensor.ShapeLength())),
        dtype=_TYPES[tensor.Type()],
        constant=model.Buffers(tensor.Buffer()).DataLength() > 0,
    )
