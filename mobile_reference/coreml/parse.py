"""From the bytes of ``model.mlmodel`` to `Program`: the published message layout, field by field.

Field numbers are those of ``Model.proto``, ``FeatureTypes.proto`` and ``MIL.proto`` of the Core ML
model specification (https://apple.github.io/coremltools/mlmodel/). Only what the evaluator needs is
read.
"""

from collections.abc import Callable
from math import prod

from mien.mobile_reference.errors import PackageError

from . import dtypes
from .blob import BlobFile
from .program import (
    Argument,
    Array,
    ArrayFeature,
    BlobValue,
    Block,
    ColourSpace,
    Constant,
    DictionaryType,
    Feature,
    Function,
    ImageFeature,
    Immediate,
    Interface,
    ListType,
    NamedType,
    Operation,
    Program,
    Reference,
    SizeRange,
    StateType,
    TensorType,
    TupleType,
    ValueType,
)
from .wire import Message

ML_PROGRAM = 502
OTHER_MODELS = {
    500: "NeuralNetwork",
    403: "NeuralNetworkClassifier",
    303: "NeuralNetworkRegressor",
    202: "Pipeline",
    200: "PipelineClassifier",
    201: "PipelineRegressor",
    3000: "SerializedModel",
}
MAX_ELEMENTS = 2**28  # of one tensor: one GiB of float32, far above any phone model
MAX_RANK = 16

OpenBlob = Callable[[str], BlobFile]


def parse_model(data: memoryview | bytes, open_blob: OpenBlob) -> Program:
    """Decode ``model.mlmodel``.

    Args:
        data: content of the file.
        open_blob: gives the weight file of a name such as ``@model_path/weights/weight.bin``.

    Raises:
        PackageError: the bytes are not an ML Program, or contradict themselves.
    """
    model = Message.read(data)
    if ML_PROGRAM not in model:
        raise PackageError(_not_a_program(model))
    functions = model.message(ML_PROGRAM).entries(2)
    if not functions:
        raise PackageError("the package holds an ML Program without functions")
    reader = _Reader(open_blob)
    description = model.message(2)
    parsed = {name: reader.function(name, message) for name, message in functions.items()}
    default = description.name(21) or ("main" if "main" in parsed else min(parsed))
    if default not in parsed:
        raise PackageError(f"the default function '{default}' is not among {sorted(parsed)}")
    return Program(
        specification_version=model.integer(1),
        functions=parsed,
        default_function=default,
        interfaces=_interfaces(description, default),
        metadata=_metadata(description.message(100)),
    )


def _not_a_program(model: Message) -> str:
    kinds = [name for number, name in OTHER_MODELS.items() if number in model]
    if not kinds:
        return "model.mlmodel holds no ML Program; is it a Core ML model at all?"
    return (
        f"the model is a {kinds[0]}, the evaluator executes ML Programs; "
        "convert again with convert_to='mlprogram' and a target of iOS 15 or later"
    )


class _Reader:
    """Decodes a program; knows where the weight files are."""

    def __init__(self, open_blob: OpenBlob) -> None:
        self._open_blob = open_blob
        self._types: dict[tuple[bytes, int], ValueType] = {}

    def function(self, name: str, message: Message) -> Function:
        opset = message.name(2)
        blocks = message.entries(3)
        if opset not in blocks:
            raise PackageError(
                f"function '{name}' has no body for its opset '{opset}', only for {sorted(blocks)}"
            )
        return Function(name, opset, self.named_types(message, 1), self.block(blocks[opset]))

    def block(self, message: Message) -> Block:
        operations = tuple(self.operation(m) for m in message.messages(3))
        return Block(self.named_types(message, 1), operations, message.names(2))

    def operation(self, message: Message) -> Operation:
        arguments = {
            name: tuple(self.binding(b) for b in argument.messages(1))
            for name, argument in message.entries(2).items()
        }
        attributes = {
            name: (self.value(value),)
            for name, value in message.entries(5).items()
            if name != "name"  # a label for people, not a parameter
        }
        return Operation(
            type=message.name(1),
            arguments=arguments | attributes,
            outputs=self.named_types(message, 3),
            blocks=tuple(self.block(m) for m in message.messages(4)),
        )

    def named_types(self, message: Message, number: int) -> tuple[NamedType, ...]:
        return tuple(NamedType(m.name(1), self.type_of(m)) for m in message.messages(number))

    def type_of(self, message: Message) -> ValueType:
        """The type in field 2. A program writes few types, each thousands of times: one is decoded once."""
        written = bytes(message.view(2)), message.depth
        if written not in self._types:
            self._types[written] = _value_type(message.message(2))
        return self._types[written]

    def binding(self, message: Message) -> Argument:
        return Reference(message.name(1)) if 1 in message else self.value(message.message(2))

    def value(self, message: Message) -> Constant:
        kind = self.type_of(message)
        if 5 in message:
            return Constant(kind, self.blob(message.message(5), kind))
        return Constant(kind, self.immediate(message.message(3), kind))

    def blob(self, message: Message, kind: ValueType) -> BlobValue:
        if not isinstance(kind, TensorType) or kind.count is None:
            raise PackageError("a weight file can hold tensors of known shape only")
        file = self._open_blob(message.name(1))
        offset = message.unsigned(2)
        file.check(offset, kind.kind, kind.count)
        return BlobValue(file, offset, kind)

    def immediate(self, message: Message, kind: ValueType) -> Immediate:
        if isinstance(kind, TensorType):
            return _tensor_value(message.message(1), kind)
        if isinstance(kind, ListType | TupleType):
            values = message.message(3 if isinstance(kind, ListType) else 2).messages(1)
            return tuple(self.value(v).load() for v in values)
        raise PackageError(f"a constant of type {type(kind).__name__} is not known")


