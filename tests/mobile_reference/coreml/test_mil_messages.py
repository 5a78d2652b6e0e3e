"""Every field of a model's messages lands where the published layout says, from bytes written by hand."""

import struct

import numpy as np
import pytest

from mien.mobile_reference.coreml import dtypes
from mien.mobile_reference.coreml.blob import BlobFile
from mien.mobile_reference.coreml.parse import MAX_ELEMENTS, MAX_RANK, parse_model
from mien.mobile_reference.coreml.program import (
    ArrayFeature,
    ColourSpace,
    Constant,
    DictionaryType,
    Feature,
    ImageFeature,
    ListType,
    NamedType,
    Program,
    Reference,
    SizeRange,
    StateType,
    TensorType,
    TupleType,
    ValueType,
)
from mien.mobile_reference.coreml.wire import varint as read_varint
from mien.mobile_reference.errors import PackageError

Field = int | bytes | str | float


def varint(value: int) -> bytes:
    value &= 2**64 - 1
    low = bytearray()
    while value > 0x7F:
        low.append(0x80 | value & 0x7F)
        value >>= 7
    return bytes([*low, value])


def message(*fields: tuple[int, Field]) -> bytes:
    """Write the fields of a message: whole numbers, bytes or texts, and doubles."""
    return b"".join(map(_field, fields))


def _field(field: tuple[int, Field]) -> bytes:
    number, value = field
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    if isinstance(value, float):
        return varint(number << 3 | 1) + struct.pack("<d", value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def no_blob(_name: str) -> BlobFile:
    raise AssertionError("no weight file is asked for")


def dimension(size: int | None) -> bytes:
    return message((2, b"")) if size is None else message((1, message((1, size))))


def tensor(code: int, *shape: int | None) -> bytes:
    """Write the type of a value that is a tensor."""
    sizes = [(3, dimension(size)) for size in shape]
    return message((1, message((1, code), (2, len(shape)), *sizes)))


FP32, STRING, INT32, FP64, BOOL = 11, 2, 23, 12, 1


def program(
    operations: tuple[bytes, ...] = (),
    inputs: tuple[bytes, ...] = (),
    description: bytes = b"",
    version: int = 7,
) -> bytes:
    body = message(*((3, one) for one in operations), (2, "y"), (2, "z"))
    function = message(*((1, one) for one in inputs), (2, "ios17"), (3, message((1, "ios17"), (2, body))))
    functions = message((2, message((1, "main"), (2, function))))
    return message((1, version), (2, description), (502, functions))


def parsed(**parts: object) -> Program:
    return parse_model(program(**parts), no_blob)  # type: ignore[arg-type]


def type_of(written: bytes) -> ValueType:
    found = parsed(inputs=(message((1, "x"), (2, written)),))
    assert found.functions["main"].inputs[0].name == "x"
    return found.functions["main"].inputs[0].type


F2 = TensorType(dtypes.BY_NAME["fp32"], (2,))
I3 = TensorType(dtypes.BY_NAME["int32"], (3,))


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (tensor(FP32, 2), F2),
        (tensor(FP32, 2, None, 5), TensorType(dtypes.BY_NAME["fp32"], (2, None, 5))),
        (tensor(BOOL), TensorType(dtypes.BY_NAME["bool"], ())),
        (message((1, message((1, FP32), (2, -1)))), TensorType(dtypes.BY_NAME["fp32"], None)),
        (message((2, message((1, tensor(FP32, 2)), (2, dimension(4))))), ListType(F2, 4)),
        (message((2, message((1, tensor(FP32, 2)), (2, dimension(None))))), ListType(F2, None)),
        (message((3, message((1, tensor(FP32, 2)), (1, tensor(INT32, 3))))), TupleType((F2, I3))),
        (message((4, message((1, tensor(FP32, 2)), (2, tensor(INT32, 3))))), DictionaryType(F2, I3)),
        (message((5, message((1, tensor(INT32, 3))))), StateType(I3)),
    ],
)
def test_types(written: bytes, expected: ValueType) -> None:
    assert type_of(written) == expected


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        (message((9, 1)), "a value has no type"),
        (message((1, message((1, FP32), (2, 2), (3, dimension(4))))), "rank 2 and 1 dimensions"),
        (tensor(FP32, *[1] * (MAX_RANK + 1)), f"rank {MAX_RANK + 1}"),
        (tensor(FP32, MAX_ELEMENTS, 2), f"has {2 * MAX_ELEMENTS} elements"),
        (tensor(99, 1), "data type 99 is unknown"),
    ],
)
def test_types_that_contradict_themselves(written: bytes, reason: str) -> None:
    with pytest.raises(PackageError, match=reason):
        type_of(written)


