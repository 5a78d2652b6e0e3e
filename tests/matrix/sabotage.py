"""What ``mien verify`` must see in a bundle: other weights, a scale off by two, a swapped input."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.schema_py_generated import TensorType
from numpy.typing import NDArray

from mien.mobile_reference.bundle.reader import Bundle, open_bundle, sha256
from mien.mobile_reference.output.json_text import json_text, parse_json
from mien.mobile_reference.scripting import verify_bundle
from mien.mobile_reference.tflite.flatbuffer import parse, serialise

Values = NDArray[np.floating]
Edit = Callable[[Bundle], tuple[Path, bytes]]
"""Says which file of a bundle is replaced, and by what."""
Choose = Callable[[Sequence[Any]], Any]
"""Of the stored weights, in the order in which operations read them, the ones that are changed."""
_TYPES = {"tflite-fp32": (TensorType.FLOAT32, np.float32), "tflite-fp16": (TensorType.FLOAT16, np.float16)}


def sabotages_seen(folder: Path) -> dict[str, bool]:
    """Spoil the bundle in every way, one after the other, and tell which of them ``mien verify`` fails."""
    return {name: _fails(folder, variant, edit) for name, (variant, edit) in SABOTAGES.items()}


def _fails(folder: Path, variant: str, edit: Edit) -> bool:
    """Judge one variant of a bundle that is spoilt meanwhile."""
    file, content = edit(open_bundle(folder))
    manifest = folder / "manifest.json"
    before = {path: path.read_bytes() for path in (file, manifest)}
    assert before[file] != content, f"{file} stays what it was"
    file.write_bytes(content)
    stated = parse_json(before[manifest])
    stated["files"][str(file.relative_to(folder))] = {"bytes": len(content), "sha256": sha256(file)}
    manifest.write_text(json_text(stated))
    found = verify_bundle(open_bundle(folder).only([variant])).failures
    for path, content in before.items():
        path.write_bytes(content)
    return bool(found)


def _weights(variant: str, choose: Choose, change: Callable[[Values], Values]) -> tuple[str, Edit]:
    """Change the chosen weights of the last model of a variant."""
    stored, kind = _TYPES[variant]

    def edit(bundle: Bundle) -> tuple[Path, bytes]:
        file = list(bundle.variant(variant).files.values())[-1]
        parsed = parse(file.read_bytes())
        graph = parsed.subgraphs[0]
        read = [graph.tensors[int(i)] for one in graph.operators for i in one.inputs if i >= 0]
        places = [one.buffer for one in read if one.type == stored and len(one.shape) > 1]
        chosen = choose([parsed.buffers[place] for place in places if parsed.buffers[place].data is not None])
        values = change(np.frombuffer(bytes(chosen.data), kind)).astype(kind)
        chosen.data = np.frombuffer(values.tobytes(), np.uint8)
        return file, serialise(parsed)

    return variant, edit


def _largest(weights: Sequence[Any]) -> Any:
    return max(weights, key=lambda one: len(one.data))


def _last(weights: Sequence[Any]) -> Any:
    """Take those nearest to the output: what a block of squeeze and excitation reads may hardly matter."""
    return weights[-1]


def _swapped(bundle: Bundle) -> tuple[Path, bytes]:
    """Give the first golden input what the second is."""
    first, second = (golden.vectors[bundle.spec.inputs[0]] for golden in bundle.goldens[:2])
    return first, second.read_bytes()


SABOTAGES: Mapping[str, tuple[str, Edit]] = {
    "other weights": _weights("tflite-fp16", _largest, lambda values: values[::-1]),
    "a scale off by two": _weights("tflite-fp32", _last, lambda values: values * 2),
    "a swapped input": ("tflite-fp32", _swapped),
}
"""By its name: the variant that is judged, and what is replaced."""
