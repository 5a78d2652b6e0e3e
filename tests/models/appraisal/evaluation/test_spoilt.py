"""Spoilt photographs: what each spoiler changes, and that chance alone decides how."""

import numpy as np
import pytest
from numpy.typing import NDArray

from mien.models.appraisal.evaluation.spoilt import SPOILERS, Spoiler, cut, mask, sideways, sunglasses

# A photograph of half the aligned face's size, shifted: the eyes lie at (35, 60) and (73, 60).
MATRIX = np.array([[2.0, 0.0, 20.0], [0.0, 2.0, -20.0]])
EYES, MOUTH = ((35, 60), (73, 60)), (54, 99)


@pytest.fixture
def photograph() -> NDArray[np.uint8]:
    return np.random.default_rng(1).integers(90, 160, (160, 110, 3), dtype=np.uint8)


def rng(seed: int = 3) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("spoiler", SPOILERS.values(), ids=list(SPOILERS))
def test_the_same_chance_spoils_alike_and_the_photograph_stays(
    spoiler: Spoiler, photograph: NDArray[np.uint8]
):
    before = photograph.copy()
    first, second = (spoiler(photograph, MATRIX, rng()) for _ in range(2))
    assert np.array_equal(first, second)
    assert first.dtype == np.uint8
    assert first.flags.c_contiguous
    assert not np.array_equal(first, photograph)
    assert np.array_equal(photograph, before)


def test_dark_lenses_lie_over_the_eyes_alone(photograph: NDArray[np.uint8]):
    changed = (sunglasses(photograph, MATRIX, rng()) != photograph).any(axis=2)
    assert all(changed[y, x] for x, y in EYES)
    assert not changed[MOUTH[1] - 8 :].any()


def test_a_mask_lies_over_the_mouth_alone(photograph: NDArray[np.uint8]):
    changed = (mask(photograph, MATRIX, rng()) != photograph).any(axis=2)
    assert changed[MOUTH[1], MOUTH[0]]
    assert not changed[: EYES[0][1] + 5].any()


@pytest.mark.parametrize("seed", range(8))
def test_a_cut_takes_some_of_the_face_and_leaves_the_rest_as_it_was(seed: int, photograph: NDArray[np.uint8]):
    part = cut(photograph, MATRIX, rng(seed))
    height, width = part.shape[:2]
    assert (height, width) != photograph.shape[:2]
    assert height > MOUTH[1] - 45
    corners = [photograph[:height, :width], photograph[:height, -width:]]
    assert any(np.array_equal(part, corner) for corner in corners)


def test_sideways_goes_both_ways(photograph: NDArray[np.uint8]):
    found = {sideways(photograph, MATRIX, rng(seed)).tobytes() for seed in range(9)}
    assert found == {np.rot90(photograph, turn).tobytes() for turn in (1, 3)}
