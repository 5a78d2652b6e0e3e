"""The products of a function: which they are, what they multiply by, and how often."""

import numpy as np
import pytest

import tests.mobile_reference.coreml.mil_packages as build
from mien.mobile_reference.coreml import load_package
from mien.mobile_reference.coreml.products import products, share_compressed, share_int8

WEIGHT = np.arange(6, dtype=np.float32).reshape(3, 2)


def real(*shape):
    return build.tensor_type("float32", shape)


def found(tmp_path, operations, inputs, opset="CoreML7"):
    package = build.write(tmp_path, build.model(operations, ["y"], inputs, opset=opset))
    return load_package(package).functions["main"]


@pytest.mark.parametrize("turned", [False, True])
def test_a_matrix_on_the_right(tmp_path, turned):
    operations = [
        build.const("w", WEIGHT if turned else np.ascontiguousarray(WEIGHT.T)),
        build.const("t", np.bool_(turned)),
        build.operation("matmul", {"x": "x", "y": "w", "transpose_y": "t"}, [("y", real(5, 3))]),
    ]
    (one,) = products(found(tmp_path, operations, [("x", real(5, 2))]))
    np.testing.assert_array_equal(one.weight(), WEIGHT)
    assert (one.source, one.source_maker, one.multiplications, one.size) == ("x", "input", 30, 6)


@pytest.mark.parametrize("turned", [False, True])
def test_a_matrix_on_the_left(tmp_path, turned):
    operations = [
        build.const("w", np.ascontiguousarray(WEIGHT.T) if turned else WEIGHT),
        build.const("t", np.bool_(turned)),
        build.operation("matmul", {"x": "w", "y": "x", "transpose_x": "t"}, [("y", real(3, 5))]),
    ]
    (one,) = products(found(tmp_path, operations, [("x", real(2, 5))]))
    np.testing.assert_array_equal(one.weight(), WEIGHT)
    assert (one.source, one.parameter, one.multiplications) == ("x", "x", 30)


def test_a_transposed_convolution_and_a_product_without_weights(tmp_path):
    weight = np.random.default_rng(0).normal(size=(2, 3, 4, 4)).astype(np.float32)
    operations = [
        build.const("w", weight),
        build.const("pad_type", "valid"),
        build.operation(
            "conv_transpose", {"x": "x", "weight": "w", "pad_type": "pad_type"}, [("a", real(1, 3, 8, 8))]
        ),
        build.operation("matmul", {"x": "a", "y": "a"}, [("y", real(1, 3, 8, 8))]),
    ]
    function = found(tmp_path, operations, [("x", real(1, 2, 5, 5))])
    up, own = products(function)
    np.testing.assert_array_equal(up.weight(), weight.transpose(1, 0, 2, 3))
    assert up.multiplications == 2 * 5 * 5 * 3 * 4 * 4
    assert own.weight() is None
    assert own.multiplications == 3 * 8 * 8 * 8
    assert share_compressed([function]) == share_int8([function]) == 0
