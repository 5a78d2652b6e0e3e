"""Files without their names: what stays of a model when a module of its network is renamed.

A rename changes names of tensors and operations and, with them, offsets in the file. It must not change
anything else: not the order of operations and buffers, not a weight, not the signature by which apps feed
the model.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import SequenceMatcher
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from mien.mobile_reference.coreml.blob import BlobFile
from mien.mobile_reference.coreml.package import MODEL_PATH, root_model
from mien.mobile_reference.tflite.flatbuffer import operation_name, parse

from .records import flatten


@dataclass(frozen=True)
class Canonical:
    """A file without names.

    Attributes:
        content: a hash of everything but names and metadata.
        parts: the tensors, operations or values in their order, each with a hash of its own.
    """

    content: str
    parts: tuple[tuple[str, str], ...]


def differing_parts(old: Canonical, new: Canonical) -> tuple[str, ...]:
    """Name what differs by the old names, and by ``+`` and the new name what the old file lacks."""
    before, after = ([digest for _, digest in side.parts] for side in (old, new))
    found: list[str] = []
    for kind, i, j, k, m in SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if kind == "insert":
            found += (f"+ {label}" for label, _ in new.parts[k:m])
        elif kind != "equal":
            found += (label for label, _ in old.parts[i:j])
    return tuple(found)


def canonical_json(file: Path) -> Canonical:
    """Read a JSON file whose keys are names: its values alone, in the order of their texts."""
    value = json.loads(file.read_text(encoding="utf-8"))
    parts = tuple((path, _digest([path, leaf])) for path, leaf in flatten(value).items())
    return Canonical(_digest(_values(value)), parts)


def _values(value: Any) -> Any:
    if isinstance(value, Mapping):
        return sorted((_values(child) for child in value.values()), key=repr)
    return [_values(child) for child in value] if isinstance(value, list) else value


# Fields of the schema's classes that hold names, or what a converter says of itself.
_NAMES: Mapping[str, frozenset[str]] = {
    "ModelT": frozenset(["description", "metadata", "metadataBuffer", "buffers"]),
    "SubGraphT": frozenset(["name"]),
    "TensorT": frozenset(["name"]),
}


def canonical_tflite(file: Path) -> Canonical:
    """Read a TFLite model. The names in its signatures stay: apps feed it by these."""
    model = parse(file.read_bytes())
    described = {entry.buffer for entry in model.metadata or ()}
    buffers = [
        b"" if number in described else _bytes(buffer.data) for number, buffer in enumerate(model.buffers)
    ]
    content = _digest([_plain(model), buffers])
    return Canonical(content, tuple(_tflite_parts(model, buffers)))


def _tflite_parts(model: Any, buffers: list[bytes]) -> Iterator[tuple[str, str]]:
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            yield f"tensor {tensor.name.decode()}", _digest([_plain(tensor), buffers[tensor.buffer]])
        for operator in graph.operators:
            output = graph.tensors[operator.outputs[0]].name.decode()
            name = operation_name(model, operator)
            yield f"{name} {output}", _digest([name, _plain(operator)])


def _plain(value: Any) -> Any:
    """Turn the schema's objects into tuples; numbers of any width become Python's."""
    if isinstance(value, np.ndarray):
        return (value.dtype.str, value.shape, value.tobytes())
    if isinstance(value, list | tuple):
        return [_plain(child) for child in value]
    if hasattr(value, "__dict__"):
        name = type(value).__name__
        hidden = _NAMES.get(name, frozenset())
        return (name, [(k, _plain(v)) for k, v in sorted(vars(value).items()) if k not in hidden])
    return value.item() if isinstance(value, np.generic) else value


def _bytes(data: Any) -> bytes:
    return b"" if data is None else bytes(data)


def canonical_package(package: Path) -> Canonical:
    """Read a Core ML package. The names of its features stay: apps feed it by these."""
    from coremltools.proto import Model_pb2  # takes seconds, and most replays find equal bytes

    path = root_model(package)
    model = Model_pb2.Model.FromString(path.read_bytes())
    model.description.metadata.Clear()
    features = _features(model.description)
    blobs = _Blobs(path.parent)
    parts: list[tuple[str, str]] = []
    for _, function in sorted(model.mlProgram.functions.items()):
        names = _Names(features)
        for entry in function.inputs:
            entry.name = names(entry.name)
        for _, block in sorted(function.block_specializations.items()):
            parts += _package_parts(block, names, blobs)
    weights = {
        file.relative_to(path.parent).as_posix(): _hash(file.read_bytes())
        for file in sorted(path.parent.rglob("*"))
        if file.is_file() and file != path
    }
    return Canonical(_digest([model.SerializeToString(deterministic=True), weights]), tuple(parts))


class _Names:
    """Numbers names in the order in which they are first met; those of features stay."""

    def __init__(self, kept: frozenset[str]) -> None:
        self._known = {name: name for name in kept}

    def __call__(self, name: str) -> str:
        return self._known.setdefault(name, f"%{len(self._known)}")


def _features(description: Any) -> frozenset[str]:
    described = [description, *description.functions]
    return frozenset(
        feature.name for one in described for side in (one.input, one.output, one.state) for feature in side
    )


def _package_parts(block: Any, names: _Names, blobs: "_Blobs") -> Iterator[tuple[str, str]]:
    """Rename everything in ``block``, in place, and yield its operations."""
    for entry in block.inputs:
        entry.name = names(entry.name)
    for operation in block.operations:
        label = f"{operation.type} {operation.outputs[0].name if operation.outputs else ''}".rstrip()
        operation.attributes.pop("name", None)
        for _, argument in sorted(operation.inputs.items()):
            for binding in argument.arguments:
                if binding.WhichOneof("binding") == "name":
                    binding.name = names(binding.name)
        for output in operation.outputs:
            output.name = names(output.name)
        for inner in operation.blocks:
            yield from _package_parts(inner, names, blobs)
        yield label, _operation_digest(operation, blobs)
    block.outputs[:] = [names(name) for name in block.outputs]


def _operation_digest(operation: Any, blobs: "_Blobs") -> str:
    """Hash an operation with the weights it names, wherever in the weight file they lie."""
    copy = type(operation).FromString(operation.SerializeToString())
    bound = [b.value for argument in copy.inputs.values() for b in argument.arguments if b.HasField("value")]
    stored = [v.blobFileValue for v in (*copy.attributes.values(), *bound) if v.HasField("blobFileValue")]
    weights = sorted(blobs.digest(value.fileName, value.offset) for value in stored)
    for value in stored:
        value.offset = 0
    return _digest([copy.SerializeToString(deterministic=True), weights])


class _Blobs:
    """Reads records of the weight files beside a model."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def digest(self, name: str, offset: int) -> str:
        """Hash the record at ``offset``."""
        file = self._folder / name.removeprefix(MODEL_PATH)
        record = BlobFile(file).record(offset)
        with file.open("rb") as stream:
            stream.seek(record.offset)
            return _hash(record.blob_code.to_bytes(4) + stream.read(record.size))


def _digest(value: Any) -> str:
    return _hash(repr(value).encode())


def _hash(data: bytes) -> str:
    return sha256(data).hexdigest()
