"""The numpy alignment of an app follows the same rule as the float pipeline's: same frames, same pixels."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from mien.mobile_reference.errors import FaceError
from mien.mobile_reference.front import alignment as numpy_side
from mien.models.appraisal import alignment as torch_side
from mien.models.appraisal.checkpoint import Checkpoint
from mien.models.appraisal.networks.detector import INPUT_SIZE
from mien.models.appraisal.portraits import read_image
from mien.models.errors import CheckpointError, NoFaceError

BLACK = torch.zeros((3, 300, 400), dtype=torch.uint8)
Aligner = Callable[[Tensor], tuple[torch_side.AlignedFace, numpy_side.AlignedFace]]


@pytest.fixture(scope="module")
def detector(checkpoint: Checkpoint) -> numpy_side.Detector:
    @torch.inference_mode()
    def detect(picture: NDArray[np.uint8]) -> NDArray[np.float32]:
        pixels = torch.from_numpy(picture.copy()).permute(2, 0, 1)[None].float()
        return np.asarray(checkpoint.detector(pixels)[0].numpy())

    return detect


@pytest.fixture(scope="module")
def rule(checkpoint: Checkpoint) -> numpy_side.AlignmentRule:
    return numpy_side.AlignmentRule(
        **asdict(checkpoint.config.alignment), detector_size=INPUT_SIZE, sure=torch_side.SURE
    )


@pytest.fixture(scope="module")
def both(checkpoint: Checkpoint, detector: numpy_side.Detector, rule: numpy_side.AlignmentRule) -> Aligner:
    def run(photo: Tensor) -> tuple[torch_side.AlignedFace, numpy_side.AlignedFace]:
        return (
            torch_side.align(photo, checkpoint.detector, checkpoint.config.alignment),
            numpy_side.align(pixels_last(photo), detector, rule),
        )

    return run


def pixels_last(photo: Tensor) -> NDArray[np.uint8]:
    return photo.permute(1, 2, 0).contiguous().numpy()


def assert_alike(ours: torch_side.AlignedFace, theirs: numpy_side.AlignedFace) -> None:
    assert ours.faces == theirs.faces
    np.testing.assert_allclose(theirs.score, ours.score, rtol=1e-12)
    assert theirs.keypoints.tolist() == ours.keypoints.tolist()
    # Both sides count in float64, but add in another order.
    np.testing.assert_allclose(theirs.matrix, ours.matrix.numpy(), atol=1e-6, rtol=1e-7)
    difference = np.abs(theirs.pixels.astype(int) - pixels_last(ours.pixels).astype(int))
    # A pixel whose value lies at a rounding boundary may still fall to the other side.
    assert difference.max() <= 1
    assert (difference > 0).mean() < 1e-4


def test_both_sides_frame_every_sample_alike(samples: list[Path], both: Aligner):
    for path in samples:
        assert_alike(*both(read_image(path)))


def larger(photo: Tensor, factor: float) -> Tensor:
    grown = torch.nn.functional.interpolate(photo[None].float(), scale_factor=factor, mode="bilinear")
    return grown[0].round().to(torch.uint8)


def test_both_sides_frame_a_large_photograph_alike(portrait: Tensor, both: Aligner):
    """The face of 4 times the size is reduced by a box before it is sampled."""
    ours, theirs = both(larger(portrait, 4.0))
    assert np.sqrt(np.linalg.det(theirs.matrix[:, :2])) < 0.5
    assert_alike(ours, theirs)


@pytest.mark.parametrize("odd", [1.13, 2.37])
def test_both_sides_frame_odd_sizes_alike(portrait: Tensor, both: Aligner, odd: float):
    assert_alike(*both(larger(portrait, odd)[:, :-7]))


@pytest.mark.parametrize(
    ("rows", "columns"),
    [(slice(110, None), slice(None)), (slice(None), slice(95, None)), (slice(None), slice(0, 420))],
)
def test_both_sides_frame_a_face_at_the_border_alike(
    portrait: Tensor, both: Aligner, rows: slice, columns: slice
):
    assert_alike(*both(portrait[:, rows, columns]))


def test_both_sides_frame_a_turned_face_alike(portrait: Tensor, both: Aligner):
    turn = torch.tensor([[0.97, -0.22, 60], [0.22, 0.97, -50]], dtype=torch.float64)
    assert_alike(*both(torch_side.warp(portrait, turn, 512)))


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_both_sides_turn_a_photograph_that_is_not_upright_alike(
    portrait: Tensor, both: Aligner, quarters: int
):
    upright, _ = both(portrait)
    ours, theirs = both(torch.rot90(portrait, quarters, (1, 2)))
    assert_alike(ours, theirs)
    roll = np.degrees(np.arctan2(theirs.matrix[1, 0], theirs.matrix[0, 0]))
    assert abs((roll - 90 * quarters + 180) % 360 - 180) < 10
    assert ours.score > torch_side.SURE
    # The first detection frames the turned square as it did the upright one, but for its box filter's border.
    assert ours.score == pytest.approx(upright.score, abs=0.02)


@pytest.mark.parametrize("shape", [(1, 1), (1, 90), (90, 1), (3, 5), (200, 310)])
def test_both_sides_find_no_face_where_there_is_none(shape: tuple[int, int], both: Aligner, detector, rule):
    photo = torch.full((3, *shape), 77, dtype=torch.uint8)
    with pytest.raises(NoFaceError) as ours:
        both(photo)
    with pytest.raises(FaceError) as theirs:
        numpy_side.align(pixels_last(photo), detector, rule)
    assert str(ours.value) == str(theirs.value)


def test_both_sides_refuse_a_small_face_with_the_same_words(portrait: Tensor, both: Aligner, detector, rule):
    small = torch.nn.functional.avg_pool2d(portrait.float(), 8).to(torch.uint8)
    with pytest.raises(NoFaceError, match="pixels wide") as ours:
        both(small)
    with pytest.raises(FaceError) as theirs:
        numpy_side.align(pixels_last(small), detector, rule)
    assert str(ours.value) == str(theirs.value)


@pytest.mark.parametrize(
    ("box", "said"),
    [
        ((0.0, 0.0), "is 0 pixels wide, at least"),
        ((1e-5, 1e-5), "is 0 pixels wide, at least"),
        ((-1.0, -1.0), "is 0 pixels wide, at least"),
        ((1e30, 1e30), "fall together"),
        ((3e38, 0.5), "fall together"),
    ],
)
def test_both_sides_refuse_what_a_damaged_detector_sees_with_the_same_words(
    checkpoint: Checkpoint, rule, box: tuple[float, float], said: str
):
    seen = np.zeros((1, 17), np.float32)
    seen[0, :5], seen[0, 5:] = (0.9, 0.5, 0.5, *box), np.linspace(0.2, 0.8, 12)
    with pytest.raises(NoFaceError, match=said) as ours:
        torch_side.align(BLACK, lambda _: torch.from_numpy(seen)[None], checkpoint.config.alignment)
    with pytest.raises(FaceError) as theirs:
        numpy_side.align(pixels_last(BLACK), lambda _: seen, rule)
    assert str(ours.value) == str(theirs.value)


def test_values_of_a_detector_that_are_not_finite_blame_the_checkpoint(checkpoint: Checkpoint):
    seen = torch.full((1, 1, 17), torch.inf)
    with pytest.raises(CheckpointError, match="the detector gives values that are not finite"):
        torch_side.align(BLACK, lambda _: seen, checkpoint.config.alignment)


@pytest.mark.parametrize(
    ("size", "share", "place"), [((1500, 2000), 256, (650, 900)), ((500, 3000), 400, (50, 40))]
)
def test_a_face_in_a_large_photograph_is_not_called_absent(
    portrait: Tensor, both: Aligner, detector, rule, size: tuple[int, int], share: int, place: tuple[int, int]
):
    photo = torch.full((3, *size), 200, dtype=torch.uint8)
    rows, columns = (slice(start, start + share) for start in place)
    small = torch.nn.functional.interpolate(portrait[None].float(), (share, share), mode="area")[0]
    photo[:, rows, columns] = small.round().to(torch.uint8)
    with pytest.raises(NoFaceError, match="too small a part of the photograph") as ours:
        both(photo)
    with pytest.raises(FaceError) as theirs:
        numpy_side.align(pixels_last(photo), detector, rule)
    assert str(ours.value) == str(theirs.value)
    with pytest.raises(NoFaceError, match="no face found"):
        both(torch.full((3, *size), 200, dtype=torch.uint8))


def test_parts_cover_a_photograph_and_overlap_by_half():
    squares = list(numpy_side.parts(1600, 700, 64))
    assert {square.side for square in squares} == {400}
    assert sorted({square.x for square in squares}) == [200, 400, 600, 800, 1000, 1200, 1400]
    assert sorted({square.y for square in squares}) == [200, 350, 500]
    assert next((s.x, s.y) for s in numpy_side.parts(4000, 600, 64)) == (500, 300)
    assert list(numpy_side.parts(200, 255, 64)) == []


@pytest.mark.parametrize(("height", "width"), [(901, 1333), (200, 2999), (1024, 1024)])
def test_a_part_is_seen_as_in_the_whole_photograph(height: int, width: int):
    photo = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    for part in numpy_side.parts(width, height, 64):
        theirs = numpy_side.warp(photo, part.matrix(INPUT_SIZE), INPUT_SIZE)
        square = torch_side.Square(part.x, part.y, part.side)
        ours = torch_side._view_of_part(torch.from_numpy(photo).permute(2, 0, 1), square).picture
        assert np.abs(theirs.astype(int) - pixels_last(ours).astype(int)).max() <= 1
        assert (theirs != pixels_last(ours)).mean() < 1e-3


@given(
    st.integers(1, 40),
    st.integers(1, 40),
    st.floats(-3.2, 3.2),
    st.floats(0.06, 8),
    st.floats(-40, 40),
    st.floats(-40, 40),
)
@example(8, 8, 0.0, 0.125, 0.0, 0.0)
def test_both_sides_warp_any_picture_alike(
    height: int, width: int, angle: float, scale: float, x: float, y: float
):
    photo = np.random.default_rng(height * 41 + width).integers(0, 256, (height, width, 3), np.uint8)
    a, b = scale * np.cos(angle), scale * np.sin(angle)
    matrix = np.array([[a, -b, x], [b, a, y]])
    theirs = numpy_side.warp(photo, matrix, 16).astype(int)
    ours = torch_side.warp(torch.from_numpy(photo).permute(2, 0, 1), torch.from_numpy(matrix), 16)
    # A value at a rounding boundary may fall to the other side.
    assert np.abs(theirs - pixels_last(ours).astype(int)).max() <= 1


COORDINATES = st.floats(-500, 500, allow_nan=False, width=32)
POINTS = st.lists(st.tuples(COORDINATES, COORDINATES), min_size=4, max_size=4)


@given(POINTS, POINTS)
def test_both_sides_solve_the_similarity_alike(points: list, target: list):
    here, there = np.array(points), np.array(target)
    if np.ptp(here, axis=0).max() < 1:
        return
    ours = torch_side.similarity(torch.from_numpy(here), torch.from_numpy(there)).numpy()
    # One side solves normal equations in complex numbers, the other an orthogonal decomposition.
    np.testing.assert_allclose(numpy_side.similarity(here, there), ours, atol=1e-5, rtol=1e-7)


BOXES = st.lists(st.tuples(st.floats(0.5, 1), *[st.floats(1, 300)] * 4), max_size=15)


@given(BOXES)
def test_both_sides_merge_alike(rows: list):
    """Scores are made distinct: of equal ones either may be taken first."""
    candidates = np.array([[*row, *row[1:3] * 6] for row in rows], dtype=np.float64).reshape(-1, 17)
    candidates[:, 0] += np.arange(len(rows)) * 1e-3
    scores, boxes = torch.from_numpy(candidates[:, 0]), torch.from_numpy(candidates[:, 1:])
    ours = torch_side._merge(scores, boxes, 0.3)
    theirs = numpy_side.merge(candidates, 0.3)
    assert theirs.shape == (len(ours), 17)
    for face, other in zip(theirs, ours, strict=True):
        np.testing.assert_allclose(face, [other.score, *other.values.numpy()], rtol=1e-12)


def test_a_turned_template_is_recovered_exactly():
    template = np.array([(90.0, 100.0), (166.0, 100.0), (128.0, 139.0), (128.0, 179.0)])
    matrix = np.array([[0.6, -0.8, 11.0], [0.8, 0.6, -7.0]]) * 2
    points = (template - matrix[:, 2]) @ np.linalg.inv(matrix[:, :2]).T
    np.testing.assert_allclose(numpy_side.similarity(points, template), matrix, atol=1e-9)
