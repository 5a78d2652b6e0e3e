"""Metrics of gates: what each measures, and that nothing that is not finite is within a limit."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mien.mobile_reference.contract import (
    ANY,
    CORRELATION,
    EACH,
    IOU,
    MEAN,
    OVER_EACH,
    PSNR,
    RANK,
    RELATIVE,
    SCALAR,
    SET,
    TOP1,
    GateSpec,
)
from mien.mobile_reference.metrics import FEW, METRICS, allowed, measured, within

RAMP = np.linspace(0, 1, 64, dtype=np.float32).reshape(1, 8, 8, 1)
SCORE = np.float32([3.0])
# A tensor of the float pipeline, another, the span of its values, and the loss that is due.
LOSSES: dict[str, tuple[str, Any, Any, float, float | None]] = {
    "a score": (SCALAR, SCORE, SCORE + 2, 100, 2),
    "a part of the span": (RELATIVE, RAMP * 10, RAMP * 10 + 1, 10, 0.1),
    "the worst value of many": (RELATIVE, np.zeros(4), np.array([0, 0, 0, -0.5]), 1, 0.5),
    "noise of a tenth": (PSNR, np.zeros(9), np.full(9, 0.3), 3, 0.1),
    "a ramp turned over": (CORRELATION, RAMP, 1 - RAMP, 1, 2),
    "a ramp brighter": (CORRELATION, RAMP, RAMP * 3 + 2, 1, 0),
    "a flat answer to a ramp": (CORRELATION, RAMP, RAMP * 0, 1, 1),
    "a flat reference": (CORRELATION, RAMP * 0.01, RAMP, 1, None),
    "the same reference over its own span": (CORRELATION, RAMP * 0.01, RAMP, 0.01, 0),
    "masks that half overlap": (IOU, RAMP > 0.5, np.ones_like(RAMP), 1, 0.5),
    "an empty answer": (IOU, RAMP > 0.5, RAMP * 0, 1, 1),
    "two empty masks": (IOU, RAMP * 0, RAMP * 0, 1, None),
    "one of 16 pixels": (IOU, np.eye(4) * [1, 0, 0, 0], np.eye(4) * [1, 1, 0, 0], 1, 0.5),
    "another class": (TOP1, np.array([[0.1, 0.9]]), np.array([[0.6, 0.4]]), 1, 1),
    "one place of two": (TOP1, np.eye(2)[None], np.array([[[1, 0], [1, 0]]]), 1, 0.5),
}


@pytest.mark.parametrize("case", LOSSES)
def test_a_loss_is_what_it_says(case: str) -> None:
    metric, reference, other, span, loss = LOSSES[case]
    found = METRICS[metric].combine([measured(METRICS[metric], reference, other, span)])
    assert found == (None if loss is None else pytest.approx(loss, abs=1e-6))


def _alike(metric: str) -> Any:
    return SCORE if metric in (SCALAR, MEAN) else RAMP


@pytest.mark.parametrize("metric", [name for name in METRICS if name != RANK])
def test_equal_tensors_lose_nothing(metric: str) -> None:
    tensor = _alike(metric)
    assert measured(METRICS[metric], tensor, tensor.copy(), 1) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("where", ["reference", "other", "both"])
@pytest.mark.parametrize("what", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("metric", METRICS)
def test_what_is_not_finite_is_never_within_a_limit(metric: str, what: float, where: str) -> None:
    good = [_alike(metric)] * FEW
    bad = [*good[1:], np.full_like(good[0], what)]
    pairs = zip(bad if where != "other" else good, bad if where != "reference" else good, strict=True)
    loss = METRICS[metric].combine([measured(METRICS[metric], a, b, 1) for a, b in pairs])
    assert within(loss, 1e300) is False


def test_masks_have_no_values_below_0() -> None:
    assert math.isnan(measured(METRICS[IOU], RAMP - 0.5, RAMP - 0.5, 1))


@pytest.mark.parametrize(
    ("others", "loss"),
    [(range(FEW), 0.0), ([-n for n in range(FEW)], 2.0), ([1] * FEW, 1.0), (range(FEW - 1), None)],
)
def test_ranks_are_of_many_inputs(others: Any, loss: float | None) -> None:
    pairs = [(float(number), float(other)) for number, other in enumerate(others)]
    assert METRICS[RANK].combine(pairs) == (None if loss is None else pytest.approx(loss))


def test_inputs_that_leave_nothing_to_judge_do_not_count() -> None:
    assert METRICS[CORRELATION].combine([None, 0.1, 0.3]) == pytest.approx(0.2)
    assert METRICS[CORRELATION].combine([None]) is None
    assert within(None, 1.0) is None


@given(st.floats(1, 120))
def test_decibels_and_losses_are_each_others_inverse(limit: float) -> None:
    metric = METRICS[PSNR]
    assert metric.shown(metric.allowed(limit)) == pytest.approx(limit)
    assert metric.worst_word == "least"


@pytest.mark.parametrize(
    ("metric", "limit", "passes", "fails"), [(PSNR, 40.0, 0.0099, 0.0101), (IOU, 0.03, 0.0299, 0.0301)]
)
def test_a_limit_is_in_the_units_that_people_know(
    metric: str, limit: float, passes: float, fails: float
) -> None:
    gate = GateSpec("map", metric, {ANY: limit}, EACH if metric in OVER_EACH else SET)
    largest = allowed(gate, "tflite-fp16")
    assert largest is not None
    assert (within(passes, largest), within(fails, largest)) == (True, False)


def test_a_gate_that_asks_nothing_or_is_not_known_allows_nothing() -> None:
    assert allowed(GateSpec("t", SCALAR, {"fp16": 1.0}), "tflite-int8") is None
    assert allowed(GateSpec("t", "function:mine", {ANY: 1.0}), "tflite-int8") is None
