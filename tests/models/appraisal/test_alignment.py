"""Detection and alignment in PyTorch: faces are found where they are, and nowhere else."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from mien.models.appraisal.alignment import _merge, align, similarity, warp
from mien.models.appraisal.checkpoint import TEMPLATE, Checkpoint
from mien.models.appraisal.portraits import read_image
from mien.models.errors import NoFaceError

COORDINATES = st.floats(-1000, 1000, allow_nan=False, width=32)
POINTS = st.lists(st.tuples(COORDINATES, COORDINATES), min_size=4, max_size=4, unique=True)


def framed(photo: Tensor, checkpoint: Checkpoint) -> Tensor:
    return align(photo, checkpoint.detector, checkpoint.config.alignment).matrix


def spread(points: Tensor) -> float:
    return float((points - points.mean(dim=0)).norm())


def moved(points: Tensor, matrix: Tensor) -> Tensor:
    return points.double() @ matrix[:, :2].T + matrix[:, 2]


def test_every_sample_shows_one_face_near_its_middle(samples: list[Path], checkpoint: Checkpoint):
    for path in samples:
        face = align(read_image(path), checkpoint.detector, checkpoint.config.alignment)
        assert face.faces == 1, path.name
        assert face.pixels.shape == (3, 256, 256)
        assert face.pixels.dtype == torch.uint8
        assert face.picture.shape == (3, 128, 128)
        assert face.matrix.dtype == torch.float64
        middle = moved(torch.tensor([[256.0, 256.0]]), face.matrix)[0]
        assert (middle - 128).abs().max() < 64, path.name


@pytest.mark.parametrize("seed", range(5))
def test_noise_shows_no_face(checkpoint: Checkpoint, seed: int):
    rng = torch.Generator().manual_seed(seed)
    noise = torch.randint(0, 256, (3, 300, 400), generator=rng, dtype=torch.uint8)
    with pytest.raises(NoFaceError, match="no face found"):
        framed(noise, checkpoint)


@pytest.mark.parametrize("shape", [(1, 1), (1, 700), (700, 1), (2, 3), (300, 300)])
def test_a_plain_picture_of_any_shape_shows_no_face(checkpoint: Checkpoint, shape: tuple[int, int]):
    with pytest.raises(NoFaceError, match="no face found"):
        framed(torch.full((3, *shape), 128, dtype=torch.uint8), checkpoint)


def test_a_small_face_is_refused_with_its_width(portrait: Tensor, checkpoint: Checkpoint):
    small = torch.nn.functional.avg_pool2d(portrait.float(), 8).to(torch.uint8)
    with pytest.raises(NoFaceError, match=r"largest face is \d\d pixels wide, at least 64"):
        framed(small, checkpoint)


def test_the_larger_of_two_faces_is_framed(portrait: Tensor, checkpoint: Checkpoint):
    half = torch.nn.functional.avg_pool2d(portrait.float(), 2).to(torch.uint8)
    beside = torch.zeros(3, 512, 256, dtype=torch.uint8)
    beside[:, 128:384] = half
    for pair, shift in ((torch.cat([beside, portrait], 2), 256), (torch.cat([portrait, beside], 2), 0)):
        face = align(pair, checkpoint.detector, checkpoint.config.alignment)
        assert face.faces == 2
        alone = framed(portrait, checkpoint)
        eyes = torch.linalg.inv(alone[:, :2]) @ (torch.tensor(TEMPLATE[:2]).double().T - alone[:, 2:])
        found = moved(eyes.T + torch.tensor([shift, 0]), face.matrix)
        # The second detection starts from another first detection, so keypoints differ by some pixels of 256.
        assert (found - torch.tensor(TEMPLATE[:2]).double()).abs().max() < 8


def test_a_shifted_photograph_gives_a_shifted_frame(portrait: Tensor, checkpoint: Checkpoint):
    wide = torch.nn.functional.pad(portrait, (70, 0, 40, 0), value=90)
    here, there = framed(portrait, checkpoint), framed(wide, checkpoint)
    points = torch.tensor([[180.0, 200.0], [330.0, 200.0], [256.0, 350.0]])
    # As above: another first detection.
    shift = moved(points, here) - moved(points + torch.tensor([70.0, 40.0]), there)
    assert shift.abs().max() < 8


@given(POINTS, st.floats(-3, 3), st.floats(0.05, 20), COORDINATES, COORDINATES)
def test_a_similarity_is_recovered(
    points: list[tuple[float, float]], angle: float, scale: float, x: float, y: float
):
    here = torch.tensor(points, dtype=torch.float64)
    if spread(here) < 1:
        return
    turn = scale * torch.tensor(
        [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]], dtype=torch.float64
    )
    matrix = torch.cat([turn, torch.tensor([[x], [y]], dtype=torch.float64)], dim=1)
    found = similarity(here, moved(here, matrix))
    torch.testing.assert_close(found, matrix, atol=1e-6 * scale * 1000, rtol=1e-6)


@given(POINTS, POINTS)
def test_a_similarity_turns_and_scales_without_shear_or_mirror(
    points: list[tuple[float, float]], target: list[tuple[float, float]]
):
    here, there = (torch.tensor(p, dtype=torch.float64) for p in (points, target))
    if spread(here) < 1:
        return
    (a, b, x), (c, d, y) = similarity(here, there).tolist()
    assert a == d
    assert b == -c
    # Least squares: no small change of the four numbers is better.
    best = (moved(here, torch.tensor([[a, b, x], [c, d, y]]).double()) - there).square().sum()
    for da, dc, dx, dy in np.eye(4) * 1e-3:
        other = torch.tensor([[a + da, b - dc, x + dx], [c + dc, d + da, y + dy]]).double()
        assert best <= (moved(here, other) - there).square().sum() * (1 + 1e-9) + 1e-6


def test_the_unmoved_frame_is_the_photograph(portrait: Tensor):
    same = torch.tensor([[1, 0, 0], [0, 1, 0]], dtype=torch.float64)
    assert torch.equal(warp(portrait, same, 256), portrait[:, :256, :256])


def test_reducing_by_a_whole_number_averages_boxes(portrait: Tensor):
    half = torch.tensor([[0.5, 0, -0.25], [0, 0.5, -0.25]], dtype=torch.float64)
    expected = torch.nn.functional.avg_pool2d(portrait.double(), 2)
    assert torch.equal(warp(portrait, half, 256), torch.floor(expected + 0.5).to(torch.uint8))


def test_beyond_the_photograph_its_border_goes_on():
    photo = torch.arange(12, dtype=torch.uint8).view(1, 3, 4).repeat(3, 1, 1)
    away = torch.tensor([[1, 0, 100], [0, 1, 100]], dtype=torch.float64)
    assert torch.equal(warp(photo, away, 16), torch.zeros(3, 16, 16, dtype=torch.uint8))


def candidates(*boxes: tuple[float, float, float]) -> Tensor:
    """Rows of 16 values: squares (x, y, side) with all keypoints at their centre."""
    return torch.tensor([[x, y, side, side, *[x, y] * 6] for x, y, side in boxes]).double()


def test_candidates_that_overlap_are_blended_by_score():
    scores = torch.tensor([0.9, 0.6, 0.8]).double()
    faces = _merge(scores, candidates((100, 100, 80), (103, 100, 80), (400, 100, 80)), 0.3)
    assert len(faces) == 2
    torch.testing.assert_close(faces[0].values, candidates((100 + 3 * 0.6 / 1.5, 100, 80))[0])
    torch.testing.assert_close(faces[1].values, candidates((400, 100, 80))[0])


@given(st.lists(st.tuples(*[st.floats(1, 500)] * 3, st.floats(0.5, 1)), max_size=12))
def test_merging_keeps_faces_apart_and_inside_what_was_found(rows: list[tuple[float, ...]]):
    boxes = candidates(*(row[:3] for row in rows)) if rows else torch.zeros(0, 16).double()
    scores = torch.tensor([row[3] for row in rows]).double()
    faces = _merge(scores, boxes, 0.3)
    assert len(faces) <= len(rows)
    assert bool(faces) == bool(rows)
    for face in faces:
        # Weighted means round.
        assert (face.values >= boxes.amin(dim=0) - 1e-9).all()
        assert (face.values <= boxes.amax(dim=0) + 1e-9).all()


def test_a_candidate_without_size_does_not_loop_for_ever():
    assert len(_merge(torch.tensor([0.9, 0.8]), candidates((5, 5, 0), (5, 5, 0)), 0.3)) == 2
