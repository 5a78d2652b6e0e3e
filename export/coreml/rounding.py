"""Rounded weights put into a saved Core ML package, in the place of those that they were rounded from.

Weights are found by the products of the package and by their values, not by names: so it serves whatever the
package was converted from.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.export.weights.gptq import Rounded, Roundings, find_rounded, scaled, scales
from mien.mobile_reference.coreml import load_package
from mien.mobile_reference.coreml.package import root_model
from mien.mobile_reference.coreml.products import Product, loaded, products
from mien.mobile_reference.coreml.program import BlobValue, Constant, Function, Operation, walk

from .editing import block_of, constant, edited, replace_operations, set_value


@dataclass(frozen=True)
class _Change:
    """What a product gets: weights in the order in which they are stored, and a bias, None where it stays."""

    product: Product
    stored: Operation
    weight: NDArray[np.float32]
    bias: NDArray[np.float32] | None


def store_rounded(package: Path, chosen: Collection[str], roundings: Roundings) -> None:
    """Give the products of a package whose weights are the constants ``chosen`` their rounded ones.

    With the weights goes the bias. What has no rounded weights stays, and goes to the nearest step when it
    is quantised.
    """
    program = load_package(package)
    function = program.functions[program.default_function]
    changes = list(_changes(function, chosen, roundings))
    common = _common_biases(function, changes)
    with edited(package) as main:
        block = block_of(main)
        operations = {
            output.name: operation for operation in block.operations for output in operation.outputs
        }
        added: dict[str, Any] = {}
        for one in changes:
            _store(package, one.stored, operations, one.weight)
            if one.bias is None:
                continue
            if one.product.bias is not None and one.product.bias.name in common:
                _store(package, one.product.bias, operations, one.bias)
            else:
                name = one.product.operation.name
                added[name] = _own_bias(operations[name], one.bias)
        _insert(block, added)


def _changes(function: Function, chosen: Collection[str], roundings: Roundings) -> Iterator[_Change]:
    # What a loop repeats, such as a step of a GRU, keeps its weights: the constants of its block stay.
    outside = {operation.name for operation in function.body.operations}
    for product in products(function):
        weight = product.weight()
        if weight is None or product.stored is None or product.stored.name not in chosen:
            continue
        if product.operation.name not in outside:
            continue
        rounded = _rounded(product, weight, roundings)
        if rounded is None:
            continue
        bias = _bias(product, rounded)
        if bias is None or product.takes_bias:
            turned = rounded.weight.reshape(weight.shape)
            if product.turned is not None:
                turned = turned.transpose(np.argsort(product.turned))
            yield _Change(product, product.stored, turned, bias)


def _rounded(product: Product, weight: NDArray[np.float32], roundings: Roundings) -> Rounded | None:
    """Find what weights became, or else what weights became that are these but for a factor."""
    same = find_rounded(roundings, weight, None if product.bias is None else loaded(product.bias))
    if same is not None:
        return same
    flat = weight.reshape(len(weight), -1)
    found = ((one, scales(flat, one.source)) for one in roundings.values())
    return next((scaled(one, factors) for one, factors in found if factors is not None), None)


def _bias(product: Product, rounded: Rounded) -> NDArray[np.float32] | None:
    """Add what rounding leaves of the mean to the bias that the product has; None where that is nothing.

    It need not be the bias that the weights were rounded with: one program adds as a bias what another adds
    on its own.
    """
    if np.array_equal(rounded.bias, rounded.source_bias):
        return None
    if product.bias is None:
        return rounded.bias - rounded.source_bias
    stored = np.asarray(_stored(product.bias).load())
    # In the type of the package, so that of the same bias nothing is left.
    apart: NDArray[np.float32] = stored.astype(np.float32) - rounded.source_bias.astype(stored.dtype)
    return rounded.bias + apart


def _common_biases(function: Function, changes: Sequence[_Change]) -> frozenset[str]:
    """Name the biases that can be overwritten: all that read one are given the same.

    Converters store equal constants once, so that a bias of zeros may be that of many products.
    """
    readers = Counter(name for one in walk(function.body) for name in one.references())
    given: dict[str, list[bytes]] = {}
    for one in changes:
        if one.product.bias is not None and one.bias is not None:
            given.setdefault(one.product.bias.name, []).append(one.bias.tobytes())
    return frozenset(
        name for name, values in given.items() if len(values) == readers[name] and len(set(values)) == 1
    )


def _stored(constant: Operation) -> Constant:
    (argument,) = constant.arguments["val"]
    assert isinstance(argument, Constant)  # noqa: S101  checked when the program was read
    return argument


def _store(package: Path, kept: Operation, operations: dict[str, Any], values: NDArray[np.float32]) -> None:
    """Overwrite a constant, in the weight file or in the program."""
    argument = _stored(kept)
    if not isinstance(argument.value, BlobValue):
        set_value(operations[kept.name].attributes["val"], values)
        return
    blob = argument.value
    record = blob.file.record(blob.offset)
    with (root_model(package).parent / "weights" / blob.file.name).open("r+b") as stream:
        stream.seek(record.offset)
        stream.write(np.ascontiguousarray(values, blob.type.kind.dtype).tobytes())


def _own_bias(operation: Any, values: NDArray[np.float32]) -> Any:
    """Make the constant of a bias that is a product's own, and let the product add it."""
    output = operation.outputs[0]
    made = constant(f"{output.name}_rounded_bias", values, output.type)
    del operation.inputs["bias"].arguments[:]
    operation.inputs["bias"].arguments.add(name=made.outputs[0].name)
    return made


def _insert(block: Any, added: dict[str, Any]) -> None:
    """Put constants in front of the operations that give the names."""
    operations = []
    for operation in block.operations:
        operations += [added[output.name] for output in operation.outputs if output.name in added]
        operations.append(operation)
    replace_operations(block, operations)
