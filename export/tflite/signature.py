"""The order of a TFLite model's inputs and outputs."""

from collections.abc import Sequence
from typing import Any

from mien.export.errors import ConversionError
from mien.mobile_reference.tflite.flatbuffer import parse, serialise


def order_by_signature(model: bytes, inputs: Sequence[str], outputs: Sequence[str]) -> bytes:
    """Put the tensors of the ``model``'s main graph in the order of their names in its signature.

    Raises:
        ConversionError: the model has no signature, or one of other names.
    """
    parsed = parse(model)
    if not parsed.signatureDefs:
        raise ConversionError("the converter wrote no signature, so nobody knows which output is which")
    signature = parsed.signatureDefs[0]
    graph = parsed.subgraphs[signature.subgraphIndex]
    graph.inputs = _ordered(signature.inputs, inputs)
    graph.outputs = _ordered(signature.outputs, outputs)
    return serialise(parsed)


def _ordered(maps: Sequence[Any], names: Sequence[str]) -> list[int]:
    found = {entry.name.decode(): int(entry.tensorIndex) for entry in maps}
    if set(found) != set(names):
        raise ConversionError(f"the converter's signature has {sorted(found)}, expected {sorted(names)}")
    return [found[name] for name in names]
