"""What is normal about a face and yet varies: camera, light, frame, proportions, skin."""

import math

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from mien.models.appraisal.networks.layers import upsample
from mien.models.appraisal.training.corruptions import smooth_noise, uniform

# How often a face is given the brightness of another skin, and how bright skins are, 0..1. What is white
# in the face stays lighter than what is not.
_OTHER_SKIN = 0.25
_SKINS = (0.18, 0.6)


def brightness(faces: Tensor) -> Tensor:
    """Return how bright the middle of each face [K, 3, S, S] is, [K] in their unit: mostly its skin."""
    low, high = faces.shape[-1] * 3 // 8, faces.shape[-1] * 3 // 4
    return faces[:, :, low:high, low:high].float().mean(dim=(1, 2, 3))


def vary(face: Tensor, rng: Generator) -> Tensor:
    """Return a face [3, S, S] as another camera, light and detector, or a like person, might have it."""
    if uniform(0, 1, rng) < 0.5:
        face = face.flip(2)
    face = _reframe(face, rng)
    gamma = uniform(0.75, 1.35, rng)
    if uniform(0, 1, rng) < _OTHER_SKIN:
        skin = float(brightness(face[None]).clamp(0.05, 0.95))
        gamma = max(math.log(uniform(*_SKINS, rng)) / math.log(skin), 0.75)
    gain = uniform(0.8, 1.15, rng) + 0.06 * torch.randn(3, 1, 1, generator=rng)
    light = 1 + 0.12 * smooth_noise(1, 3, face.shape[-1], rng)
    face = (face.clamp(1e-3, 1) ** gamma * gain * light).clamp(0, 1)
    if uniform(0, 1, rng) < 0.3:
        small = int(face.shape[-1] * uniform(0.4, 0.9, rng))
        face = upsample(F.interpolate(face[None], size=(small, small), mode="area"), face.shape[-1])[0]
    return face.clamp(0, 1)


def _proportions(size: int, rng: Generator) -> Tensor:
    """Draw by how much another face is shaped otherwise, alike on both halves, [2, S, S] in shares of it."""
    across, down = smooth_noise(2, 5, size, rng) * uniform(0, 0.012, rng)
    return torch.stack([across - across.flip(1), down + down.flip(1)]) / 2


def _reframe(face: Tensor, rng: Generator) -> Tensor:
    """Turn by up to 4 degrees, scale by up to 5 %, shift by up to 4 pixels and change proportions."""
    angle = torch.tensor(uniform(-0.07, 0.07, rng))
    scale = uniform(0.95, 1.05, rng)
    shift = [uniform(-0.03, 0.03, rng) for _ in range(2)]
    theta = torch.stack(
        [
            torch.stack([scale * angle.cos(), -scale * angle.sin(), torch.tensor(shift[0])]),
            torch.stack([scale * angle.sin(), scale * angle.cos(), torch.tensor(shift[1])]),
        ]
    )
    grid = F.affine_grid(theta[None], [1, *face.shape], align_corners=False)
    grid = grid + 2 * _proportions(face.shape[-1], rng).permute(1, 2, 0)
    return F.grid_sample(face[None], grid, padding_mode="border", align_corners=False)[0]