def test_the_largest_tensor_and_the_highest_rank_are_taken() -> None:
    assert type_of(tensor(FP32, MAX_ELEMENTS)) == TensorType(dtypes.BY_NAME["fp32"], (MAX_ELEMENTS,))
    assert type_of(tensor(FP32, *[1] * MAX_RANK)) == TensorType(dtypes.BY_NAME["fp32"], (1,) * MAX_RANK)


def constant(kind: bytes, *value: tuple[int, Field]) -> bytes:
    """Write a value that stands in the program: its type, and a tensor's stored form."""
    return message((2, kind), (3, message((1, message(*value)))))


def loaded(value: bytes) -> object:
    argument = message((1, "a"), (2, message((1, message((2, value))))))
    (operation,) = parsed(operations=(message((1, "op"), (2, argument)),)).functions["main"].body.operations
    (found,) = operation.arguments["a"]
    assert isinstance(found, Constant)
    return found.load()


REALS = struct.pack("<3f", 1, 2.5, -3)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (constant(tensor(FP32, 3), (1, message((1, REALS)))), np.float32([1, 2.5, -3])),
        (constant(tensor(FP32, 3), (7, message((1, REALS)))), np.float32([1, 2.5, -3])),
        (constant(tensor(FP32, 3, 1), (7, message((1, REALS)))), np.float32([[1], [2.5], [-3]])),
        (constant(tensor(FP64, 1), (6, message((1, 0.1)))), np.float64([0.1])),
        (constant(tensor(INT32, 2), (2, message((1, varint(-7) + varint(300))))), np.int32([-7, 300])),
        (constant(tensor(INT32, 2), (5, message((1, -7), (1, 300)))), np.int32([-7, 300])),
        (constant(tensor(BOOL, 2), (3, message((1, b"\1\0")))), np.array([True, False])),
        (constant(tensor(INT32), (2, message((1, 5)))), np.int32(5)),
    ],
)
def test_stored_forms_of_constants(value: bytes, expected: np.ndarray) -> None:
    found = loaded(value)
    assert isinstance(found, np.ndarray)
    np.testing.assert_array_equal(found, expected)
    assert (found.dtype, found.shape) == (np.asarray(expected).dtype, np.shape(expected))
    assert not found.flags.writeable


def test_texts_lists_and_tuples() -> None:
    assert loaded(constant(tensor(STRING), (4, message((1, "same"))))) == "same"
    assert loaded(constant(tensor(STRING, 2), (4, message((1, "a"), (1, "b"))))) == ("a", "b")
    two = [constant(tensor(STRING), (4, message((1, text)))) for text in "ab"]
    listed = message((2, message((1, tensor(STRING)), (2, dimension(2)))))
    assert loaded(message((2, listed), (3, message((3, message(*((1, one) for one in two))))))) == ("a", "b")
    paired = message((3, message((1, tensor(STRING)), (1, tensor(STRING)))))
    assert loaded(message((2, paired), (3, message((2, message(*((1, one) for one in two))))))) == ("a", "b")


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (constant(tensor(FP32, 4), (1, message((1, REALS)))), "has 3 elements"),
        (constant(tensor(FP32, 4), (7, message((1, REALS)))), "has 12 bytes; 4 elements of fp32 need 16"),
        (constant(tensor(FP32, None), (1, message((1, REALS)))), "its shape must be known"),
        (constant(tensor(STRING), (4, message((1, "a"), (1, "b")))), "holds 2 texts"),
        (constant(tensor(STRING), (4, b"")), "holds 0 texts"),
        (message((2, message((5, message((1, tensor(FP32, 1)))))), (3, b"")), "StateType is not known"),
        (message((2, tensor(FP32, None)), (5, message((1, "w"), (2, 64)))), "tensors of known shape only"),
    ],
)
def test_constants_that_contradict_their_type(value: bytes, reason: str) -> None:
    with pytest.raises(PackageError, match=reason):
        loaded(value)


