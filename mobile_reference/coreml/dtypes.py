"""The data types of ML Programs: one table.

Core ML stores types narrower than a byte packed; here they live in int8 or uint8 arrays. The codes
are those of ``MILSpec.DataType`` and of the records of ``weight.bin`` (None where a blob cannot
hold the type).
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from mien.mobile_reference.errors import PackageError


@dataclass(frozen=True)
class DataType:
    """One element type.

    Attributes:
        name: name in the text form of MIL.
        code: value of ``MILSpec.DataType``.
        blob_code: value in a record of ``weight.bin``.
        bits: stored width.
        carrier: numpy type that holds an element; None for strings and types without one.
    """

    name: str
    code: int
    blob_code: int | None
    bits: int
    carrier: str | None

    @cached_property
    def dtype(self) -> np.dtype[np.generic]:
        """The numpy type of arrays of this type."""
        if self.carrier is None:
            raise PackageError(f"type {self.name} has no arrays in the evaluator")
        return np.dtype(self.carrier)

    @property
    def is_signed(self) -> bool:
        """Whether elements are signed integers."""
        return self.carrier is not None and self.dtype.kind == "i"

    def bytes_for(self, count: int) -> int:
        """Stored size of ``count`` elements in bytes."""
        return -(-count * self.bits // 8)


TYPES = (
    DataType("bool", 1, None, 8, "bool"),
    DataType("string", 2, None, 0, None),
    DataType("fp16", 10, 1, 16, "float16"),
    DataType("fp32", 11, 2, 32, "float32"),
    DataType("fp64", 12, None, 64, "float64"),
    DataType("bf16", 13, 5, 16, None),
    DataType("int8", 21, 4, 8, "int8"),
    DataType("int16", 22, 6, 16, "int16"),
    DataType("int32", 23, 14, 32, "int32"),
    DataType("int64", 24, None, 64, "int64"),
    DataType("int4", 25, 8, 4, "int8"),
    DataType("uint8", 31, 3, 8, "uint8"),
    DataType("uint16", 32, 7, 16, "uint16"),
    DataType("uint32", 33, 15, 32, "uint32"),
    DataType("uint64", 34, None, 64, "uint64"),
    DataType("uint4", 35, 11, 4, "uint8"),
    DataType("uint2", 36, 10, 2, "uint8"),
    DataType("uint1", 37, 9, 1, "uint8"),
    DataType("uint6", 38, 13, 6, "uint8"),
    DataType("uint3", 39, 12, 3, "uint8"),
    DataType("fp8e4m3fn", 40, 16, 8, None),
    DataType("fp8e5m2", 41, 17, 8, None),
)
BY_CODE = {kind.code: kind for kind in TYPES}
BY_NAME = {kind.name: kind for kind in TYPES}
STRING = BY_NAME["string"]


def from_code(code: int) -> DataType:
    """Find a type by its code in the program."""
    if code not in BY_CODE:
        raise PackageError(f"data type {code} is unknown; the known codes are {sorted(BY_CODE)}")
    return BY_CODE[code]


def from_name(name: str) -> DataType:
    """Find a type by its name, as the parameter ``dtype`` of ``cast`` gives it."""
    if name not in BY_NAME:
        raise PackageError(f"data type '{name}' is unknown; the known names are {sorted(BY_NAME)}")
    return BY_NAME[name]


def unpack(raw: bytes | memoryview, kind: DataType, count: int) -> NDArray[np.generic]:
    """Decode ``count`` little-endian elements; narrow types are packed from the lowest bit up.

    Args:
        raw: exactly ``kind.bytes_for(count)`` bytes.
        kind: element type.
        count: number of elements.

    Returns:
        A read-only array of shape (count,) and type ``kind.dtype``.
    """
    if kind.bits >= 8:
        values = np.frombuffer(raw, dtype=kind.dtype.newbyteorder("<"), count=count)
        return values.astype(kind.dtype, copy=False)
    unsigned = unpack_bits(np.frombuffer(raw, dtype=np.uint8), kind.bits, count)
    if not kind.is_signed:
        return unsigned
    half = 1 << (kind.bits - 1)
    return ((unsigned.astype(np.int16) ^ half) - half).astype(np.int8)


def unpack_bits(packed: NDArray[np.uint8], bits: int, count: int) -> NDArray[np.uint8]:
    """Decode ``count`` unsigned numbers of ``bits`` bits each, lowest bit first."""
    stream = np.unpackbits(packed, bitorder="little")[: count * bits].reshape(count, bits)
    weights = np.left_shift(np.uint8(1), np.arange(bits, dtype=np.uint8))
    values: NDArray[np.uint8] = (stream * weights).sum(axis=1, dtype=np.uint8)
    return values
