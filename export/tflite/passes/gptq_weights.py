"""Rounded weights put into a float TFLite graph, in the place of those that they were rounded from."""

from collections.abc import Collection

from mien.export.tflite.products import Product, products
from mien.export.weights.gptq import Roundings, find_rounded
from mien.mobile_reference.tflite.flatbuffer import looked_into, parse, serialise


def with_rounded(model: bytes, outputs: Collection[str], rounded: Roundings) -> bytes:
    """Give the products that make ``outputs`` their rounded weights and biases.

    They are found by the weights that they were rounded from; what has none stays, and goes to the nearest
    step when it is quantised.
    """
    parsed = parse(model)
    for one in list(products(parsed)):
        found = find_rounded(rounded, one.weight, one.bias) if one.made in outputs else None
        if found is not None:
            one.store(parsed, found.weight, found.bias)
    return serialise(parsed)


def unrounded(model: bytes, outputs: Collection[str], rounded: Roundings) -> tuple[Product, ...]:
    """Return the products that make ``outputs`` and have no rounded weights."""
    return tuple(
        one
        for one in products(looked_into(model))
        if one.made in outputs and find_rounded(rounded, one.weight, one.bias) is None
    )
