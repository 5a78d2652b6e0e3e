"""What a package holds, as frozen data: types, constants, operations, blocks, functions, features.

No class here knows protobuf (see `parse.py`) or how to execute anything (see `evaluator.py`).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from math import prod
from typing import Any

from numpy.typing import NDArray

from .blob import BlobFile
from .dtypes import DataType

Array = NDArray[Any]


@dataclass(frozen=True)
class TensorType:
    """A tensor: element type and dimensions.

    Attributes:
        kind: element type.
        shape: dimensions, None where known only at run time; None for an unknown rank.
    """

    kind: DataType
    shape: tuple[int | None, ...] | None

    def __str__(self) -> str:
        if self.shape is None:
            return f"{self.kind.name}[...]"
        return f"{self.kind.name}[{', '.join('?' if d is None else str(d) for d in self.shape)}]"

    @property
    def count(self) -> int | None:
        """Number of elements, None where it is known only at run time."""
        if self.shape is None or None in self.shape:
            return None
        return prod(d for d in self.shape if d is not None)


@dataclass(frozen=True)
class ListType:
    """A list of values of one type; ``length`` is None where it can change."""

    element: "ValueType"
    length: int | None


@dataclass(frozen=True)
class TupleType:
    """A fixed sequence of values."""

    elements: tuple["ValueType", ...]


@dataclass(frozen=True)
class DictionaryType:
    """A mapping, as a classifier gives its probabilities."""

    key: "ValueType"
    value: "ValueType"


@dataclass(frozen=True)
class StateType:
    """A tensor that outlives a prediction."""

    wrapped: "ValueType"


ValueType = TensorType | ListType | TupleType | DictionaryType | StateType


@dataclass(frozen=True)
class NamedType:
    """A name and the type of the value that it stands for."""

    name: str
    type: ValueType


@dataclass(frozen=True)
class BlobValue:
    """An array in a weight file."""

    file: BlobFile
    offset: int
    type: TensorType

    def load(self) -> Array:
        """Read the array."""
        shape = tuple(d for d in self.type.shape or () if d is not None)
        return self.file.read(self.offset, self.type.kind, prod(shape)).reshape(shape)


Immediate = Array | str | tuple["Immediate", ...]


@dataclass(frozen=True)
class Constant:
    """A value written in the program, or a pointer to the weight file."""

    type: ValueType
    value: "BlobValue | Immediate"

    def load(self) -> Immediate:
        """Give the value itself: an array, a text, or a tuple of these."""
        return self.value.load() if isinstance(self.value, BlobValue) else self.value


@dataclass(frozen=True)
class Reference:
    """The use of a value that another operation or an input gives."""

    name: str


Argument = Constant | Reference


@dataclass(frozen=True)
class Operation:
    """One operation.

    Attributes:
        type: name of the operation, such as ``conv``.
        arguments: arguments by parameter name; one each, except for parameters that take several.
        outputs: names and declared types of the results.
        blocks: nested blocks of ``cond`` and ``while_loop``.
    """

    type: str
    arguments: Mapping[str, tuple[Argument, ...]]
    outputs: tuple[NamedType, ...]
    blocks: tuple["Block", ...]

    @property
    def name(self) -> str:
        """The name of the first result, by which messages call the operation."""
        return self.outputs[0].name if self.outputs else "(no output)"

    def references(self) -> Iterator[str]:
        """Names that the operation itself uses; those used inside its blocks are not among them."""
        for arguments in self.arguments.values():
            yield from (a.name for a in arguments if isinstance(a, Reference))


@dataclass(frozen=True)
class Block:
    """Operations in order of execution."""

    inputs: tuple[NamedType, ...]
    operations: tuple[Operation, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class Function:
    """A function: its opset (``CoreML5`` is iOS 15, ``CoreML8`` iOS 18), inputs and body."""

    name: str
    opset: str
    inputs: tuple[NamedType, ...]
    body: Block


class ColourSpace(Enum):
    """Colour layouts of image features; the number is the one in the file."""

    GREY = 10
    RGB = 20
    BGR = 30
    GREY_FLOAT16 = 40

    @property
    def channels(self) -> int:
        """Number of channels of a pixel."""
        return 3 if self in (ColourSpace.RGB, ColourSpace.BGR) else 1


@dataclass(frozen=True)
class SizeRange:
    """Sizes that one dimension may have, ``upper`` None where unbounded."""

    lower: int
    upper: int | None

    def __contains__(self, size: int) -> bool:
        return self.lower <= size and (self.upper is None or size <= self.upper)


@dataclass(frozen=True)
class ImageFeature:
    """An image input or output.

    Attributes:
        colour: colour layout.
        sizes: allowed (height, width) pairs; the first is the default.
        ranges: allowed ranges of height and width, or None where ``sizes`` lists all.
    """

    colour: ColourSpace
    sizes: tuple[tuple[int, int], ...]
    ranges: tuple[SizeRange, SizeRange] | None


@dataclass(frozen=True)
class ArrayFeature:
    """A multi-array input or output.

    Attributes:
        shapes: allowed shapes; the first is the default. An empty shape says nothing.
        ranges: allowed ranges per dimension, or None where ``shapes`` lists all.
        default: value of every element when an optional input is left out.
    """

    shapes: tuple[tuple[int, ...], ...]
    ranges: tuple[SizeRange, ...] | None
    default: float | None


@dataclass(frozen=True)
class Feature:
    """An input or output as an app sees it; ``kind`` is None for neither pictures nor arrays."""

    name: str
    kind: ImageFeature | ArrayFeature | None
    optional: bool


@dataclass(frozen=True)
class Interface:
    """What an app sees of one function."""

    inputs: tuple[Feature, ...]
    outputs: tuple[Feature, ...]


@dataclass(frozen=True)
class Program:
    """A package, read and checked but not executed.

    Attributes:
        specification_version: 6 for iOS 15 up to 9 for iOS 18.
        functions: functions by name; ``main`` unless the package has several.
        default_function: the function that runs when none is named.
        interfaces: inputs and outputs as an app sees them, by function name.
        metadata: author, description and user-defined entries.
    """

    specification_version: int
    functions: Mapping[str, Function]
    default_function: str
    interfaces: Mapping[str, Interface]
    metadata: Mapping[str, str]


def walk(block: Block) -> Iterator[Operation]:
    """Every operation of ``block`` and of the blocks within, in order of execution."""
    for operation in block.operations:
        yield operation
        for inner in operation.blocks:
            yield from walk(inner)
