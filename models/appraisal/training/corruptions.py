"""Synthetic anomalies for training: local warps, tints, strokes, transplants and blurs of normal faces.

They are drawn without any anomalous photograph and without knowing where parts of a face lie. How
anomalous a place became is not what was drawn but what the teacher sees of it: see ``StudentTask``.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

Corruption = Callable[[Tensor, Tensor, float, Generator], Tensor]
"""Maps a face [3, S, S] in 0..1, a window [1, S, S] in 0..1, a strength 0..1 and a random generator to a
changed face."""


def uniform(low: float, high: float, rng: Generator) -> float:
    """Draw a number between ``low`` and ``high``."""
    return low + (high - low) * float(torch.rand((), generator=rng))


def pick(count: int, rng: Generator) -> int:
    """Draw one of ``count`` numbers from 0."""
    return int(torch.randint(count, (), generator=rng))


def pick_pixel(likely: Tensor, rng: Generator) -> tuple[int, int]:
    """Draw the column and row of a pixel of a square map [S, S] that says how likely each is."""
    row, column = divmod(int(torch.multinomial(likely.flatten(), 1, generator=rng)), likely.shape[-1])
    return column, row


def turned(x: Tensor, y: Tensor, angle: float) -> tuple[Tensor, Tensor]:
    """Return the places (x, y) along and across a direction."""
    cosine, sine = math.cos(angle), math.sin(angle)
    return x * cosine + y * sine, y * cosine - x * sine


def smooth_noise(channels: int, cells: int, size: int, rng: Generator) -> Tensor:
    """Draw noise [channels, size, size] of about -1..1 that changes over ``cells`` cells a side."""
    coarse = torch.randn(1, channels, cells, cells, generator=rng)
    return F.interpolate(coarse, size=(size, size), mode="bicubic", align_corners=False)[0]


def random_window(size: int, reach: Tensor, rng: Generator) -> Tensor:
    """Draw a soft, ragged ellipse [1, size, size] centred where ``reach`` [size, size] is positive."""
    column, row = pick_pixel(reach, rng)
    long = math.exp(uniform(math.log(0.025), math.log(0.2), rng))
    radii = (long, long * uniform(0.25, 1.0, rng))
    angle = uniform(0, math.pi, rng)
    axis = (torch.arange(size) + 0.5) / size
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    along, across = turned(x - column / size, y - row / size, angle)
    radius = ((along / radii[0]) ** 2 + (across / radii[1]) ** 2).sqrt()
    ragged = radius * (1 + 0.25 * smooth_noise(1, 10, size, rng)[0])
    hardness = uniform(1.5, 8.0, rng)
    return torch.sigmoid((1 - ragged) * hardness)[None]


def displace(face: Tensor, field: Tensor) -> Tensor:
    """Sample ``face`` [3, S, S] at places moved by ``field`` [2, S, S], in fractions of the picture."""
    grid = (torch.stack(places(face), dim=-1) + field.permute(1, 2, 0)) * 2 - 1
    return F.grid_sample(face[None], grid[None], padding_mode="reflection", align_corners=False)[0]


def places(face: Tensor) -> tuple[Tensor, Tensor]:
    """Return the columns and rows of a face [3, S, S] as [S, S], in fractions of the picture."""
    axis = (torch.arange(face.shape[-1]) + 0.5) / face.shape[-1]
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    return x, y


def from_middle(face: Tensor, window: Tensor) -> Tensor:
    """Return the way [2, S, S] from the middle of a window to every place."""
    x, y = places(face)
    weight = window[0] / window.sum()
    return torch.stack([x - (x * weight).sum(), y - (y * weight).sum()])


def slant(face: Tensor, window: Tensor, rng: Generator) -> Tensor:
    """Draw a slope [1, S, S] through the middle of a window, within which it reaches about -1 or 1."""
    slope = (from_middle(face, window) * heading(rng)).sum(dim=0, keepdim=True)
    return slope / (slope.abs() * window).max()


def lit(face: Tensor, window: Tensor, gain: Tensor) -> Tensor:
    """Lighten what lies in a window by a share ``gain`` of its colours, or darken it."""
    return face * (1 + window * gain).clamp(0.1, 2.0)


def heading(rng: Generator) -> Tensor:
    """Draw a direction, [2, 1, 1] of length 1."""
    angle = uniform(0, 2 * math.pi, rng)
    return torch.tensor([math.cos(angle), math.sin(angle)]).view(2, 1, 1)


def either(low: float, high: float, rng: Generator) -> float:
    """Draw a number whose size is between ``low`` and ``high``, of either sign."""
    size = uniform(low, high, rng)
    return size if uniform(0, 1, rng) < 0.5 else -size


def push(face: Tensor, window: Tensor, strength: float, rng: Generator) -> Tensor:
    """Push a part aside."""
    return displace(face, window * heading(rng) * strength * uniform(0.02, 0.08, rng))


def swell(face: Tensor, window: Tensor, strength: float, rng: Generator) -> Tensor:
    """Swell or shrink a part about the middle of its window."""
    return displace(face, window * from_middle(face, window) * strength * either(0.2, 0.8, rng))


def bulge(face: Tensor, window: Tensor, strength: float, rng: Generator) -> Tensor:
    """Swell a part and light it as a bump from one side."""
    swollen = displace(face, -window * from_middle(face, window) * strength * uniform(0.2, 0.7, rng))
    return lit(swollen, window * strength, slant(face, window, rng) * uniform(0.1, 0.5, rng))


def squeeze(face: Tensor, window: Tensor, strength: float, rng: Generator) -> Tensor:
    """Stretch or squeeze a part along one direction."""
    along = heading(rng)
    share = (from_middle(face, window) * along).sum(dim=0, keepdim=True)
    return displace(face, window * share * along * strength * either(0.3, 1.0, rng))


def ripple(face: Tensor, window: Tensor, strength: float, rng: Generator) -> Tensor:
    """Warp a part irregularly."""
    field = smooth_noise(2, int(uniform(6, 24, rng)), face.shape[-1], rng)
    return displace(face, window * field * strength * uniform(0.01, 0.05, rng))


def tint(face: Tensor, window: Tensor, strength: float, rng: Generator) -> Tensor:
    """Stain a part with an even or mottled colour."""
    colour = torch.rand(3, 1, 1, generator=rng) * 0.9
    mottle = 1 + uniform(0, 0.5, rng) * smooth_noise(1, 24, face.shape[-1], rng)
    opacity = (window * mottle * strength * uniform(0.2, 1.0, rng)).clamp(0, 1)
    return face + opacity * (colour - face)


def shade(face: Tensor, window: Tensor, strength: float, rng: Generator) -> Tensor:
    """Darken, lighten or redden a part, evenly or as if its surface were bent."""
    gain = uniform(-0.7, 0.5, rng) + 0.25 * torch.randn(3, 1, 1, generator=rng)
    if uniform(0, 1, rng) < 0.4:
        gain = gain * slant(face, window, rng).clamp(-1, 1)
    return lit(face, window * strength, gain)


def blurred(face: Tensor, window: Tensor, strength: float, rng: Generator) -> Tensor:
    """Smooth a part until its details are gone."""
    cells = int(uniform(12, 40, rng))
    small = F.interpolate(face[None], size=(cells, cells), mode="area")
    smooth = F.interpolate(small, size=face.shape[-2:], mode="bicubic", align_corners=False)[0]
    return face + window * strength * (smooth - face)


def transplant(face: Tensor, window: Tensor, strength: float, rng: Generator) -> Tensor:
    """Cover a part with another place of the same face, perhaps mirrored."""
    shift = [int(uniform(-0.3, 0.3, rng) * face.shape[-1]) for _ in range(2)]
    other = torch.roll(face, shift, dims=(1, 2))
    if uniform(0, 1, rng) < 0.5:
        other = other.flip(2)
    return face + window * strength * (other - face)


def stroke(face: Tensor, window: Tensor, strength: float, rng: Generator) -> Tensor:
    """Draw thin curved lines through the window, lighter, darker or redder than the skin about them.

    They cover what they cross: where a scar runs through a brow, no hair grows.
    """
    size = face.shape[-1]
    level = smooth_noise(1, int(uniform(3, 8, rng)), size, rng)
    level = level - (level * window).sum() / window.sum()
    slope = (level[:, 1:, 1:] - level[:, :-1, :-1]).abs().mean() + 1e-6
    breadth = slope * uniform(1.0, 4.0, rng)
    around = (face * window).sum(dim=(1, 2), keepdim=True) / window.sum()
    colour = around * (1 + either(0.1, 0.7, rng) + 0.25 * torch.randn(3, 1, 1, generator=rng))
    if uniform(0, 1, rng) < 0.5:
        colour = colour * torch.tensor([1.15, 0.6, 0.65]).view(3, 1, 1)
    line = torch.exp(-((level / breadth) ** 2)) * window * strength
    return face + line * (colour.clamp(0, 1) - face)


CORRUPTIONS: tuple[Corruption, ...] = (
    push,
    swell,
    bulge,
    squeeze,
    ripple,
    tint,
    shade,
    blurred,
    transplant,
    stroke,
)
# Thin lines change so few places that they are drawn twice as often.
_DRAWN = (*CORRUPTIONS, stroke)
# What lies upon a place without bending it, lines again twice as often.
_MARKS: tuple[Corruption, ...] = (stroke, stroke, tint, shade)


def detail(face: Tensor) -> Tensor:
    """Tell where a face [3, S, S] has features rather than plain skin, [S, S], of mean 1."""
    roughness = (face - F.avg_pool2d(face, 9, 1, 4)).abs().mean(dim=0, keepdim=True)
    spread = F.avg_pool2d(roughness, 15, 1, 7)[0]
    return spread / spread.mean()


def corrupt(face: Tensor, reach: Tensor, rng: Generator) -> Tensor:
    """Change a face [3, S, S] where ``reach`` [S, S] is positive: somehow, or by a mark."""
    draw = (_change, _mark)[int(uniform(0, 2, rng))]
    return draw(face, reach, rng).clamp(0, 1)


def _change(face: Tensor, reach: Tensor, rng: Generator) -> Tensor:
    """Change a face by one to three corruptions, each in a window of its own or a shared one."""
    strength = uniform(0.1, 1, rng)
    window = _window(face, reach, rng)
    for _ in range(int(uniform(1, 4, rng))):
        face = _DRAWN[pick(len(_DRAWN), rng)](face, window, strength, rng)
        if uniform(0, 1, rng) < 0.3:
            window = _window(face, reach, rng)
    return face


def _mark(face: Tensor, reach: Tensor, rng: Generator) -> Tensor:
    """Draw strokes or a stain, of which many lie across brows, lids or lips and look like part of them."""
    mark = _MARKS[pick(len(_MARKS), rng)]
    return mark(face, _window(face, reach, rng), uniform(0.2, 1, rng), rng)


def _window(face: Tensor, reach: Tensor, rng: Generator) -> Tensor:
    return random_window(face.shape[-1], likely(face, reach, rng), rng)


def likely(face: Tensor, reach: Tensor, rng: Generator) -> Tensor:
    """Tell how likely each place [S, S] is to be picked: all within reach alike, or features more."""
    return reach if uniform(0, 1, rng) < 0.5 else reach * detail(face) ** 2
