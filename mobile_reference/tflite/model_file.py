"""What a TFLite file holds: its operators, their tensors, and how much work they are."""

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from mien.mobile_reference.errors import BundleError

from .half_words import HALF_FLOATS, REDUCED_PRECISION, may_ask_for_half

DEPTHWISE = "DEPTHWISE_CONV_2D"
_TRANSPOSED = "TRANSPOSE_CONV"
_MAX_BYTES = 512 << 20


def _names(table: type) -> dict[int, str]:
    return {number: name for name, number in vars(table).items() if isinstance(number, int)}


_OPERATORS = _names(schema.BuiltinOperator)
_TYPES = _names(schema.TensorType)
_FLOATS: Mapping[int, type[np.floating[Any]]] = {
    schema.TensorType.FLOAT32: np.float32,
    schema.TensorType.FLOAT16: np.float16,
}
_SHAPE_CHANGES = ("RESHAPE", "SQUEEZE", "EXPAND_DIMS")
# Operators that change a number's type and compute nothing.
_TYPE_CHANGES = ("QUANTIZE", "DEQUANTIZE", "CAST")


@dataclass(frozen=True)
class TensorOf:
    """A tensor of a file; ``dtype`` as in the schema (``INT8``), ``constant`` if its values are stored."""

    number: int
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

    @property
    def folded(self) -> bool:
        """Tell whether it is done once, when the model is loaded: all its inputs are stored."""
        return bool(self.inputs) and all(tensor.constant for tensor in self.inputs)

    @property
    def is_integer(self) -> bool:
        """Tell whether it takes int8 and gives int8."""
        # A transposed convolution is given the shape of its output first.
        taken = self.inputs[2] if self.name == _TRANSPOSED else self.inputs[0]
        return taken.dtype == self.outputs[0].dtype == "INT8"

    @property
    def has_eight_bit_weights(self) -> bool:
        """Tell whether it reads int8 constants."""
        return any(tensor.constant and tensor.dtype == "INT8" for tensor in self.inputs)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one run, counted from the shapes; 0 without a product of weights."""
        return _MACS[self.name](self) if self.name in _MACS else 0

    @property
    def written(self) -> int:
        """Values written in each run: none by what is folded, or by a change of shape alone."""
        if self.folded or self.name in _SHAPE_CHANGES:
            return 0
        return sum(tensor.elements for tensor in self.outputs)


def _convolution_macs(operator: Operator) -> int:
    # Weights are [out, height, width, in]; with groups, in is that of one group.
    return operator.outputs[0].elements * math.prod(operator.inputs[1].shape[1:])


def _depthwise_macs(operator: Operator) -> int:
    return operator.outputs[0].elements * math.prod(operator.inputs[1].shape[1:3])


def _transposed_macs(operator: Operator) -> int:
    # Inputs are the output's shape, the weights [out, height, width, in], the picture.
    return operator.inputs[2].elements * math.prod(operator.inputs[1].shape[:3])


def _volume_macs(operator: Operator) -> int:
    # Weights are [depth, height, width, in, out]; with groups, in is that of one group.
    return operator.outputs[0].elements * math.prod(operator.inputs[1].shape[:4])


def _transposed_volume_macs(operator: Operator) -> int:
    # Inputs are the output's shape, the weights [depth, height, width, out, in], the volume.
    return operator.inputs[2].elements * math.prod(operator.inputs[1].shape[:4])


def _product_macs(operator: Operator) -> int:
    # Matrices [.., rows, inner] and [.., inner, columns], or turned: the inner length follows from the sizes.
    rows, columns = operator.outputs[0].shape[-2:]
    left, right = (math.prod(tensor.shape[-2:]) for tensor in operator.inputs[:2])
    return operator.outputs[0].elements * math.isqrt(left * right // (rows * columns))


_MACS: Mapping[str, Callable[[Operator], int]] = {
    "BATCH_MATMUL": _product_macs,
    "CONV_2D": _convolution_macs,
    "CONV_3D": _volume_macs,
    "CONV_3D_TRANSPOSE": _transposed_volume_macs,
    "FULLY_CONNECTED": _convolution_macs,
    DEPTHWISE: _depthwise_macs,
    _TRANSPOSED: _transposed_macs,
}


@dataclass(frozen=True)
class TFLiteFile:
    """The operators of a model's main graph, and the graph's name."""

    operators: tuple[Operator, ...]
    name: str = ""
    asks_for_half: bool = False

    @cached_property
    def integer_only(self) -> bool:
        """Tell whether all arithmetic is on integers, which every processor must do alike."""
        return not any(
            tensor.dtype.startswith(("FLOAT", "BFLOAT"))
            for operator in self.operators
            if operator.name not in _TYPE_CHANGES
            for tensor in operator.outputs
        )

    @property
    def running(self) -> tuple[Operator, ...]:
        """The operators that work in each run."""
        return tuple(operator for operator in self.operators if not operator.folded)

    @cached_property
    def macs(self) -> Counter[str]:
        """Multiply-accumulates of one run, by the operator's name."""
        found: Counter[str] = Counter()
        for operator in self.running:
            found[operator.name] += operator.macs
        return found

    @cached_property
    def integer_macs(self) -> int:
        """Multiply-accumulates of one run whose values are int8."""
        return sum(operator.macs for operator in self.running if operator.macs and operator.is_integer)

    @cached_property
    def eight_bit_macs(self) -> int:
        """Multiply-accumulates of one run by weights that are stored in int8."""
        return sum(operator.macs for operator in self.running if operator.has_eight_bit_weights)

    @cached_property
    def activations(self) -> Counter[str]:
        """Values written in one run, by the operator's name."""
        found: Counter[str] = Counter()
        for operator in self.running:
            if operator.written:
                found[operator.name] += operator.written
        return found

    @property
    def halves(self) -> tuple["TFLiteFile", "TFLiteFile"]:
        """Cut the operators, in the order they run in, where half of the values are written."""
        written = list(accumulate(operator.written for operator in self.operators))
        middle = bisect_left(written, self.activations.total() / 2) + 1
        return TFLiteFile(self.operators[:middle]), TFLiteFile(self.operators[middle:])

    @cached_property
    def parameters(self) -> int:
        """Stored numbers that operators compute with; axes and shapes are not among them."""
        stored = {
            tensor.number: tensor.elements
            for operator in self.operators
            for tensor in operator.inputs
            if tensor.constant and (operator.name in _MACS or not tensor.dtype.startswith("INT32"))
        }
        return sum(stored.values())

    @cached_property
    def has_integer_convolution(self) -> bool:
        """Tell whether a dense convolution takes and gives int8."""
        return any(operator.name == "CONV_2D" and operator.is_integer for operator in self.operators)


