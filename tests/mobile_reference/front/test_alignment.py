"""The rule of alignment on numbers checked by hand, with a detector that answers what it is told."""

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.typing import NDArray

from mien.mobile_reference.errors import FaceError
from mien.mobile_reference.front import alignment as alignment_module
from mien.mobile_reference.front.alignment import (
    AlignmentRule,
    Square,
    align,
    detections,
    merge,
    similarity,
    turned_back,
    warp,
)

RULE = AlignmentRule(
    size=16,
    template=((4.0, 5.0), (12.0, 5.0), (8.0, 9.0), (8.0, 12.0)),
    score=0.5,
    overlap=0.3,
    second_look=2.0,
    smallest=8.0,
    detector_size=32,
)
KEYPOINTS = ((0.4, 0.4), (0.6, 0.4), (0.5, 0.5), (0.5, 0.6), (0.3, 0.4), (0.7, 0.4))
Candidates = NDArray[np.float32]


def candidate(
    score: float,
    x: float = 0.5,
    y: float = 0.5,
    width: float = 0.25,
    height: float = 0.25,
    shift: float = 0.0,
) -> list[float]:
    return [score, x, y, width, height, *(np.ravel(KEYPOINTS) + shift)]


def answers(*looks: list[list[float]]) -> Callable[[NDArray[np.uint8]], Candidates]:
    """Answer the first detection, then the second, and find nothing in any further one."""
    rest = iter(looks)
    return lambda picture: np.array(next(rest, []), np.float32).reshape(-1, 17)


def photograph(height: int = 64, width: int = 64) -> NDArray[np.uint8]:
    return np.random.default_rng(5).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_a_square_is_counted_by_the_edges_of_pixels() -> None:
    square = Square(10.0, 7.0, 4.0)
    assert square.corner.tolist() == [8.0, 5.0]
    # The first of 8 pixels, half as wide, has its centre a quarter of a pixel inside the corner.
    assert square.matrix(8).tolist() == [[2.0, 0.0, -15.5], [0.0, 2.0, -9.5]]


def test_whole_photographs_are_found_in_their_own_pixels() -> None:
    found = detections(
        photograph(), Square(32, 32, 64), answers([candidate(0.9, x=0.25, y=0.75, width=0.5)]), RULE
    )
    assert found.shape == (1, 17)
    assert found[0, 0] == pytest.approx(0.9)
    # Half a pixel less: 0 is the centre of the first pixel, not its edge. Then rounded to eighths.
    assert found[0, 1:5].tolist() == [15.5, 47.5, 32.0, 16.0]
    expected = np.floor((np.ravel(KEYPOINTS) * 64 - 0.5) * 8 + 0.5) / 8
    assert found[0, 5:] == pytest.approx(expected)


def test_a_part_of_a_photograph_is_found_where_it_lies() -> None:
    found = detections(photograph(), Square(40, 20, 16), answers([candidate(0.9)]), RULE)
    assert found[0, 1:5].tolist() == [39.5, 19.5, 4.0, 4.0]
    assert found[0, 9:11].tolist() == [39.5, 19.5]


@pytest.mark.parametrize(("score", "faces"), [(0.5, 1), (0.49, 0), (0.51, 1), (float("nan"), 0)])
def test_a_candidate_counts_from_the_score_of_the_rule(score: float, faces: int) -> None:
    assert len(detections(photograph(), Square(32, 32, 64), answers([candidate(score)]), RULE)) == faces


def test_overlapping_candidates_are_blended_by_their_scores() -> None:
    rows = np.array([candidate(0.6, x=1.0, width=4.0), candidate(0.9, x=2.0, width=4.0)])
    (face,) = merge(rows, 0.3)
    assert face[1] == pytest.approx((0.6 * 1 + 0.9 * 2) / 1.5)
    assert face[0] == pytest.approx((0.6 * 0.6 + 0.9 * 0.9) / 1.5)


def test_faces_come_best_first_and_those_apart_stay_apart() -> None:
    rows = np.array([candidate(0.6, x=1.0), candidate(0.9, x=5.0), candidate(0.7, x=9.0)])
    assert merge(rows, 0.3)[:, 0].tolist() == [0.9, 0.7, 0.6]


@pytest.mark.parametrize(("overlap", "faces"), [(1 / 3, 2), (0.33, 1), (0.34, 2)])
def test_an_overlap_must_be_more_than_the_rules(overlap: float, faces: int) -> None:
    # Two boxes of 4 x 2 that share 2 x 2 of the 12 that they cover: a third.
    rows = np.array([candidate(0.9, 2.0, 1.0, 4.0, 2.0), candidate(0.8, 4.0, 1.0, 4.0, 2.0)])
    assert len(merge(rows, overlap)) == faces


def test_no_candidates_are_no_faces() -> None:
    assert merge(np.zeros((0, 17)), 0.3).shape == (0, 17)