def _value_type(message: Message) -> ValueType:
    if 1 in message:
        return _tensor_type(message.message(1))
    if 2 in message:
        inner = message.message(2)
        return ListType(_value_type(inner.message(1)), _dimension(inner.message(2)))
    if 3 in message:
        return TupleType(tuple(_value_type(m) for m in message.message(3).messages(1)))
    if 4 in message:
        inner = message.message(4)
        return DictionaryType(_value_type(inner.message(1)), _value_type(inner.message(2)))
    if 5 in message:
        return StateType(_value_type(message.message(5).message(1)))
    raise PackageError("a value has no type; the file is damaged or of a newer format")


def _tensor_type(message: Message) -> TensorType:
    kind = dtypes.from_code(message.integer(1))
    rank = message.integer(2)
    dimensions = message.messages(3)
    if rank < 0 or any(d.message(2).integer(1) for d in dimensions):
        return TensorType(kind, None)
    shape = tuple(_dimension(d) for d in dimensions)
    if len(shape) != rank or rank > MAX_RANK:
        raise PackageError(f"a tensor has rank {rank} and {len(shape)} dimensions; at most 16")
    known = prod(d for d in shape if d is not None)
    if known > MAX_ELEMENTS:
        raise PackageError(
            f"a tensor of shape {shape} has {known} elements; the evaluator takes {MAX_ELEMENTS}"
        )
    return TensorType(kind, shape)


def _dimension(message: Message) -> int | None:
    return message.message(1).unsigned(1) if 1 in message else None


def _tensor_value(message: Message, kind: TensorType) -> Immediate:
    if kind.kind is dtypes.STRING:
        texts = message.message(4).texts(1)
        return texts if kind.shape else _only(texts)
    if kind.count is None:
        raise PackageError(f"a constant has the type {kind}; its shape must be known")
    flat = _elements(message, kind.kind, kind.count)
    if len(flat) != kind.count:
        raise PackageError(f"a constant of type {kind} has {len(flat)} elements")
    array = flat.reshape(tuple(d for d in kind.shape or () if d is not None))
    array.flags.writeable = False
    return array


def _only(texts: tuple[str, ...]) -> str:
    if len(texts) != 1:
        raise PackageError(f"a text constant holds {len(texts)} texts; it must hold one")
    return texts[0]


def _elements(message: Message, kind: dtypes.DataType, count: int) -> Array:
    """The stored form depends on the type: reals, whole numbers, truths, or raw bytes."""
    if 7 in message:
        raw = message.message(7).view(1)
        if len(raw) != kind.bytes_for(count):
            raise PackageError(
                f"a constant has {len(raw)} bytes; {count} elements of {kind.name} "
                f"need {kind.bytes_for(count)}"
            )
        return dtypes.unpack(bytes(raw), kind, count)
    if 1 in message:
        return message.message(1).reals(1, "<f4").astype(kind.dtype)
    if 6 in message:
        return message.message(6).reals(1, "<f8").astype(kind.dtype)
    number = next((n for n in (2, 3, 5) if n in message), 2)
    return message.message(number).integers(1).astype(kind.dtype)


def _interfaces(description: Message, default: str) -> dict[str, Interface]:
    found = {m.text(1): _interface(m, 2, 3) for m in description.messages(20)}
    return found or {default: _interface(description, 1, 10)}


def _interface(message: Message, inputs: int, outputs: int) -> Interface:
    return Interface(
        tuple(_feature(m) for m in message.messages(inputs)),
        tuple(_feature(m) for m in message.messages(outputs)),
    )


def _feature(message: Message) -> Feature:
    kind = message.message(3)
    shape: ImageFeature | ArrayFeature | None = None
    if 4 in kind:
        shape = _image(kind.message(4))
    elif 5 in kind:
        shape = _array(kind.message(5))
    return Feature(message.name(1), shape, optional=bool(kind.integer(1000)))


def _image(message: Message) -> ImageFeature:
    code = message.integer(3)
    if code not in {c.value for c in ColourSpace}:
        raise PackageError(f"an image feature has colour space {code}, which is unknown")
    default = (message.integer(2), message.integer(1))
    listed = tuple((m.integer(2), m.integer(1)) for m in message.message(21).messages(1))
    ranges = None
    if 31 in message:
        both = message.message(31)
        ranges = (_range(both.message(2)), _range(both.message(1)))
    return ImageFeature(ColourSpace(code), (default, *listed), ranges)


def _array(message: Message) -> ArrayFeature:
    default = tuple(int(n) for n in message.integers(1))
    listed = tuple(tuple(int(n) for n in m.integers(1)) for m in message.message(21).messages(1))
    ranges = None
    if 31 in message:
        ranges = tuple(_range(m) for m in message.message(31).messages(1))
    return ArrayFeature((default, *listed), ranges, _default(message))


def _range(message: Message) -> SizeRange:
    upper = message.integer(2)
    return SizeRange(message.unsigned(1), None if upper < 0 else upper)


def _default(message: Message) -> float | None:
    if 41 in message:
        return float(message.integer(41))
    if 51 in message:
        return message.real(51, "<f", 0.0)
    return message.real(61, "<d", 0.0) if 61 in message else None


def _metadata(message: Message) -> dict[str, str]:
    named = {"description": 1, "version": 2, "author": 3, "license": 4}
    plain = {key: message.text(number) for key, number in named.items() if number in message}
    return plain | {m.text(1): m.text(2) for m in message.messages(100)}
