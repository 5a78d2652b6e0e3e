"""Float16 weights beside those of float32: what is rounded passes, what was changed is named."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from mien.mobile_reference.verify.stages import Verification
from mien.mobile_reference.verify.stages_tables import failure_line
from mien.mobile_reference.verify.weights import Constants, WeightsResult, compare_weights

Values = NDArray[np.float32]
WEIGHTS = np.linspace(-1, 1, 9, dtype=np.float32) / 3
BIAS = np.array([0.1, 70000, -np.inf, 1e-9], np.float32)
SINGLES = [("conv/weight", WEIGHTS), ("conv/bias", BIAS)]


def half(values: Values) -> NDArray[np.float16]:
    """Round to float16; what is too large becomes infinite."""
    with np.errstate(over="ignore"):
        return values.astype(np.float16)


def compared(halves: Constants, singles: Constants = SINGLES) -> WeightsResult:
    """Compare the constants of a model."""
    return compare_weights("tflite-fp16", "whole", "tflite-fp32", halves, singles)


@pytest.mark.parametrize("added", ["", "_half", "_to_fp16"])
def test_rounded_weights_pass_whatever_a_converter_adds_to_their_names(added: str) -> None:
    found = compared([(name + added, half(values)) for name, values in SINGLES])
    assert (found.passed, found.compared, found.unknown) == (True, 2, ())


def test_what_float16_has_no_number_for_may_be_written_as_converters_do() -> None:
    # The greatest number for infinity, the least one for what would become 0.
    written = np.array([0.1, 65504, -65504, 2.0**-24], np.float16)
    assert compared([("conv/bias", written)]).passed
    assert not compared([("conv/bias", -written)]).passed


@given(st.floats(0.5, 2).filter(lambda factor: abs(factor - 1) > 2e-3))
def test_a_layer_that_is_scaled_is_named(factor: float) -> None:
    changed = half(WEIGHTS * np.float32(factor))
    found = compared([("conv/weight", changed), ("conv/bias", half(BIAS))])
    assert list(found.differing) == ["conv/weight"]
    assert found.differing["conv/weight"] == pytest.approx(abs(factor - 1), abs=2e-3)
    failed = Verification((), weights=(found,)).failures
    assert failed == (found,)
    assert "1 of 2 stored weights are not those of tflite-fp32 in" in failure_line(found)


@given(arrays(np.float32, 5, elements=st.floats(-8, 8, width=32)), st.integers(0, 4))
def test_rounding_passes_and_one_step_more_does_not(values: Values, place: int) -> None:
    assert compared([("a", half(values))], [("a", values)]).passed
    moved = half(values)
    moved[place] = np.float16(10)
    assert not compared([("a", moved)], [("a", values)]).passed


def test_weights_that_stay_float32_are_the_same_to_the_last_bit() -> None:
    assert compared([("conv/weight", WEIGHTS.copy())]).passed
    assert not compared([("conv/weight", np.nextafter(WEIGHTS, np.float32(2)))]).passed


def test_nan_and_another_number_of_weights_are_never_the_same() -> None:
    nan = np.full(3, np.nan, np.float32)
    assert not compared([("a", half(nan))], [("a", nan)]).passed
    assert compared([("conv/weight", half(WEIGHTS[:4]))]).differing == {"conv/weight": np.inf}


def test_constants_that_two_conversions_number_otherwise_are_found() -> None:
    others = [("const_0", np.float32([1, 2])), ("const_1", np.float32([3, 4]))]
    assert compared([("const_0", half(others[1][1])), ("const_1", half(others[0][1]))], others).passed


def test_what_float32_does_not_have_is_told_and_is_not_taken_for_compared() -> None:
    found = compared([("conv/weight", half(WEIGHTS)), ("made/later", half(2 * WEIGHTS))])
    assert (found.passed, found.compared, found.unknown) == (True, 1, ("made/later",))