def test_operations_have_arguments_attributes_outputs_and_blocks() -> None:
    reference = message((1, message((1, "x"))), (1, message((1, "y"))))
    attribute = message((1, "mode"), (2, constant(tensor(STRING), (4, message((1, "same"))))))
    label = message((1, "name"), (2, constant(tensor(STRING), (4, message((1, "for people"))))))
    written = message(
        (1, "concat"),
        (2, message((1, "values"), (2, reference))),
        (5, attribute),
        (5, label),
        (3, message((1, "made"), (2, tensor(FP32, 2)))),
        (4, message((2, "inner"))),
    )
    function = parsed(operations=(written,)).functions["main"]
    assert (function.name, function.opset, function.body.outputs) == ("main", "ios17", ("y", "z"))
    (operation,) = function.body.operations
    assert operation.type == "concat"
    assert operation.arguments["values"] == (Reference("x"), Reference("y"))
    assert operation.arguments.keys() == {"values", "mode"}
    assert operation.outputs == (NamedType("made", F2),)
    assert [block.outputs for block in operation.blocks] == [("inner",)]


def feature(name: str, *kind: tuple[int, Field]) -> bytes:
    return message((1, name), (3, message(*kind)))


def sizes(lower: int, upper: int) -> bytes:
    return message((1, lower), (2, upper))


def interface(
    *features: bytes, outputs: tuple[bytes, ...] = ()
) -> tuple[tuple[Feature, ...], tuple[Feature, ...]]:
    description = message(*((1, one) for one in features), *((10, one) for one in outputs))
    found = parsed(description=description).interfaces["main"]
    return found.inputs, found.outputs


def test_pictures_have_colour_sizes_and_ranges() -> None:
    plain = feature("p", (4, message((1, 30), (2, 20), (3, 20))))
    listed = message((1, message((1, 64), (2, 48))), (1, message((1, 8), (2, 6))))
    several = feature("s", (4, message((1, 30), (2, 20), (3, 10), (21, listed))), (1000, 1))
    reach = message((1, sizes(4, 8)), (2, sizes(16, -1)))
    ranged = feature("r", (4, message((1, 30), (2, 20), (3, 30), (31, reach))))
    (one, two, three), _ = interface(plain, several, ranged)
    assert one == Feature("p", ImageFeature(ColourSpace.RGB, ((20, 30),), None), optional=False)
    assert two == Feature(
        "s", ImageFeature(ColourSpace.GREY, ((20, 30), (48, 64), (6, 8)), None), optional=True
    )
    assert three.kind == ImageFeature(ColourSpace.BGR, ((20, 30),), (SizeRange(16, None), SizeRange(4, 8)))


def test_arrays_have_shapes_ranges_and_defaults() -> None:
    listed = message((1, message((1, varint(1) + varint(9)))))
    several = feature("s", (5, message((1, varint(1) + varint(3)), (21, listed), (41, -2))))
    ranged = feature("r", (5, message((1, varint(2)), (31, message((1, sizes(1, 5)))), (61, 0.25))))
    bare = feature("b", (5, message((1, varint(2)))))
    other = feature("o", (6, b""))
    half = varint(51 << 3 | 5) + struct.pack("<f", 0.5)  # one float, and what follows is still read
    single = feature("f", (5, half + message((1, varint(4)))))
    (one, two, three, five), (four,) = interface(several, ranged, bare, single, outputs=(other,))
    assert five.kind == ArrayFeature(((4,),), None, 0.5)
    assert one.kind == ArrayFeature(((1, 3), (1, 9)), None, -2.0)
    assert two.kind == ArrayFeature(((2,),), (SizeRange(1, 5),), 0.25)
    assert three.kind == ArrayFeature(((2,),), None, None)
    assert four == Feature("o", None, optional=False)


