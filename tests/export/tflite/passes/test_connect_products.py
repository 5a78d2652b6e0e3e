"""Matrix products with stored weights become fully connected layers; others stay."""

from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from mien.export.tflite.interpreter import Runner
from mien.export.tflite.passes.connect_products import connect_products
from mien.mobile_reference.tflite.flatbuffer import operation_names
from tests.export.tflite.graphs import GraphBuilder


def drawn(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


def product(
    *, turned: bool = False, left: bool = False, rows: int = 5, bias: Any = None, twice: bool = False
) -> bytes:
    build = GraphBuilder()
    x = build.given("x", (1, 7, rows) if left else (1, rows, 7))
    options = schema.BatchMatMulOptionsT()
    options.adjX, options.adjY = left, turned
    weight = build.constant("w", drawn(3, 7) if turned else drawn(7, 3))
    y = build.add("BATCH_MATMUL", [x, weight], build.tensor("y", (1, rows, 3)), options)
    if bias is None:
        return build.build(y)
    z = build.add("ADD", [build.constant("b", bias), y], build.tensor("z", (1, 5, 3)), schema.AddOptionsT())
    return build.build(z, y) if twice else build.build(z)


def same(before: bytes, after: bytes) -> None:
    x = drawn(*Runner(before).signature()[0][0][0])
    for exact, found in zip(Runner(before).run([x]), Runner(after).run([x]), strict=True):
        np.testing.assert_allclose(found, exact, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("model", "names"),
    [
        (product(), ["FULLY_CONNECTED"]),
        (product(turned=True), ["FULLY_CONNECTED"]),
        (product(bias=drawn(3)), ["FULLY_CONNECTED"]),
        (product(bias=drawn(1)), ["FULLY_CONNECTED", "ADD"]),
        (product(bias=drawn(3), twice=True), ["FULLY_CONNECTED", "ADD"]),
        (product(left=True), ["TRANSPOSE", "FULLY_CONNECTED"]),
        (product(left=True, rows=1), ["RESHAPE", "FULLY_CONNECTED"]),
    ],
    ids=["plain", "weights turned", "bias", "one number", "read twice", "input turned", "a row turned"],
)
def test_what_is_made_stays_the_same(model: bytes, names: list[str]) -> None:
    after = connect_products(model)
    assert list(operation_names(after)) == names
    same(model, after)


def test_a_model_without_such_products_is_left_alone() -> None:
    build = GraphBuilder()
    x = build.given("x", (1, 5, 7))
    model = build.build(build.add("RELU", [x], build.tensor("y", (1, 5, 7))))
    assert connect_products(model) is model
