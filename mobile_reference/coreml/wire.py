"""The protobuf wire format, as far as a Core ML model needs it.

A message is a sequence of (field number, wire type, payload). The reader below hands out payloads
by field number and leaves their meaning to `parse.py`, which follows the published message layout.
It copies nothing: payloads are views of the file, and a nested message is read when it is asked for.

The light install has the protobuf runtime, for LiteRT requires it. It is not used, since it needs classes
generated from Apple's message layout, which only coremltools brings, and it parses a whole file into
objects before a caller can refuse any of it. A package comes from outside: here depth and lengths are
checked before anything is made of a field, every fault is a ``PackageError`` that says what is wrong, and
the reader is small enough to be fuzzed as a whole (tests/mobile_reference/coreml/test_mil_attacks.py).

Source: https://protobuf.dev/programming-guides/encoding/
"""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.mobile_reference.errors import PackageError

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
_ONE_BYTE = 0x80  # numbers below take one byte
MAX_DEPTH = 64  # nested messages; blocks in blocks use about four levels each

Payload = int | memoryview


def varint(data: memoryview, start: int) -> tuple[int, int]:
    """Read one base-128 number.

    Returns:
        The number (unsigned, below 2**64) and the position after it.
    """
    value = 0
    for index in range(10):
        if start + index >= len(data):
            raise PackageError("model.mlmodel ends inside a number; the file is cut short")
        byte = data[start + index]
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value & (2**64 - 1), start + index + 1
    raise PackageError("model.mlmodel holds a number of more than ten bytes; the file is damaged")


def signed(value: int) -> int:
    """Read an unsigned 64-bit number as two's complement, which int32, int64 and enums use."""
    return value - 2**64 if value >= 2**63 else value


def fields(data: memoryview) -> Iterator[tuple[int, Payload]]:
    """Walk the fields of one message in file order: pairs of field number and payload."""
    position = 0
    while position < len(data):
        number, payload, position = _field(data, position)
        yield number, payload


def raw_fields(data: memoryview) -> Iterator[tuple[int, Payload, memoryview]]:
    """As `fields`, with the bytes of the whole field, its key included."""
    position = 0
    while position < len(data):
        start = position
        number, payload, position = _field(data, position)
        yield number, payload, data[start:position]


def _field(data: memoryview, position: int) -> tuple[int, Payload, int]:
    """Read the field at a position: its number, its payload and the position after it.

    A program has some hundred thousand. Nearly all have keys and lengths of one byte, which are read here.
    """
    key = data[position]
    if key < _ONE_BYTE:
        position += 1
    else:
        key, position = varint(data, position)
    number, kind = key >> 3, key & 7
    if number == 0:
        raise PackageError("model.mlmodel holds a field number 0; it is not a protobuf file")
    if kind == BYTES and position < len(data) and data[position] < _ONE_BYTE:
        start = position + 1
        end = start + data[position]
        if end <= len(data):
            return number, data[start:end], end
    if kind == VARINT:
        return number, *varint(data, position)
    return number, *_view(data, position, kind)


def _view(data: memoryview, position: int, kind: int) -> tuple[memoryview, int]:
    length, position = _length(data, position, kind)
    if position + length > len(data):
        raise PackageError(
            f"model.mlmodel promises {length} bytes where {len(data) - position} are left; "
            "the file is cut short"
        )
    return data[position : position + length], position + length


def _length(data: memoryview, position: int, kind: int) -> tuple[int, int]:
    if kind == BYTES:
        return varint(data, position)
    if kind in (FIXED64, FIXED32):
        return (8 if kind == FIXED64 else 4), position
    raise PackageError(f"model.mlmodel holds wire type {kind}; it is not a protobuf file")