def test_a_similarity_turns_scales_and_shifts() -> None:
    points = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [2.0, 3.0]])
    # A quarter turn, twice as large, moved by (5, -1).
    expected = np.array([[0.0, -2.0, 5.0], [2.0, 0.0, -1.0]])
    target = points @ expected[:, :2].T + expected[:, 2]
    assert similarity(points, target) == pytest.approx(expected)


def test_a_cut_through_the_identity_is_the_photograph() -> None:
    pixels = photograph(9, 9)
    assert np.array_equal(warp(pixels, np.eye(3)[:2], 9), pixels)


def test_a_cut_is_bilinear_and_repeats_the_border() -> None:
    ramp = np.repeat(np.array([[0, 10, 20, 30]], np.uint8)[..., None], 3, axis=2).repeat(2, axis=0)
    moved = warp(ramp, np.array([[1.0, 0.0, 0.75], [0.0, 1.0, 0.0]]), 6)
    # Pixel u shows the photograph at u - 0.75: -0.75 and 4.25 lie outside.
    assert moved[0, :, 0].tolist() == [0, 3, 13, 23, 30, 30]  # 2.5, 12.5 and 22.5 are rounded up
    assert np.array_equal(moved[0], moved[5])


def test_a_smaller_cut_is_averaged_over_whole_boxes() -> None:
    pixels = photograph(12, 12)
    matrix = Square(6, 6, 12).matrix(4)
    boxes = pixels.reshape(4, 3, 4, 3, 3).mean(axis=(1, 3))
    assert np.array_equal(warp(pixels, matrix, 4), np.floor(boxes + 0.5 + 1e-6).astype(np.uint8))


def test_a_reduction_is_no_larger_than_the_photograph() -> None:
    pixels = np.full((1, 40, 3), 7, np.uint8)
    assert warp(pixels, Square(20, 0.5, 40).matrix(4), 4).tolist() == np.full((4, 4, 3), 7).tolist()


def test_the_largest_face_is_framed_and_all_are_counted() -> None:
    small, large = candidate(0.9, x=0.2, y=0.2, width=0.2, height=0.2), candidate(0.6, x=0.7, y=0.7)
    seen: list[NDArray[np.uint8]] = []
    rest = answers([small, large], [candidate(0.9)])

    def detector(picture: NDArray[np.uint8]) -> Candidates:
        seen.append(picture)
        return rest(picture)

    pixels = photograph()
    face = align(pixels, detector, RULE)
    assert face.faces == 2
    # The second detection is twice the box of 16 wide, about the large face at 0.7 of 64.
    assert np.array_equal(seen[0], warp(pixels, Square(32, 32, 64).matrix(32), 32))
    centre = np.floor((0.7 * 64 - 0.5) * 8 + 0.5) / 8 + 0.5
    assert np.array_equal(seen[1], warp(pixels, Square(centre, centre, 32).matrix(32), 32))
    keypoints = np.array(KEYPOINTS[:4]) * 32 + centre - 16 - 0.5
    snapped = np.floor(keypoints * 8 + 0.5) / 8
    assert face.matrix == pytest.approx(similarity(snapped, np.array(RULE.template)))
    assert np.array_equal(face.pixels, warp(pixels, face.matrix, 16))


def test_without_a_second_find_the_first_stands() -> None:
    face = align(photograph(), answers([candidate(0.9)], []), RULE)
    snapped = np.floor((np.array(KEYPOINTS[:4]) * 64 - 0.5) * 8 + 0.5) / 8
    assert face.matrix == pytest.approx(similarity(snapped, np.array(RULE.template)))


def test_a_wide_photograph_is_looked_at_whole() -> None:
    found = answers([candidate(0.9)], [])
    face = align(photograph(32, 64), found, RULE)
    # The square is 64 wide about (32, 16), so it begins 16 pixels above the photograph.
    first = np.floor((np.array(KEYPOINTS[:4]) * 64 - [0.5, 16.5]) * 8 + 0.5) / 8
    assert face.matrix == pytest.approx(similarity(first, np.array(RULE.template)))


@pytest.mark.parametrize(("width", "height"), [(0.125, 0.125), (0.125, 0.0625), (0.0625, 0.125)])
def test_a_face_of_the_least_size_is_framed(width: float, height: float) -> None:
    align(photograph(), answers([candidate(0.9, width=width, height=height)], []), RULE)


def test_a_smaller_face_is_refused_with_both_sizes() -> None:
    with pytest.raises(FaceError, match=r"is 7 pixels wide, at least 8 are needed; give a closer"):
        align(photograph(), answers([candidate(0.9, width=7 / 64, height=7 / 64)]), RULE)
    with pytest.raises(FaceError, match="at least 100 are needed"):
        align(photograph(), answers([candidate(0.9)]), replace(RULE, smallest=100.0))


def test_no_face_is_refused() -> None:
    with pytest.raises(FaceError, match="no face found; give a photograph"):
        align(photograph(), answers([]), RULE)


