"""What is ordinary upon faces, and what cameras do to them."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Generator, Tensor

from mien.models.appraisal.training import nuisance
from mien.models.appraisal.training.camera import Camera, draw_camera
from mien.models.appraisal.training.nuisance import NUISANCES, WORN, Nuisance, ordinary

SEEDS = st.integers(0, 2**31 - 1)
DRAWN = [draw for draw, _ in NUISANCES]


def rng(seed: int) -> Generator:
    return Generator().manual_seed(seed)


@pytest.mark.parametrize("draw", DRAWN, ids=lambda draw: draw.__name__)
@given(seed=SEEDS)
@settings(max_examples=10)
def test_a_nuisance_keeps_the_shape_and_follows_its_seed(small: Tensor, draw: Nuisance, seed: int):
    before = small.clone()
    changed = draw(small, rng(seed))
    assert changed.shape == small.shape
    assert torch.isfinite(changed).all()
    assert torch.equal(changed, draw(small, rng(seed)))
    assert torch.equal(small, before)


@pytest.mark.parametrize("draw", DRAWN, ids=lambda draw: draw.__name__)
def test_a_nuisance_can_be_seen(small: Tensor, draw: Nuisance):
    moved = [float((draw(small, rng(seed)).clamp(0, 1) - small).abs().max()) for seed in range(8)]
    assert max(moved) > 0.05


def test_glasses_lie_about_the_eyes_and_leave_mouth_and_chin_alone(small: Tensor):
    moved = torch.stack([(nuisance.glasses(small, rng(s)) - small).abs().amax(dim=0) for s in range(20)])
    about, below = moved[:, 18:33, 12:52], moved[:, 42:, 12:52]
    assert about.amax(dim=(1, 2)).min() > 0.05
    assert below.max() < 0.05


def test_a_beard_leaves_the_upper_face_alone(small: Tensor):
    moved = torch.stack([(nuisance.beard(small, rng(seed)) - small).abs() for seed in range(20)])
    assert moved[:, :, :24].max() < 0.02
    assert moved[:, :, 38:].max() > 0.2


@pytest.mark.parametrize("draw", [nuisance.side_light, nuisance.brim_shadow, nuisance.top_light])
def test_a_shadow_darkens_and_never_lightens(small: Tensor, draw: Nuisance):
    for seed in range(8):
        assert (draw(small, rng(seed)) - small).max() < 1e-6


def test_a_rate_of_0_leaves_faces_as_they_are(small: Tensor):
    assert all(torch.equal(ordinary(small, rng(seed), 0.0), small) for seed in range(10))


def test_a_quarter_of_the_faces_stays_as_it_is_whatever_the_rate(small: Tensor):
    plain = sum(torch.equal(ordinary(small, rng(seed), 1.0), small) for seed in range(60))
    # Of 60 a quarter, with four standard deviations.
    assert 2 <= plain <= 28


def test_an_ordinary_face_stays_in_range(small: Tensor):
    drawn = torch.stack([ordinary(small, rng(seed), 1.0) for seed in range(20)])
    assert 0 <= drawn.min() <= drawn.max() <= 1


def test_nobody_wears_two_pairs_of_glasses(small: Tensor, monkeypatch: pytest.MonkeyPatch):
    """The same chance draws glasses on a bare face, and none on one that has them."""
    monkeypatch.setattr(nuisance, "NUISANCES", tuple((draw, 1.0) for draw in WORN))
    pairs = [(ordinary(small, rng(s), 1.0), ordinary(small, rng(s), 1.0, bare=False)) for s in range(12)]
    assert all(torch.equal(worn, small) for _, worn in pairs)
    assert any(not torch.equal(bare, small) for bare, _ in pairs)


def test_a_plain_camera_takes_a_face_as_it_is(small: Tensor):
    assert torch.equal(Camera().take(small), small)


@pytest.mark.parametrize(
    ("camera", "sharper"),
    [
        (Camera(reduced=0.5), False),
        (Camera(blur=1.0), False),
        (Camera(sharpening=0.5), True),
    ],
)
def test_a_camera_blurs_or_sharpens_without_a_shift_of_brightness(
    small: Tensor, camera: Camera, *, sharper: bool
):
    taken = camera.take(small)

    def roughness(face: Tensor) -> Tensor:
        return (face[..., 1:] - face[..., :-1]).abs().mean()

    assert taken.shape == small.shape
    assert 0 <= taken.min() <= taken.max() <= 1
    assert bool(roughness(taken) > roughness(small)) is sharper
    assert taken.mean() == pytest.approx(small.mean().item(), abs=0.005)


def test_jpeg_of_less_quality_is_further_from_the_face(small: Tensor):
    errors = [float((Camera(quality=q).take(small) - small).abs().mean()) for q in (95, 60, 20)]
    assert 0 < errors[0] < errors[1] < errors[2] < 0.1


def test_a_camera_is_drawn_from_its_seed_and_many_take_faces_as_they_are():
    drawn = [draw_camera(rng(seed)) for seed in range(200)]
    assert drawn == [draw_camera(rng(seed)) for seed in range(200)]
    # 0.85 * 0.75 * 0.8 * 0.55 = 0.28, within four standard deviations.
    assert 0.15 < sum(camera == Camera() for camera in drawn) / 200 < 0.41
    assert all(35 <= camera.quality <= 95 for camera in drawn if camera.quality)
