"""numpy alone gives what torch gives, and sums are rounded where a policy says so."""

from math import erf

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mien.mobile_reference.coreml.arithmetic import HalfSums, NumpyArithmetic, TorchArithmetic, Windows
from mien.mobile_reference.coreml.ops.compression import dequantize, quantize
from mien.mobile_reference.coreml.precision import DECLARED
from mien.mobile_reference.coreml.program import Operation
from mien.mobile_reference.coreml.registry import Context

torch = pytest.importorskip("torch")
PLAIN = NumpyArithmetic()


@st.composite
def convolutions(draw):
    """Arrays and rules of a convolution of one to three spatial axes."""
    rank = draw(st.integers(1, 3))
    groups, inner, outer = (draw(st.integers(1, 3)) for _ in range(3))
    kernel, strides, dilations = (tuple(draw(st.integers(1, 3)) for _ in range(rank)) for _ in range(3))
    pads = tuple((draw(st.integers(0, 2)), draw(st.integers(0, 2))) for _ in range(rank))
    space = tuple((k - 1) * d + draw(st.integers(1, 4)) for k, d in zip(kernel, dilations, strict=True))
    generator = np.random.default_rng(draw(st.integers(0, 1000)))
    x = generator.standard_normal((draw(st.integers(1, 2)), groups * inner, *space))
    how = Windows(strides, dilations, groups, pads)
    return x, groups, inner, outer, kernel, how, generator


@settings(deadline=None, max_examples=80)
@given(convolutions())
def test_convolutions_agree(case):
    x, groups, inner, outer, kernel, how, generator = case
    weight = generator.standard_normal((groups * outer, inner, *kernel))
    bias = generator.standard_normal(groups * outer)
    expected = TorchArithmetic().conv(x, weight, bias, how)
    # float64 sums of at most a few hundred products in another order
    np.testing.assert_allclose(PLAIN.conv(x, weight, bias, how), expected, rtol=1e-9, atol=1e-9)


@settings(deadline=None, max_examples=80)
@given(convolutions())
def test_transposed_convolutions_agree(case):
    x, groups, inner, outer, kernel, how, generator = case
    weight = generator.standard_normal((groups * inner, outer, *kernel))
    expected = TorchArithmetic().conv_transpose(x, weight, how)
    np.testing.assert_allclose(PLAIN.conv_transpose(x, weight, how), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("shapes", [((3,), (3,)), ((2, 3), (3,)), ((4, 2, 3), (3, 5)), ((3,), (3, 2))])
def test_products_agree(shapes):
    generator = np.random.default_rng(0)
    a, b = (generator.standard_normal(shape) for shape in shapes)
    np.testing.assert_allclose(PLAIN.matmul(a, b), TorchArithmetic().matmul(a, b), rtol=1e-12)


def test_torch_takes_arrays_that_are_turned_or_read_only():
    x = np.arange(12.0).reshape(3, 4)
    x.flags.writeable = False
    np.testing.assert_array_equal(TorchArithmetic().matmul(x[::-1], x.T), x[::-1] @ x.T)


HALVES = np.arange(2**16, dtype=np.uint16).view(np.float16)


@pytest.mark.parametrize("arithmetic", [PLAIN, TorchArithmetic()], ids=["numpy", "torch"])
def test_every_float16_survives_the_way_to_float32_and_back(arithmetic):
    single = arithmetic.cast(HALVES, np.dtype("float32"))
    np.testing.assert_array_equal(single, HALVES.astype(np.float32))
    np.testing.assert_array_equal(arithmetic.cast(single, np.dtype("float16")), HALVES)


@given(st.lists(st.floats(width=32), min_size=1))
def test_rounding_agrees(values):
    x = np.array(values, dtype=np.float32)
    with np.errstate(all="ignore"):
        expected = PLAIN.cast(x, np.dtype("float16"))
    np.testing.assert_array_equal(TorchArithmetic().cast(x, np.dtype("float16")), expected)


@given(st.floats(-8, 8))
def test_erf(x):
    assert PLAIN.erf(np.array([x]))[0] == pytest.approx(erf(x), abs=1e-12)


def test_erf_at_the_ends():
    result = PLAIN.erf(np.array([-np.inf, -0.0, 0.0, np.inf, np.nan]))
    np.testing.assert_array_equal(result, [-1, 0, 0, 1, np.nan])


def test_sums_are_rounded_after_each_block():
    ones, small = np.ones((1, 64), dtype=np.float32), np.full((64, 1), 1e-3, dtype=np.float32)
    small[0] = 2048  # above it float16 has steps of 2, so that a later block of 0.032 is lost
    assert HalfSums(32).matmul(ones, small)[0, 0] == 2048
    assert HalfSums(64).matmul(ones, small)[0, 0] == 2048
    assert PLAIN.matmul(ones, small)[0, 0] == pytest.approx(2048.063)


def test_blocks_bracket_a_long_sum():
    values = np.full((1, 4096), 0.1, dtype=np.float16).astype(np.float32)
    ones = np.ones((4096, 1), dtype=np.float32)
    exact = float(PLAIN.matmul(values, ones)[0, 0])
    coarse = float(HalfSums(1).matmul(values, ones)[0, 0])
    fine = float(HalfSums(32).matmul(values, ones)[0, 0])
    assert abs(fine - exact) < abs(coarse - exact)


@pytest.mark.parametrize("arithmetic", [NumpyArithmetic(), TorchArithmetic()], ids=lambda one: one.name)
def test_float16_is_quantised_as_numpy_divides_it(arithmetic):
    halves = np.arange(2**16, dtype=np.uint16).view(np.float16)
    halves = halves[np.isfinite(halves)]
    context = Context(Operation("quantize", {}, (), ()), DECLARED, arithmetic, lambda *_: ())
    zero = np.uint8(131)
    for scale in np.array([0.0117, 0.5, 3.7], np.float16):
        with np.errstate(over="ignore"):
            steps = np.rint(halves / scale) + np.float32(zero)
            stored = quantize(context, halves, np.asarray(scale), "uint8", np.asarray(zero))
        np.testing.assert_array_equal(stored, steps.clip(0, 255).astype(np.uint8))
        real = (stored.astype(np.float32) - np.float32(zero)) * scale
        found = dequantize(context, stored, np.asarray(scale), np.asarray(zero))
        np.testing.assert_array_equal(found.view(np.uint16), real.astype(np.float16).view(np.uint16))