def read_tflite(path: Path) -> TFLiteFile:
    """Read a model.

    Raises:
        BundleError: the file is not a TFLite model or larger than any phone would take.
    """
    return _read(path, _read_operators)


def float_constants(path: Path) -> list[tuple[str, NDArray[np.floating[Any]]]]:
    """Return the name and the values [N] of every constant of floats that an operator of a model reads.

    Raises:
        BundleError: as ``read_tflite``.
    """
    return _read(path, lambda model: list(_float_constants(model)))


def _read[T](path: Path, take: Callable[[Any], T]) -> T:
    """Take from a file what is wanted of it, whatever is wrong with it."""
    if path.stat().st_size > _MAX_BYTES:
        raise BundleError(f"{path} is larger than {_MAX_BYTES} bytes; export the bundle again")
    data = path.read_bytes()
    if data[4:8] != b"TFL3":
        raise BundleError(f"{path} is not a TFLite model; export the bundle again")
    try:
        return take(schema.Model.GetRootAs(data))
    except Exception as error:  # the generated reader raises whatever a wrong offset leads to
        raise BundleError(f"{path} is a damaged TFLite model: {error}; export the bundle again") from error


def _read_operators(model: Any) -> TFLiteFile:
    name = (model.Subgraphs(0).Name() or b"").decode()
    found = TFLiteFile(tuple(_operators(model)), name, _asks_for_half(model))
    _ = found.macs  # a convolution without weights shows here
    return found


def _float_constants(model: Any) -> Iterator[tuple[str, NDArray[np.floating[Any]]]]:
    for graph in map(model.Subgraphs, range(model.SubgraphsLength())):
        operators = map(graph.Operators, range(graph.OperatorsLength()))
        read = {int(number) for one in operators if one.InputsLength() for number in one.InputsAsNumpy()}
        for tensor in (graph.Tensors(number) for number in sorted(read) if number >= 0):
            kind, content = _FLOATS.get(tensor.Type()), _content(model, model.Buffers(tensor.Buffer()))
            if kind is not None and content.size:
                yield tensor.Name().decode(), content.view(kind)


def _content(model: Any, buffer: Any) -> NDArray[np.uint8]:
    """Return the bytes of a buffer; those of large models lie behind the tables."""
    if buffer.Size():
        return np.frombuffer(model._tab.Bytes, np.uint8, buffer.Size(), buffer.Offset())
    return np.asarray(buffer.DataAsNumpy() if buffer.DataLength() else (), np.uint8)


def _asks_for_half(model: Any) -> bool:
    for number in range(model.MetadataLength()):
        entry = model.Metadata(number)
        if entry.Name() == REDUCED_PRECISION:
            buffer = model.Buffers(entry.Buffer())
            return _content(model, buffer).tobytes() == HALF_FLOATS
    return False


def asks_for_half(path: Path) -> bool:
    """Tell whether a file asks for half-float arithmetic; one without the words is not read further."""
    return may_ask_for_half(path) and read_tflite(path).asks_for_half


def running_operators(content: bytes) -> tuple[Operator, ...]:
    """Return the operators of a sound model's bytes that work in each run."""
    return TFLiteFile(tuple(_operators(schema.Model.GetRootAs(content)))).running


def _operators(model: Any) -> Iterator[Operator]:
    graph = model.Subgraphs(0)
    tensors = [_tensor(model, graph, number) for number in range(graph.TensorsLength())]
    for number in range(graph.OperatorsLength()):
        operator = graph.Operators(number)
        code = model.OperatorCodes(operator.OpcodeIndex())
        yield Operator(
            name=_OPERATORS[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())],
            inputs=tuple(tensors[i] for i in map(operator.Inputs, range(operator.InputsLength())) if i >= 0),
            outputs=tuple(tensors[i] for i in map(operator.Outputs, range(operator.OutputsLength()))),
        )


def _tensor(model: Any, graph: Any, number: int) -> TensorOf:
    tensor = graph.Tensors(number)
    buffer = model.Buffers(tensor.Buffer())
    return TensorOf(
        number=number,
        shape=tuple(tensor.Shape(axis) for axis in range(tensor.ShapeLength())),
        dtype=_TYPES[tensor.Type()],
        # Those of large models may lie behind the tables.
        constant=buffer.DataLength() > 0 or buffer.Size() > 0,
    )
