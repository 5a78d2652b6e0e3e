"""Drawn anomalies: none at severity 0, more of them with severity, the same for the same seed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from mien.models.appraisal.checkpoint import TEMPLATE
from mien.models.appraisal.evaluation.anomalies import ANOMALIES, FacePlan, draw

KINDS = list(ANOMALIES)


def plan(side: int = 1) -> FacePlan:
    right_eye, left_eye, nose, mouth = TEMPLATE
    return FacePlan(right_eye, left_eye, nose, mouth, side)


@pytest.fixture(scope="module")
def picture(face: Tensor) -> NDArray[np.uint8]:
    return face.permute(1, 2, 0).contiguous().numpy()


def difference(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Mean difference of the colours at each place, in grey levels."""
    return np.abs(a.astype(float) - b).mean(axis=2)


def test_there_are_five_kinds():
    assert set(KINDS) == {"cleft", "lesion", "droop", "swelling", "scar"}


@pytest.mark.parametrize("kind", KINDS)
def test_severity_0_leaves_every_byte(picture: NDArray[np.uint8], kind: str):
    drawn = draw(kind, picture, plan(), 0.0, seed=1)
    np.testing.assert_array_equal(drawn, picture)
    assert drawn is not picture


@pytest.mark.parametrize("kind", KINDS)
def test_the_drawing_grows_with_severity(picture: NDArray[np.uint8], kind: str):
    changes = [
        difference(draw(kind, picture, plan(), s, seed=1), picture).sum() for s in (0.1, 0.4, 0.7, 1.0)
    ]
    assert changes[0] > 0
    assert changes == sorted(changes)
    assert changes[3] > 2 * changes[0]


@pytest.mark.parametrize("kind", KINDS)
@given(seed=st.integers(0, 2**32 - 1), severity=st.floats(0.01, 1))
@settings(max_examples=8)
def test_a_drawing_follows_its_seed_and_touches_nothing_else(
    picture: NDArray[np.uint8], kind: str, seed: int, severity: float
):
    before = picture.copy()
    drawn = draw(kind, picture, plan(), severity, seed)
    assert drawn.shape == picture.shape
    assert drawn.dtype == np.uint8
    np.testing.assert_array_equal(drawn, draw(kind, picture, plan(), severity, seed))
    np.testing.assert_array_equal(picture, before)
    # The rim of the aligned frame lies outside of every kind's reach.
    assert difference(drawn, picture)[:40].max() == 0


@pytest.mark.parametrize("kind", KINDS)
def test_another_seed_draws_another_picture(picture: NDArray[np.uint8], kind: str):
    first, second = (draw(kind, picture, plan(), 0.8, seed) for seed in (1, 2))
    assert difference(first, second).max() > 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_drawing_lies_on_its_side(picture: NDArray[np.uint8], kind: str):
    middle = round(plan().nose[0])
    for side, half in ((1, slice(middle, None)), (-1, slice(None, middle))):
        change = difference(draw(kind, picture, plan(side), 1.0, seed=1), picture)
        # A cleft begins beside the middle of the lip and bends what is around it.
        assert change[:, half].sum() > 0.6 * change.sum()


def test_the_eyes_set_the_unit():
    assert plan().unit == pytest.approx(76)
    assert plan(-1).place((100.0, 50.0), 1.0, 0.5) == pytest.approx((24.0, 88.0))


def test_an_unknown_kind_is_an_error(picture: NDArray[np.uint8]):
    with pytest.raises(KeyError):
        draw("moustache", picture, plan(), 0.5, seed=1)
