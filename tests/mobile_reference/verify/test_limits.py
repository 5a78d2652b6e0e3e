"""Limits: what is at a limit passes, what is not a number never does, and a failure names its cause."""

import math

import numpy as np
import pytest

from mien.mobile_reference.contract import ANY, SCALAR, GateSpec, TensorSpec
from mien.mobile_reference.verify import limits, repeatability, stages
from mien.mobile_reference.verify.held_out import Likeness, worst_of
from mien.mobile_reference.verify.limits import FIRST_POOR_LAYER, JudgedFigure, failures, held_out_record
from tests.mobile_reference.conftest import SPEC

NAN, INF = math.nan, math.inf


@pytest.mark.parametrize(
    ("value", "limit", "passed"),
    [
        (0.5, 0.5, True),
        (0.4999, 0.5, True),
        (0.5001, 0.5, False),
        (0.0, 0.0, True),
        (1e-9, 0.0, False),
        (INF, 0.5, False),
        (NAN, 0.5, False),
        (NAN, INF, False),
        (0.5, None, None),
        (NAN, None, None),
    ],
)
def test_a_value_is_at_most_its_limit(value: float, limit: float | None, *, passed: bool | None) -> None:
    figure = limits._at_most("v", "error", value, limit, "someone")
    assert (figure.passed, figure.limit, figure.face) == (passed, limit, "someone")
    assert (figure.variant, figure.name) == ("v", "error")


@pytest.mark.parametrize(
    ("errors", "worst"),
    [((1.0, 3.0, 2.0), "b"), ((1.0, 3.0, NAN), "c"), ((NAN, 3.0, 2.0), "a"), ((0.0, 0.5, INF), "c")],
)
def test_the_worst_face_has_the_largest_error_or_none_at_all(errors: tuple[float, ...], worst: str) -> None:
    found = [Likeness(face, error, (), {}) for face, error in zip("abc", errors, strict=True)]
    assert worst_of(found).face == worst


def test_only_what_failed_is_named_with_its_value_limit_and_face() -> None:
    found = [
        JudgedFigure("v", "passes", 1.0, 2.0, passed=True),
        JudgedFigure("v", "has no limit", 9.0),
        JudgedFigure("v", "worst", 2.25, 1.5, passed=False, face="someone"),
        JudgedFigure("v", "mean", NAN, 0.5, passed=False),
    ]
    assert failures(found) == [
        "v: worst is 2.25, the limit is 1.5 (face someone)",
        "v: mean is nan, the limit is 0.5",
    ]


def test_a_failure_blames_the_dearest_stage_and_the_first_layer_of_its_own_variant() -> None:
    found = [
        JudgedFigure("v", "mean", 3.0, 1.0, passed=False),
        JudgedFigure("v", "of this by one", 0.25),
        JudgedFigure("v", "of this by two", 2.5),
        JudgedFigure("v", "mean error up to three", 7.0),
        JudgedFigure("v", FIRST_POOR_LAYER, limits.POOR_DB - 1, face="layer 3"),
        JudgedFigure("other", "of this by one", 99.0),
        JudgedFigure("other", FIRST_POOR_LAYER, 1.0, face="layer 9"),
    ]
    (line,) = failures(found)
    assert line == (
        "v: mean is 3, the limit is 1; stage two costs most, 2.500 points of the mean"
        "; the first layer that diverges is layer 3"
    )


def test_a_layer_at_the_bound_does_not_diverge() -> None:
    found = [
        JudgedFigure("v", "mean", 3.0, 1.0, passed=False),
        JudgedFigure("v", FIRST_POOR_LAYER, limits.POOR_DB, face="no layer"),
    ]
    assert failures(found) == ["v: mean is 3, the limit is 1"]


def test_the_record_has_null_for_what_json_has_not() -> None:
    found = [
        JudgedFigure("v", "a", 1.5, 2.0, passed=True, face="f"),
        *(JudgedFigure("v", "b", x) for x in (NAN, INF, -INF)),
    ]
    record = held_out_record(found, 7)
    assert record["faces"] == 7
    assert record["note"] == limits.CAVEAT
    assert record["figures"][0] == {
        "variant": "v",
        "name": "a",
        "value": 1.5,
        "limit": 2.0,
        "passed": True,
        "face": "f",
    }
    assert [row["value"] for row in record["figures"][1:]] == [None] * 3


@pytest.mark.parametrize(
    ("points", "passed"), [(0.0, True), (0.1, True), (0.1001, False), (INF, False), (NAN, False)]
)
def test_a_stage_passes_up_to_its_limit(points: float, *, passed: bool) -> None:
    gate = GateSpec("t", SCALAR, {ANY: 0.1})
    result = stages.StageResult("v", "one", 40.0, gate, points, 0.1, "someone")
    assert result.passed is passed
    assert stages.Verification((result,)).failures == (() if passed else (result,))


def test_decibels_are_of_the_full_scale_not_of_the_signal() -> None:
    tensor = TensorSpec("t", (1, 4), "float32", 10.0, "of a test")
    zero = np.zeros((1, 4), np.float32)
    assert stages.peak_signal_to_noise(tensor, zero, zero + 1) == pytest.approx(20)
    assert stages.peak_signal_to_noise(tensor, zero, zero) == INF


def _arrays(scores: list[float]) -> list[repeatability.Array]:
    return [np.array([score]) for score in scores]


@pytest.mark.parametrize(
    ("one", "other", "apart"),
    [([1.0, 5.0], [1.5, 4.0], 1.0), ([1.0, 5.0], [4.0, 5.0], 3.0), ([2.0], [2.0], 0.0)],
)
def test_repeats_are_judged_by_the_greatest_difference(
    one: list[float], other: list[float], apart: float
) -> None:
    assert repeatability._apart(SPEC, _arrays(one), _arrays(other)) == apart


@pytest.mark.parametrize("other", [[NAN, 7.0, 2.0], [1.0, NAN, 2.0], [1.0, 7.0, NAN]])
def test_a_repeat_that_is_not_a_number_is_the_greatest_difference(other: list[float]) -> None:
    assert math.isnan(repeatability._apart(SPEC, _arrays([1.0, 5.0, 2.0]), _arrays(other)))


@pytest.mark.parametrize(
    ("value", "shown"), [(153.8122, "153.8"), (3.8e-6, "3.8e-06"), (0.0, "0"), (INF, "inf"), (NAN, "-")]
)
def test_a_page_shows_four_digits_of_a_figure(value: float, shown: str) -> None:
    assert limits.cells(JudgedFigure("v", "error", value, None, None, ""))[2] == shown


def test_noise_is_told_by_tensor_with_its_worst_input() -> None:
    found = [Likeness(str(n), 0.0, (), {"edges": value}) for n, value in enumerate((40.0, 31.5, 50.0))]
    assert list(limits._noise_figures("v", found)) == [JudgedFigure("v", "edges PSNR dB, least", 31.5)]
    (one,) = limits._noise_figures("v", [*found, Likeness("n", 0.0, (), {"edges": NAN})])
    assert math.isnan(one.value)
