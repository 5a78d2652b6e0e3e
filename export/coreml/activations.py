"""int8 activations of a Core ML package: the ranges that TFLite has, operations inserted by us.

Quantised is what the products with int8 weights read. That lies behind the activation function, which
has already cut it to what is needed; the converter's own passes quantise in front of it, where a ReLU6 of
0..6 may still reach ten times as far. Whatever else reads the tensor gets it unrounded.

coremltools 9.0 gathers ranges on macOS alone.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.export.tflite.products import products as tflite_products
from mien.export.tflite.ranges import Range, joined_ranges
from mien.export.weights.gptq import scales
from mien.mobile_reference.coreml import load_package
from mien.mobile_reference.coreml.products import Product, products
from mien.mobile_reference.tflite.flatbuffer import looked_into

from .editing import block_of, constant, edited, operation, replace_operations

_LEVELS = 255


@dataclass(frozen=True)
class WeightsRange:
    """What a product of the float TFLite graph reads: the range, and its weights [out, n] to know it by."""

    weight: NDArray[np.float32]
    reach: Range


def weights_ranges(model: bytes, ranges: Mapping[str, Range]) -> list[WeightsRange]:
    """List the products of a float TFLite ``model`` that read a tensor with one of the ``ranges``."""
    return [
        WeightsRange(one.weight.reshape(len(one.weight), -1), ranges[one.source])
        for one in tflite_products(looked_into(model))
        if one.source in ranges
    ]


def ranges_of_products(found: Sequence[Product], known: Sequence[WeightsRange]) -> dict[str, Range]:
    """Give products the range of what is multiplied by the same weights in TFLite, by what they make.

    Weights that are the same but for a factor of each channel are the same here: what they read is. A product
    that runs again has one range for all runs. One without a range is left out.
    """
    return joined_ranges((one.operation.name, reach) for one in found for reach in _reaches(one, known))


def _reaches(product: Product, known: Sequence[WeightsRange]) -> Iterator[Range]:
    weight = product.weight()
    if weight is not None:
        flat = weight.reshape(len(weight), -1)
        yield from (one.reach for one in known if scales(flat, one.weight) is not None)


def ranges_of_tensors(package: Path, by_product: Mapping[str, Range]) -> dict[str, Range]:
    """Give every tensor of a saved package that the products of ``by_product`` read the range of these."""
    program = load_package(package)
    found = products(program.functions[program.default_function])
    readers = (one for one in found if one.operation.name in by_product)
    return joined_ranges((one.source, by_product[one.operation.name]) for one in readers)


def quantise_activations(package: Path, by_product: Mapping[str, Range]) -> dict[str, Range]:
    """Rewrite a saved package of iOS 17 or later: some products read their tensors as uint8.

    Each such tensor is quantised with one scale and zero point and brought back to float before the
    product, which the runtime may fuse.

    Args:
        package: a saved package.
        by_product: the range of what a product reads, by the name of what it makes.

    Returns:
        The ranges of the tensors that are quantised.
    """
    ranges = ranges_of_tensors(package, by_product)
    with edited(package) as function:
        block = block_of(function)
        operations: list[Any] = []
        quantised: dict[str, str] = {}

        def quantise(tensor: Any) -> None:
            if tensor.name in ranges:
                operations.extend(_quantised(tensor, ranges[tensor.name]))
                quantised[tensor.name] = operations[-1].outputs[0].name

        for given in function.inputs:
            quantise(given)
        for one in block.operations:
            if any(output.name in by_product for output in one.outputs):
                for binding in (bound for given in one.inputs.values() for bound in given.arguments):
                    binding.name = quantised.get(binding.name, binding.name)
            operations.append(one)
            for output in one.outputs:
                quantise(output)
        replace_operations(block, operations)
    return {name: ranges[name] for name in quantised}


def scale_and_zero(reach: Range, dtype: Any) -> tuple[NDArray[Any], NDArray[np.uint8]]:
    """Return what maps ``reach``, widened to hold 0, to 0..255: real = scale * (stored - zero point)."""
    low, high = min(reach[0], 0.0), max(reach[1], 0.0)
    # A tensor that is always 0 needs some scale; and a float16 one must not round down, or the ends are cut.
    scale = np.nextafter(dtype((high - low) / _LEVELS or 1.0), dtype(np.inf))
    return scale, np.clip(np.rint(-low / float(scale)), 0, _LEVELS).astype(np.uint8)


def _quantised(tensor: Any, reach: Range) -> list[Any]:
    """List the operations that store a tensor as uint8 and bring it back."""
    from coremltools.proto import MIL_pb2

    half = tensor.type.tensorType.dataType == MIL_pb2.FLOAT16
    scale, zero = scale_and_zero(reach, np.float16 if half else np.float32)
    name = tensor.name
    constants = {
        "scale": constant(f"{name}_scale", scale),
        "zero_point": constant(f"{name}_zero_point", zero),
        "output_dtype": constant(f"{name}_stored_type", "uint8"),
    }
    stored = MIL_pb2.NamedValueType(name=f"{name}_stored", type=tensor.type)
    stored.type.tensorType.dataType = MIL_pb2.UINT8
    restored = MIL_pb2.NamedValueType(name=f"{name}_restored", type=tensor.type)
    names = {parameter: one.outputs[0].name for parameter, one in constants.items()}
    rule = {parameter: names[parameter] for parameter in ("scale", "zero_point")}
    return [
        *constants.values(),
        operation("quantize", {"input": name, **names}, stored),
        operation("dequantize", {"input": stored.name, **rule}, restored),
    ]
