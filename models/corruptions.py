"""Synthetic anomalies for training: local warps, tints, strokes, transplants and blurs of normal faces.

They are drawn without any anomalous photograph and without knowing where parts of a face lie. How
anomalous a pixel became is read off the picture itself: see ``visible_change``.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

Corruption = Callable[[Tensor, Tensor, Generator], Tensor]
"""Maps a face [3, S, S] in 0..1, a window [1, S, S] in 0..1 and a source of chance to a changed face."""


def uniform(low: float, high: float, chance: Generator) -> float:
    """Draw a number between ``low`` and ``high``."""
    return low + (high - low) * float(torch.rand((), generator=chance))


def smooth_noise(channels: int, cells: int, size: int, chance: Generator) -> Tensor:
    """Draw noise [channels, size, size] of about -1..1 that changes over ``cells`` cells a side."""
    coarse = torch.randn(1, channels, cells, cells, generator=chance)
    return F.interpolate(coarse, size=(size, size), mode="bicubic", align_corners=False)[0]


def random_window(size: int, reach: Tensor, chance: Generator) -> Tensor:
    """Draw a soft, ragged ellipse [1, size, size] centred where ``reach`` [size, size] is positive."""
    centre = int(torch.multinomial(reach.flatten(), 1, generator=chance))
    long = math.exp(uniform(math.log(0.025), math.log(0.2), chance))
    radii = (long, long * uniform(0.25, 1.0, chance))
    angle = uniform(0, math.pi, chance)
    axis = (torch.arange(size) + 0.5) / size
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    x, y = x - (centre % size) / size, y - (centre // size) / size
    along, across = (
        x * math.cos(angle) + y * math.sin(angle),
        y * math.cos(angle) - x * math.sin(angle),
    )
    radius = ((along / radii[0]) ** 2 + (across / radii[1]) ** 2).sqrt()
    ragged = radius * (1 + 0.25 * smooth_noise(1, 10, size, chance)[0])
    hardness = uniform(1.5, 8.0, chance)
    return torch.sigmoid((1 - ragged) * hardness)[None]


def displace(face: Tensor, field: Tensor) -> Tensor:
    """Sample ``face`` [3, S, S] at places moved by ``field`` [2, S, S], in fractions of the picture."""
    axis = (torch.arange(face.shape[-1]) + 0.5) / face.shape[-1]
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    grid = (torch.stack([x, y], dim=-1) + field.permute(1, 2, 0)) * 2 - 1
    return F.grid_sample(face[None], grid[None], padding_mode="reflection", align_corners=False)[0]


def push(face: Tensor, window: Tensor, chance: Generator) -> Tensor:
    """Push a part aside."""
    angle, length = uniform(0, 2 * math.pi, chance), uniform(0.01, 0.07, chance)
    direction = torch.tensor([math.cos(angle), math.sin(angle)]).view(2, 1, 1) * length
    return displace(face, window * direction)


def swell(face: Tensor, window: Tensor, chance: Generator) -> Tensor:
    """Swell or shrink a part about the middle of its window."""
    axis = (torch.arange(face.shape[-1]) + 0.5) / face.shape[-1]
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    weight = window[0] / window.sum()
    away = torch.stack([x - (x * weight).sum(), y - (y * weight).sum()])
    return displace(face, window * away * uniform(-0.6, 0.6, chance))


def ripple(face: Tensor, window: Tensor, chance: Generator) -> Tensor:
    """Warp a part irregularly."""
    field = smooth_noise(2, int(uniform(6, 24, chance)), face.shape[-1], chance)
    return displace(face, window * field * uniform(0.01, 0.05, chance))


def tint(face: Tensor, window: Tensor, chance: Generator) -> Tensor:
    """Stain a part with an even or mottled colour."""
    colour = torch.rand(3, 1, 1, generator=chance) * 0.8
    mottle = 1 + uniform(0, 0.5, chance) * smooth_noise(1, 24, face.shape[-1], chance)
    opacity = (window * mottle * uniform(0.1, 0.9, chance)).clamp(0, 1)
    return face + opacity * (colour - face)


def shade(face: Tensor, window: Tensor, chance: Generator) -> Tensor:
    """Darken, lighten or redden a part."""
    gain = uniform(-0.6, 0.5, chance) + 0.25 * torch.randn(3, 1, 1, generator=chance)
    return face * (1 + window * gain).clamp(0.1, 2.0)


def blurred(face: Tensor, window: Tensor, chance: Generator) -> Tensor:
    """Smooth a part until its details are gone."""
    cells = int(uniform(12, 40, chance))
    small = F.interpolate(face[None], size=(cells, cells), mode="area")
    smooth = F.interpolate(small, size=face.shape[-2:], mode="bicubic", align_corners=False)[0]
    return face + window * (smooth - face)


def transplant(face: Tensor, window: Tensor, chance: Generator) -> Tensor:
    """Cover a part with another place of the same face, perhaps mirrored."""
    shift = [int(uniform(-0.3, 0.3, chance) * face.shape[-1]) for _ in range(2)]
    other = torch.roll(face, shift, dims=(1, 2))
    if uniform(0, 1, chance) < 0.5:
        other = other.flip(2)
    return face + window * (other - face)


def stroke(face: Tensor, window: Tensor, chance: Generator) -> Tensor:
    """Draw a thin curved line, lighter or darker than the skin, through the window."""
    size = face.shape[-1]
    level = smooth_noise(1, int(uniform(3, 8, chance)), size, chance)
    level = level - (level * window).sum() / window.sum()
    slope = (level[:, 1:, 1:] - level[:, :-1, :-1]).abs().mean() + 1e-6
    line = torch.exp(-((level / (slope * uniform(1.0, 4.0, chance))) ** 2)) * window
    colour = 1 + uniform(-0.6, 0.5, chance) * torch.ones(3, 1, 1)
    return face * (1 + line * (colour - 1 + 0.15 * torch.randn(3, 1, 1, generator=chance)))


CORRUPTIONS: tuple[Corruption, ...] = (
    push,
    swell,
    ripple,
    tint,
    shade,
    blurred,
    transplant,
    stroke,
)


def corrupt(face: Tensor, reach: Tensor, chance: Generator) -> Tensor:
    """Change a face [3, S, S] by one to three corruptions, each in a window of its own or a shared one."""
    changed = face
    window = random_window(face.shape[-1], reach, chance)
    for _ in range(int(uniform(1, 4, chance))):
        pick = int(torch.randint(len(CORRUPTIONS), (), generator=chance))
        changed = CORRUPTIONS[pick](changed, window, chance)
        if uniform(0, 1, chance) < 0.4:
            window = random_window(face.shape[-1], reach, chance)
    return changed.clamp(0, 1)


def visible_change(before: Tensor, after: Tensor, size: int) -> Tensor:
    """Grade how visibly faces [N, 3, S, S] changed: [N, 1, size, size] in 0..1.

    A mean difference of 0.08 (of 1) over a place and its surroundings counts as fully anomalous, so a
    warp of plain skin counts little and a warp of a lip counts much.
    """
    difference = (after - before).abs().mean(dim=1, keepdim=True)
    local = F.adaptive_avg_pool2d(difference, size)
    spread = F.avg_pool2d(F.pad(local, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    return (torch.maximum(local, spread) / 0.08).clamp(0, 1)