SURE = replace(RULE, sure=0.75)


def turned_detector(scores: dict[int, float]) -> Callable[[NDArray[np.uint8]], Candidates]:
    """Answer what a turned picture of a slope scores: the brightest corner tells the turn."""

    def detect(picture: NDArray[np.uint8]) -> Candidates:
        corners = [picture[0, 0, 0], picture[-1, 0, 0], picture[-1, -1, 0], picture[0, -1, 0]]
        score = scores.get(int(np.argmax(corners)), 0.0)
        # The second detection sees a face whose score differs.
        return np.array([candidate(score)] if score else [], np.float32).reshape(-1, 17)

    return detect


def slope() -> NDArray[np.uint8]:
    """Brightest in the upper left corner, so that quarter turns take the brightness around."""
    row = np.linspace(255, 1, 64)
    return np.repeat(np.minimum.outer(row, row)[..., None], 3, axis=2).astype(np.uint8)


def roll(matrix: NDArray[np.float64]) -> float:
    return float(np.degrees(np.arctan2(matrix[1, 0], matrix[0, 0])))


@pytest.mark.parametrize(
    ("scores", "quarters"),
    [
        ({0: 0.8, 2: 0.9}, 0),  # sure: nothing is turned
        ({0: 0.6, 2: 0.9}, 2),
        ({0: 0.6, 1: 0.7, 2: 0.5, 3: 0.6}, 1),
        ({3: 0.6}, 3),
        ({0: 0.6, 2: 0.6}, 0),  # of equals the upright one
        ({1: 0.6, 2: 0.6}, 2),
    ],
)
def test_a_face_that_is_not_sure_is_looked_for_in_the_turned_photograph(
    scores: dict[int, float], quarters: int
) -> None:
    face = align(slope(), turned_detector(scores), SURE)
    # What was turned counter-clockwise is turned so by the matrix too; y points down.
    assert roll(face.matrix) % 360 == pytest.approx(-90 * quarters % 360, abs=1e-6)
    assert face.score == pytest.approx(scores[quarters])
    # The turned photograph, looked at as it is, gives the same face.
    upright = align(np.ascontiguousarray(np.rot90(slope(), quarters)), turned_detector({quarters: 0.9}), RULE)
    assert np.abs(face.pixels.astype(int) - upright.pixels.astype(int)).max() <= 1


def test_without_sure_nothing_is_ever_turned() -> None:
    assert roll(align(slope(), turned_detector({0: 0.6, 2: 0.9}), RULE).matrix) == pytest.approx(0)
    with pytest.raises(FaceError, match="no face found"):
        align(slope(), turned_detector({2: 0.9}), RULE)


def test_a_turned_candidate_comes_back_to_its_square() -> None:
    """By pixels: a bright one that is turned with its picture is found again where it was."""
    for turn in range(4):
        picture = np.zeros((8, 8))
        picture[1, 6] = 1
        (y,), (x,) = np.nonzero(np.rot90(picture, turn))
        place = (np.array([x, y]) + 0.5) / 8
        given = np.array([[0.9, *place, 0.1, 0.2, *np.tile(place, 6)]])
        back = turned_back(given, turn)[0]
        assert back[[1, 2]] == pytest.approx([6.5 / 8, 1.5 / 8])
        assert back[5:] == pytest.approx(np.tile([6.5 / 8, 1.5 / 8], 6))
        assert back[3:5].tolist() == ([0.2, 0.1] if turn % 2 else [0.1, 0.2])
        assert given[0, 1:3].tolist() == place.tolist()


def test_a_face_that_the_second_look_does_not_see_has_no_score() -> None:
    assert align(photograph(), answers([candidate(0.9)], []), RULE).score == 0
    assert align(photograph(), answers([candidate(0.6)], [candidate(0.9)]), RULE).score == pytest.approx(0.9)


@pytest.mark.parametrize(("times", "said"), [(1.0, "too small a part"), (0.9, "36 pixels wide")])
def test_a_face_that_is_seen_in_a_part_alone_is_said_to_be_too_small(
    monkeypatch: pytest.MonkeyPatch, times: float, said: str
) -> None:
    """In pixels, or beside the photograph: the smallest that can be rated is large enough for the latter."""
    rule = SimpleNamespace(smallest=40.0)
    found = np.zeros((1, 17))
    found[0, 3:5] = rule.smallest * times
    monkeypatch.setattr(alignment_module, "detections", lambda *_: found)
    error = alignment_module._nothing_found(np.zeros((800, 800, 3), np.uint8), None, rule)  # type: ignore[arg-type]
    assert said in str(error)
    assert ("a part of the photograph" in str(error)) == (times == 1.0)
    monkeypatch.setattr(alignment_module, "detections", lambda *_: found[:0])
    error = alignment_module._nothing_found(np.zeros((800, 800, 3), np.uint8), None, rule)  # type: ignore[arg-type]
    assert str(error).startswith("no face found")