@dataclass(frozen=True, slots=True)
class Message:
    """One decoded message: payloads by field number, in file order."""

    payloads: Mapping[int, tuple[Payload, ...]]
    depth: int

    @staticmethod
    def read(data: memoryview | bytes, depth: int = 0) -> "Message":
        """Decode one level of ``data``; nested messages are decoded when asked for."""
        if depth > MAX_DEPTH:
            raise PackageError(f"model.mlmodel nests messages deeper than {MAX_DEPTH}")
        found: dict[int, list[Payload]] = {}
        for number, payload in fields(memoryview(data)):
            found.setdefault(number, []).append(payload)
        return Message({number: tuple(values) for number, values in found.items()}, depth)

    def __contains__(self, number: int) -> bool:
        return number in self.payloads

    def view(self, number: int) -> memoryview:
        """The last payload of ``number`` as bytes; empty where absent."""
        payload = self.payloads.get(number, (memoryview(b""),))[-1]
        return _bytes(payload, number)

    def integer(self, number: int, default: int = 0) -> int:
        """The last payload of ``number`` as a signed integer."""
        payload = self.payloads.get(number, (default,))[-1]
        if not isinstance(payload, int):
            raise PackageError(f"field {number} of model.mlmodel holds bytes, not a number")
        return signed(payload)

    def unsigned(self, number: int) -> int:
        """The last payload of ``number`` as an unsigned integer; 0 where absent."""
        return self.integer(number) & (2**64 - 1)

    def text(self, number: int) -> str:
        """The last payload of ``number`` as UTF-8 text; empty where absent."""
        return _text(self.view(number))

    def name(self, number: int) -> str:
        """A text that names something; messages repeat it, so it must fit on their one line."""
        return _name(self.text(number))

    def names(self, number: int) -> tuple[str, ...]:
        """Every payload of ``number`` as a name."""
        return tuple(_name(text) for text in self.texts(number))

    def texts(self, number: int) -> tuple[str, ...]:
        """Every payload of ``number`` as UTF-8 text."""
        return tuple(_text(_bytes(payload, number)) for payload in self.payloads.get(number, ()))

    def message(self, number: int) -> "Message":
        """The nested message ``number``; an empty message where absent."""
        return Message.read(self.view(number), self.depth + 1)

    def messages(self, number: int) -> tuple["Message", ...]:
        """Every nested message ``number``."""
        views = (_bytes(payload, number) for payload in self.payloads.get(number, ()))
        return tuple(Message.read(view, self.depth + 1) for view in views)

    def entries(self, number: int) -> dict[str, "Message"]:
        """A map field with text keys and message values."""
        return {entry.name(1): entry.message(2) for entry in self.messages(number)}

    def integers(self, number: int) -> NDArray[np.int64]:
        """A repeated integer field, packed or not."""
        values: list[int] = []
        for payload in self.payloads.get(number, ()):
            values.extend([payload] if isinstance(payload, int) else _unpack_varints(payload))
        return np.array([signed(value) for value in values], dtype=np.int64)

    def reals(self, number: int, dtype: Any) -> NDArray[Any]:
        """A repeated float or double field, packed or not; ``dtype`` is float32 or float64."""
        raw = b"".join(bytes(_bytes(p, number)) for p in self.payloads.get(number, ()))
        width = np.dtype(dtype).itemsize
        if len(raw) % width:
            raise PackageError(f"field {number} of model.mlmodel is not a whole number of reals")
        return np.frombuffer(raw, dtype=dtype)

    def real(self, number: int, layout: str, default: float) -> float:
        """One float (``layout`` "<f") or double ("<d")."""
        if number not in self.payloads:
            return default
        try:
            return float(struct.unpack(layout, self.view(number))[0])
        except struct.error as error:
            raise PackageError(f"field {number} of model.mlmodel is not a real number") from error


def _bytes(payload: Payload, number: int) -> memoryview:
    if isinstance(payload, int):
        raise PackageError(f"field {number} of model.mlmodel holds a number, not bytes")
    return payload


def _text(view: memoryview) -> str:
    try:
        return str(view, "utf-8")
    except UnicodeDecodeError as error:
        raise PackageError("model.mlmodel holds a name that is not UTF-8") from error


def _name(text: str) -> str:
    if not text.isprintable():
        raise PackageError(f"model.mlmodel holds the name {text[:40]!r}, which cannot be printed")
    return text


def _unpack_varints(view: memoryview) -> Iterator[int]:
    position = 0
    while position < len(view):
        value, position = varint(view, position)
        yield value
