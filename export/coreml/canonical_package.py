"""Makes a saved Core ML package a function of its content alone.

A converter leaves three traces of the moment: random identifiers in ``Manifest.json``, the date
among the model's metadata, and the order of map entries, which protobuf leaves open. Here
identifiers follow from the content, the date goes, and map entries are sorted; then two exports of
one model are identical byte by byte.
"""

import json
import uuid
from collections.abc import Mapping
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any

from mien.mobile_reference.coreml.package import read_manifest, root_model
from mien.mobile_reference.coreml.wire import raw_fields
from mien.mobile_reference.output.json_text import json_text

DATES = frozenset({b"com.github.apple.coremltools.conversion_date"})
NAMESPACE = uuid.UUID("c3a1f4c2-5f0e-5b8e-9d55-3c9a2f6c7d10")  # an arbitrary constant
_BYTES = 2  # wire type of texts and messages

Kind = str
# The messages on the way to maps: field number -> kind of the nested message. A kind with the
# prefix "map:" is an entry (field 1 the key, field 2 a message of the kind that follows the
# prefix).
SCHEMA: Mapping[Kind, Mapping[int, Kind]] = {
    "Model": {2: "Description", 502: "Program"},
    "Description": {100: "Metadata"},
    "Metadata": {100: "map:Text"},
    "Program": {2: "map:Function", 4: "map:Value"},
    "Function": {1: "NamedType", 3: "map:Block", 4: "map:Value"},
    "Block": {1: "NamedType", 3: "Operation", 4: "map:Value"},
    "Operation": {2: "map:Argument", 3: "NamedType", 4: "Block", 5: "map:Value"},
    "Argument": {1: "Binding"},
    "Binding": {2: "Value"},
    "NamedType": {2: "ValueType"},
    "Value": {2: "ValueType", 3: "Immediate"},
    "ValueType": {1: "TensorType", 2: "ListType", 3: "Tuple", 4: "Dictionary", 5: "State"},
    "TensorType": {4: "map:Value"},
    "ListType": {1: "ValueType"},
    "Tuple": {1: "ValueType"},
    "Dictionary": {1: "ValueType", 2: "ValueType"},
    "State": {1: "ValueType"},
    "Immediate": {2: "Values", 3: "Values", 4: "Pairs"},
    "Values": {1: "Value"},
    "Pairs": {1: "Pair"},
    "Pair": {1: "Value", 2: "Value"},
}


def canonicalise(package: Path) -> None:
    """Rewrite ``Manifest.json`` and the model file of ``package`` so that content alone decides.

    Args:
        package: a ``.mlpackage`` folder; weights are read and not changed.

    Raises:
        PackageError: the folder is not a Core ML package.
    """
    model = root_model(package)
    _replace(model, sorted_model(model.read_bytes()))
    _replace(package / "Manifest.json", _manifest(package))


def sorted_model(data: bytes) -> bytes:
    """The bytes of ``model.mlmodel`` with sorted maps and without the date of conversion."""
    return _sorted(memoryview(data), "Model")


def _sorted(data: memoryview, kind: Kind) -> bytes:
    """One message, fields by number, map entries by key, repeated fields in their order."""
    children = SCHEMA.get(kind, {})
    parts = []
    for number, payload, raw in raw_fields(data):
        child = children.get(number)
        if child is None or isinstance(payload, int):
            parts.append((number, b"", bytes(raw)))
        elif child.startswith("map:"):
            parts += _entry(number, payload, child.removeprefix("map:"))
        else:
            parts.append((number, b"", _field(number, _sorted(payload, child))))
    parts.sort(key=lambda part: part[:2])
    return b"".join(encoded for _, _, encoded in parts)


def _entry(number: int, payload: memoryview, kind: Kind) -> list[tuple[int, bytes, bytes]]:
    """One map entry, or nothing for the date."""
    key, value = b"", b""
    for inner, content, raw in raw_fields(payload):
        if inner == 1 and not isinstance(content, int):
            key = bytes(content)
        elif inner == 2 and kind in SCHEMA and not isinstance(content, int):
            value = _field(2, _sorted(content, kind))
        else:
            value = bytes(raw)
    if key in DATES:
        return []
    return [(number, key, _field(number, _field(1, key) + value))]


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | _BYTES) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _manifest(package: Path) -> bytes:
    """The manifest with identifiers that follow from each item's path and content."""
    entries, root = read_manifest(package)
    names = {old: _identifier(package, entry) for old, entry in entries.items()}
    manifest = json.loads((package / "Manifest.json").read_text(encoding="utf-8"))
    manifest["itemInfoEntries"] = {names[old]: entry for old, entry in entries.items()}
    manifest["rootModelIdentifier"] = names[root]
    return (json_text(manifest, indent=4, sort_keys=True) + "\n").encode()


def _identifier(package: Path, entry: Mapping[str, Any]) -> str:
    path = package / "Data" / entry["path"]
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    digest = sha256(entry["path"].encode())
    for file in files:
        digest.update(file.relative_to(package).as_posix().encode())
        with file.open("rb") as stream:
            digest.update(file_digest(stream, "sha256").digest())
    return str(uuid.uuid5(NAMESPACE, digest.hexdigest()))


def _replace(path: Path, content: bytes) -> None:
    """Write beside and rename, so that no reader ever sees half a file."""
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(content)
    partial.replace(path)
