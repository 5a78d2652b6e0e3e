"""The wire format, packed numbers and weight files: whatever is written is read back."""

from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tests.mobile_reference.coreml.mil_packages as build
from mien.mobile_reference.coreml import dtypes
from mien.mobile_reference.coreml import wire as wire_module
from mien.mobile_reference.coreml.blob import BlobFile
from mien.mobile_reference.coreml.wire import Message, raw_fields, signed, varint
from mien.mobile_reference.errors import PackageError

NARROW = ["int4", "uint1", "uint2", "uint3", "uint4", "uint6"]


@given(st.integers(0, 2**64 - 1))
def test_numbers(value):
    raw = build.varint(value)
    assert varint(memoryview(raw), 0) == (value, len(raw))


@given(st.integers(-(2**63), 2**63 - 1))
def test_signed_numbers(value):
    assert signed(varint(memoryview(build.varint(value)), 0)[0]) == value


@given(st.lists(st.tuples(st.integers(1, 500), st.integers(0, 2**63) | st.binary(max_size=40))))
def test_messages(fields):
    raw = build.message(*fields)
    read = [(n, p if isinstance(p, int) else bytes(p)) for n, p, _ in raw_fields(memoryview(raw))]
    assert read == fields
    assert b"".join(bytes(part) for _, _, part in raw_fields(memoryview(raw))) == raw


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(raw):
    with suppress(PackageError):
        Message.read(raw)


@given(st.sampled_from(NARROW), st.lists(st.integers(0, 255), max_size=50))
def test_narrow_numbers(name, numbers):
    kind = dtypes.from_name(name)
    values = [n % 2**kind.bits for n in numbers]
    stream = "".join(format(n, f"0{kind.bits}b")[::-1] for n in values)
    bits = np.array([int(bit) for bit in stream], dtype=np.uint8)
    raw = np.packbits(bits, bitorder="little").tobytes()
    assert len(raw) == kind.bytes_for(len(values))
    half = 2 ** (kind.bits - 1)
    expected = [n - 2 * half if name == "int4" and n >= half else n for n in values]
    np.testing.assert_array_equal(dtypes.unpack(raw, kind, len(values)), expected)


@pytest.mark.parametrize("dtype", ["float16", "float32", "int8", "uint8", "int32"])
def test_weight_files(dtype, tmp_path):
    arrays = [np.arange(n, dtype=dtype) for n in (1, 7, 64, 1000)]
    data, offsets = build.weights(*arrays)
    (tmp_path / "weight.bin").write_bytes(data)
    file = BlobFile(tmp_path / "weight.bin")
    names = {"float16": "fp16", "float32": "fp32"}
    kind = dtypes.from_name(names.get(dtype, dtype))
    for array, offset in zip(arrays, offsets, strict=True):
        np.testing.assert_array_equal(file.read(offset, kind, len(array)), array)


def test_no_code_is_used_twice():
    codes = [kind.code for kind in dtypes.TYPES]
    blob_codes = [kind.blob_code for kind in dtypes.TYPES if kind.blob_code is not None]
    assert len(set(codes)) == len(codes)
    assert len(set(blob_codes)) == len(blob_codes)


def test_unknown_names_of_types():
    with pytest.raises(PackageError, match="'fp12' is unknown"):
        dtypes.from_name("fp12")


def test_no_two_types_share_a_code():
    stored = [kind.blob_code for kind in dtypes.TYPES if kind.blob_code is not None]
    assert len(stored) == len(set(stored))
    assert len(dtypes.BY_CODE) == len(dtypes.BY_NAME) == len(dtypes.TYPES)
    # From coremltools' MILBlob: the narrow types stand in one row.
    narrow = ("int4", "uint1", "uint2", "uint4", "uint3", "uint6")
    assert [dtypes.BY_NAME[name].blob_code for name in narrow] == [8, 9, 10, 11, 12, 13]


def test_messages_nest_as_deep_as_is_said_and_no_deeper():
    deepest = b""
    for _ in range(wire_module.MAX_DEPTH):
        deepest = b"\x0a" + _varint(len(deepest)) + deepest
    found = Message.read(deepest)
    for _ in range(wire_module.MAX_DEPTH):
        (found,) = found.messages(1)
    with pytest.raises(PackageError, match="deeper than"):
        Message.read(b"", wire_module.MAX_DEPTH + 1)
    with pytest.raises(PackageError, match="deeper than"):
        replace(found, payloads={1: (memoryview(b""),)}).messages(1)


def _varint(number: int) -> bytes:
    low, rest = number & 127, number >> 7
    return bytes([low | 128]) + _varint(rest) if rest else bytes([low])


def test_a_real_number_has_all_its_bytes():
    with pytest.raises(PackageError, match=r"field 1 of .* is not a real number"):
        Message.read(b"\x0a\x03abc").real(1, "<f", 0.0)
    assert Message.read(b"\x0a\x04\x00\x00\x80?").real(1, "<f", 0.0) == 1.0
