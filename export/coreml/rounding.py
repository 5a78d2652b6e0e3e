"""Rounded weights put into a saved Core ML package, in the place of those that they were rounded from.

Weights are found by the products of the package and by their values, not by names: so it serves whatever the
package was converted from.
"""

from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.export.weights.gptq import Rounded, Roundings, find_rounded
from mien.mobile_reference.coreml import load_package
from mien.mobile_reference.coreml.package import root_model
from mien.mobile_reference.coreml.products import Product, loaded, products
from mien.mobile_reference.coreml.program import BlobValue, Constant, Operation

from .editing import block_of, constant, edited, replace_operations, set_value


def store_rounded(package: Path, chosen: Collection[str], roundings: Roundings) -> None:
    """Give the products of a package whose weights are the constants ``chosen`` their rounded ones.

    With the weights goes the bias. What has no rounded weights stays, and goes to the nearest step when it
    is quantised.
    """
    found = list(_found(package, chosen, roundings))
    used = Counter(one.bias.name for one, _ in found if one.bias is not None)
    with edited(package) as function:
        block = block_of(function)
        operations = {
            output.name: operation for operation in block.operations for output in operation.outputs
        }
        added: dict[str, Any] = {}
        for product, rounded in found:
            assert product.stored is not None  # noqa: S101  these have weights
            weight = rounded.weight.reshape(_plain_shape(product))
            if product.turned is not None:
                weight = weight.transpose(np.argsort(product.turned))
            _store(package, product.stored, operations, weight)
            if product.bias is not None and used[product.bias.name] == 1:
                _store(package, product.bias, operations, rounded.bias)
            else:
                name = product.operation.name
                added[name] = _bias(operations[name], rounded.bias, product)
        _insert(block, added)


def _found(package: Path, chosen: Collection[str], roundings: Roundings) -> Iterator[tuple[Product, Rounded]]:
    program = load_package(package)
    for product in products(program.functions[program.default_function]):
        weight = product.weight()
        if weight is None or product.stored is None or product.stored.name not in chosen:
            continue
        rounded = find_rounded(roundings, weight, None if product.bias is None else loaded(product.bias))
        # A matrix product has no bias of its own that could take what rounding leaves of the mean.
        if rounded is not None and (product.operation.type != "matmul" or not _moves(rounded)):
            yield product, rounded


def _moves(rounded: Rounded) -> bool:
    return not np.array_equal(rounded.bias, rounded.source_bias)


def _plain_shape(product: Product) -> tuple[int, ...]:
    weight = product.weight()
    assert weight is not None  # noqa: S101  these have weights
    return weight.shape


def _store(package: Path, kept: Operation, operations: dict[str, Any], values: NDArray[np.float32]) -> None:
    """Overwrite a constant, in the weight file or in the program."""
    (argument,) = kept.arguments["val"]
    assert isinstance(argument, Constant)  # noqa: S101  checked when the program was read
    if not isinstance(argument.value, BlobValue):
        set_value(operations[kept.name].attributes["val"], values)
        return
    blob = argument.value
    record = blob.file.record(blob.offset)
    with (root_model(package).parent / "weights" / blob.file.name).open("r+b") as stream:
        stream.seek(record.offset)
        stream.write(np.ascontiguousarray(values, blob.type.kind.dtype).tobytes())


def _bias(operation: Any, values: NDArray[np.float32], product: Product) -> Any:
    """Make the constant of a bias that is a product's own, and let the product add it."""
    made = constant(f"{product.operation.name}_rounded_bias", values, operation.outputs[0].type)
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