def test_a_range_holds_its_ends() -> None:
    assert [size in SizeRange(2, 4) for size in (1, 2, 4, 5)] == [False, True, True, False]
    assert 1 << 40 in SizeRange(2, None)


def test_an_unknown_colour_space_is_refused() -> None:
    with pytest.raises(PackageError, match="colour space 15, which is unknown"):
        interface(feature("p", (4, message((1, 30), (2, 20), (3, 15)))))


def test_what_the_model_says_of_itself() -> None:
    own = message((1, "made by"), (2, "mien"))
    about = message((1, "a network"), (2, "2.0"), (3, "me"), (4, "MIT"), (100, own))
    found = parsed(description=message((100, about)), version=8)
    assert found.specification_version == 8
    assert found.metadata == {
        "description": "a network",
        "version": "2.0",
        "author": "me",
        "license": "MIT",
        "made by": "mien",
    }


def test_functions_have_interfaces_of_their_own() -> None:
    one = message((1, "main"), (2, feature("in", (6, b""))), (3, feature("out", (6, b""))))
    found = parsed(description=message((20, one), (21, "main")))
    assert found.default_function == "main"
    assert [feature.name for feature in found.interfaces["main"].inputs] == ["in"]
    assert [feature.name for feature in found.interfaces["main"].outputs] == ["out"]
    with pytest.raises(PackageError, match="default function 'other' is not among"):
        parsed(description=message((21, "other")))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (message((1, 7), (500, b"")), "is a NeuralNetwork, "),
        (message((1, 7), (202, b"")), "is a Pipeline, "),
        (message((1, 7)), "is it a Core ML model at all"),
        (message((1, 7), (502, b"")), "without functions"),
        (
            message((502, message((2, message((1, "f"), (2, message((2, "ios99")))))))),
            "no body for its opset",
        ),
    ],
)
def test_other_models_are_named(data: bytes, reason: str) -> None:
    with pytest.raises(PackageError, match=reason):
        parse_model(data, no_blob)


def test_a_number_has_at_most_ten_bytes() -> None:
    longest = memoryview(b"\xff" * 9 + b"\x01")
    assert read_varint(longest, 0) == (2**64 - 1, 10)
    assert read_varint(memoryview(b"\x05\xac\x02"), 1) == (300, 3)
    with pytest.raises(PackageError, match="more than ten bytes"):
        read_varint(memoryview(b"\xff" * 10 + b"\x01"), 0)
    with pytest.raises(PackageError, match="ends inside a number"):
        read_varint(memoryview(b"\xff\xff"), 0)


CODES = {
    **{
        "bool": (1, 8),
        "string": (2, 0),
        "fp16": (10, 16),
        "fp32": (11, 32),
        "fp64": (12, 64),
        "bf16": (13, 16),
    },
    **{"int8": (21, 8), "int16": (22, 16), "int32": (23, 32), "int64": (24, 64), "int4": (25, 4)},
    **{"uint8": (31, 8), "uint16": (32, 16), "uint32": (33, 32), "uint64": (34, 64), "uint4": (35, 4)},
    **{"uint2": (36, 2), "uint1": (37, 1), "uint6": (38, 6), "uint3": (39, 3)},
    **{"fp8e4m3fn": (40, 8), "fp8e5m2": (41, 8)},
}
"""Codes of ``MILSpec.DataType`` in MIL.proto, and the width of an element in bits."""


def test_types_have_the_published_codes_and_widths() -> None:
    assert {kind.name: (kind.code, kind.bits) for kind in dtypes.TYPES} == CODES
    for name, (code, _) in CODES.items():
        assert dtypes.from_code(code) is dtypes.from_name(name)
