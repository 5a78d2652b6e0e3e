"""Writes small Core ML packages byte by byte, sound ones and broken ones, without any converter."""

import json
import struct
from pathlib import Path

import numpy as np

CODES = {
    "bool": 1,
    "string": 2,
    "float16": 10,
    "float32": 11,
    "int8": 21,
    "int16": 22,
    "int32": 23,
    "uint8": 31,
}
BLOB_CODES = {"float16": 1, "float32": 2, "uint8": 3, "int8": 4, "int32": 14}


def varint(value):
    value &= 2**64 - 1
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(out + bytes([value]))


def field(number, value):
    """One field: numbers as varints, text and bytes with their length."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    raw = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(raw)) + raw


def message(*fields):
    return b"".join(field(number, value) for number, value in fields)


def entry(number, key, value):
    return number, message((1, key), (2, value))


def tensor_type(code, shape):
    dimensions = [
        (3, message((2, b"")) if size is None else message((1, message((1, size))))) for size in shape
    ]
    code = CODES.get(code, code)
    return message((1, message((1, code), (2, len(shape)), *dimensions)))


def named_type(name, kind):
    return message((1, name), (2, kind))


def value(array):
    """An immediate value: an array or a text."""
    if isinstance(array, str):
        content = message((1, message((4, message((1, array))))))
        return message((2, tensor_type("string", ())), (3, content))
    array = np.asarray(array)
    if array.dtype == np.float32:
        content = (1, message((1, array.astype("<f4").tobytes())))
    elif array.dtype == np.bool_:
        content = (3, message((1, b"".join(varint(int(v)) for v in array.reshape(-1)))))
    elif array.dtype == np.int32:
        content = (2, message((1, b"".join(varint(int(v)) for v in array.reshape(-1)))))
    else:
        content = (7, message((1, array.tobytes())))
    kind = tensor_type(array.dtype.name, array.shape)
    return message((2, kind), (3, message((1, message(content)))))


def blob_value(dtype, shape, offset, file="@model_path/weights/weight.bin"):
    return message((2, tensor_type(dtype, shape)), (5, message((1, file), (2, offset))))


def const(name, content, kind=None):
    """A const operation from an array, a text, or an encoded value with its type."""
    encoded = content if isinstance(content, bytes) else value(content)
    if kind is None:
        array = content if isinstance(content, str) else np.asarray(content)
        is_text = isinstance(array, str)
        kind = tensor_type("string", ()) if is_text else tensor_type(array.dtype.name, array.shape)
    return message((1, "const"), (3, named_type(name, kind)), entry(5, "val", encoded))


def operation(kind, inputs, outputs, blocks=()):
    """An operation whose inputs are names or lists of names; ``outputs`` are (name, type) pairs."""
    arguments = []
    for parameter, names in inputs.items():
        bindings = [(1, message((1, n))) for n in ([names] if isinstance(names, str) else names)]
        arguments.append(entry(2, parameter, message(*bindings)))
    results = [(3, named_type(*output)) for output in outputs]
    return message((1, kind), *arguments, *results, *((4, block) for block in blocks))


def block(operations, outputs, inputs=()):
    return message(
        *((1, named_type(*named)) for named in inputs),
        *((2, name) for name in outputs),
        *((3, encoded) for encoded in operations),
    )


def model(operations, outputs, inputs, opset="CoreML5", description=b""):
    body = block(operations, outputs)
    function = message(*((1, named_type(*named)) for named in inputs), (2, opset), entry(3, opset, body))
    program = message((1, 1), entry(2, "main", function))
    return message((1, 6), (2, description), (502, program))


def weights(*arrays):
    """A weight file; returns its bytes and the offset of each record."""
    data, offsets = bytearray(struct.pack("<II", len(arrays), 2).ljust(64, b"\0")), []
    for array in arrays:
        data += b"\0" * (-len(data) % 64)
        offsets.append(len(data))
        raw = array.tobytes()
        code = BLOB_CODES[array.dtype.name]
        data += struct.pack("<IIQQ", 0xDEADBEEF, code, len(raw), len(data) + 64).ljust(64, b"\0")
        data += raw
    return bytes(data), offsets


def write(folder: Path, model_bytes, weight_bytes=None, manifest=None) -> Path:
    package = folder / "net.mlpackage"
    data = package / "Data" / "com.apple.CoreML"
    (data / "weights").mkdir(parents=True)
    (data / "model.mlmodel").write_bytes(model_bytes)
    if weight_bytes is not None:
        (data / "weights" / "weight.bin").write_bytes(weight_bytes)
    if manifest is None:
        item = {"path": "com.apple.CoreML/model.mlmodel"}
        manifest = {"itemInfoEntries": {"root": item}, "rootModelIdentifier": "root"}
    (package / "Manifest.json").write_text(json.dumps(manifest))
    return package


F32 = tensor_type("float32", (2, 3))


def add_one(**changes):
    """y = x + 1 on float32[2, 3], with anything replaced."""
    parts = {
        "operations": [
            const("one", np.float32(1)),
            operation("add", {"x": "x", "y": "one"}, [("y", F32)]),
        ],
        "outputs": ["y"],
        "inputs": [("x", F32)],
    }
    return model(**(parts | changes))
