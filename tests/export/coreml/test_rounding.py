"""Rounded weights and biases in a saved package: who gets them, and who keeps what it had."""

from pathlib import Path

import numpy as np
import pytest

import tests.mobile_reference.coreml.mil_packages as build
from mien.export.coreml.rounding import store_rounded
from mien.export.weights.gptq import Rounded, scales
from mien.mobile_reference.coreml import load_package
from mien.mobile_reference.coreml.products import Product, loaded, products

FIRST, SECOND = np.random.default_rng(5).normal(size=(2, 3, 3, 1, 1)).astype(np.float32)
MAP = build.tensor_type("float32", (1, 3, 4, 4))
BIAS = np.float32([1, 2, 3])
ZEROS = np.zeros(3, np.float32)
MOVED = np.float32([0.25, 0, -0.5])


def package(folder: Path, weights: dict[str, np.ndarray], convolutions: list[str]) -> Path:
    """Convolutions in a row by the named weights, all with one stored bias."""
    operations = [build.const("b", BIAS), build.const("pad_type", "valid")]
    operations += [build.const(name, value) for name, value in weights.items()]
    read = "x"
    for number, name in enumerate(convolutions):
        inputs = {"x": read, "weight": name, "bias": "b", "pad_type": "pad_type"}
        operations.append(build.operation("conv", inputs, [(f"y{number}", MAP)]))
        read = f"y{number}"
    return build.write(folder, build.model(operations, [read], [("x", MAP)], opset="CoreML7"))


def rounded(weight: np.ndarray, source_bias: np.ndarray) -> Rounded:
    return Rounded(weight + 1, source_bias + MOVED, weight, source_bias)


def after(file: Path) -> list[Product]:
    program = load_package(file)
    return list(products(program.functions[program.default_function]))


def biases(file: Path) -> list[list[float]]:
    return [loaded(one.bias).tolist() for one in after(file) if one.bias is not None]


def test_a_bias_that_others_read_too_stays_for_them(tmp_path: Path) -> None:
    file = package(tmp_path, {"w": FIRST, "v": SECOND}, ["w", "v"])
    store_rounded(file, {"w"}, {"any": rounded(FIRST, BIAS)})
    first, second = after(file)
    np.testing.assert_array_equal(first.weight(), FIRST + 1)
    np.testing.assert_array_equal(second.weight(), SECOND)
    assert biases(file) == [(BIAS + MOVED).tolist(), BIAS.tolist()]


def test_weights_that_run_twice_keep_one_bias(tmp_path: Path) -> None:
    file = package(tmp_path, {"w": FIRST}, ["w", "w"])
    store_rounded(file, {"w"}, {"any": rounded(FIRST, BIAS)})
    assert {one.bias.name for one in after(file) if one.bias is not None} == {"b"}
    assert biases(file) == [(BIAS + MOVED).tolist()] * 2


@pytest.mark.parametrize("source", [ZEROS, BIAS + 7])
def test_what_is_added_is_what_rounding_leaves_whatever_bias_the_other_program_had(
    tmp_path: Path, source: np.ndarray
) -> None:
    file = package(tmp_path, {"w": FIRST}, ["w"])
    store_rounded(file, {"w"}, {"any": rounded(FIRST, source)})
    assert biases(file) == [(BIAS + MOVED).tolist()]


@pytest.mark.parametrize("moved", [ZEROS, MOVED])
def test_a_matrix_product_is_rounded_where_it_needs_no_bias(tmp_path: Path, moved: np.ndarray) -> None:
    matrix = np.ascontiguousarray(FIRST[:, :, 0, 0])
    vector = build.tensor_type("float32", (1, 3))
    operations = [
        build.const("w", np.ascontiguousarray(matrix.T)),
        build.operation("matmul", {"x": "x", "y": "w"}, [("y", vector)]),
    ]
    file = build.write(tmp_path, build.model(operations, ["y"], [("x", vector)], opset="CoreML7"))
    store_rounded(file, {"w"}, {"any": Rounded(matrix + 1, moved, matrix, ZEROS)})
    (one,) = after(file)
    np.testing.assert_array_equal(one.weight(), matrix + (0 if moved.any() else 1))
    assert "bias" not in one.operation.arguments


def test_weights_that_another_program_multiplied_by_a_factor_are_found(tmp_path: Path) -> None:
    file = package(tmp_path, {"w": FIRST}, ["w"])
    factors = np.float32([1 / 6, -2, 1])
    there = FIRST * factors[:, None, None, None]
    store_rounded(file, {"w"}, {"any": Rounded(there + 6, BIAS + MOVED * factors, there, BIAS)})
    (one,) = after(file)
    np.testing.assert_allclose(one.weight(), FIRST + (6 / factors)[:, None, None, None], rtol=1e-5)
    np.testing.assert_allclose(biases(file), [BIAS + MOVED], rtol=1e-6)


def test_a_factor_is_that_of_a_whole_channel() -> None:
    flat = FIRST[:, :, 0, 0]
    factors = np.float32([1 / 6, -2, 1])
    np.testing.assert_allclose(scales(flat, flat / factors[:, None]), factors, rtol=1e-5)
    np.testing.assert_array_equal(scales(flat, flat), np.ones(3))
    assert scales(flat, flat * np.float32([1, 1, 1.1])) is None
    assert scales(flat, SECOND[:, :, 0, 0]) is None
    # Single weights are multiples of any others, and say nothing.
    assert scales(flat[:, :1], flat[:, :1] * 2) is None
    dead = flat * np.float32([[0], [1], [1]])
    np.testing.assert_array_equal(scales(dead, dead * 2), np.float32([1, 0.5, 0.5]))
    assert scales(flat, dead) is None


def test_what_a_loop_repeats_keeps_what_it_had(tmp_path: Path) -> None:
    """A step of a GRU: its product and its bias stand in the block that the loop runs."""
    inside = [
        build.const("b", BIAS),
        build.const("pad_type", "valid"),
        build.operation(
            "conv", {"x": "in", "weight": "w", "bias": "b", "pad_type": "pad_type"}, [("y", MAP)]
        ),
    ]
    blocks = [
        build.block([build.const("again", np.zeros((), bool))], ["again"], [("at", MAP)]),
        build.block(inside, ["y"], [("in", MAP)]),
    ]
    operations = [
        build.const("w", FIRST),
        build.operation("while_loop", {"loop_vars": "x"}, [("z", MAP)], blocks),
    ]
    file = build.write(tmp_path, build.model(operations, ["z"], [("x", MAP)], opset="CoreML7"))
    store_rounded(file, {"w"}, {"any": rounded(FIRST, BIAS)})
    (one,) = after(file)
    np.testing.assert_array_equal(one.weight(), FIRST)
    assert biases(file) == [BIAS.tolist()]
