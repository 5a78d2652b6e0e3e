"""Anomalies of known severity for training: clefts, spots, droops, swellings and scars.

They are drawn where an aligned face has its parts, or anywhere, in ranges wide enough for what a clinic
might see. Severity, 0..1, makes the same anomaly larger and stronger. Lengths are shares of the picture.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from .corruptions import (
    displace,
    either,
    heading,
    likely,
    lit,
    pick,
    pick_pixel,
    places,
    smooth_noise,
    turned,
    uniform,
)

Deformity = Callable[[Tensor, Tensor, float, Generator], Tensor]
"""Maps a face [3, S, S] in 0..1, a reach [S, S], a severity 0..1 and a random generator to a changed face."""

# Where an aligned face has the middle of its mouth, and how far from the middle line nostrils, corners of
# the mouth and eyes lie.
_MIDDLE, _MOUTH, _NOSTRILS, _EYES = 0.5, 0.70, 0.56, 0.39
_NOSTRIL_ASIDE, _CORNER_ASIDE, _EYE_ASIDE = 0.055, 0.1, 0.148
_STEPS = 40
# What a dark mark keeps of the skin's colours: a naevus may be nearly black, a scar is brown at most.
_DARK_SPOT, _DARK_SCAR = (0.15, 0.55), (0.4, 0.7)


class _Place(NamedTuple):
    x: float
    y: float


def _side(rng: Generator) -> int:
    return 1 if uniform(0, 1, rng) < 0.5 else -1


def _near(x: float, y: float, spread: float, rng: Generator) -> _Place:
    return _Place(x + uniform(-spread, spread, rng), y + uniform(-spread, spread, rng))


def _anywhere(face: Tensor, reach: Tensor, rng: Generator) -> _Place:
    """Draw a place where ``reach`` [S, S] is positive, as often as not where the face has features."""
    size = reach.shape[-1]
    column, row = pick_pixel(likely(face, reach, rng), rng)
    return _Place((column + 0.5) / size, (row + 0.5) / size)


def _away(face: Tensor, middle: _Place) -> tuple[Tensor, Tensor]:
    """Return how far to the right of a place and below it every pixel lies, [S, S] each."""
    x, y = places(face)
    return x - middle.x, y - middle.y


def _dome(face: Tensor, middle: _Place, across: float, down: float) -> Tensor:
    """Return a smooth bump [1, S, S] of height 1, half as high at ``across`` and ``down`` from its middle."""
    x, y = _away(face, middle)
    squares = (x / across) ** 2 + (y / down) ** 2
    return torch.exp2(-(squares**1.5))[None]


def _moved(face: Tensor, window: Tensor, right: float | Tensor, down: float | Tensor) -> Tensor:
    """Move what lies in a window by so much to the right and down."""
    x, y = places(face)
    field = torch.stack([x.new_zeros(x.shape) - right, y.new_zeros(y.shape) - down])
    return displace(face, window * field)


def _dyed(face: Tensor, cover: Tensor, kept: Tensor, added: Tensor) -> Tensor:
    """Keep a share of the skin's colours and add to them, where ``cover`` [1, S, S] is 1."""
    return face + cover.clamp(0, 1) * (face * kept.view(3, 1, 1) + added.view(3, 1, 1) - face)


def _marked(
    face: Tensor, cover: Tensor, strength: Tensor, dark: tuple[float, float], rng: Generator
) -> Tensor:
    """Lay a tone on what ``cover`` [1, S, S] covers, the plainer one of two: pale on pale is not severe."""
    skin = (face * cover).sum(dim=(1, 2)) / cover.sum()

    def contrast(tone: tuple[Tensor, Tensor]) -> float:
        kept, added = tone
        return float(((skin * kept + added).clamp(0.02, 1) / skin.clamp(min=0.02)).log().abs().sum())

    return _dyed(face, cover * strength, *max(_tone(dark, rng), _tone(dark, rng), key=contrast))


def _tone(dark: tuple[float, float], rng: Generator) -> tuple[Tensor, Tensor]:
    """Draw what a mark keeps of the skin's colours and adds to them: dark, red or pale ones."""
    uneven = 0.08 * torch.randn(3, generator=rng)
    brown = (torch.full((3,), uniform(*dark, rng)) + uneven, torch.zeros(3))
    red = (torch.tensor([0.85, 0.5, 0.52]) * uniform(0.7, 1.1, rng), torch.tensor([0.06, 0.01, 0.02]))
    pale = (torch.full((3,), uniform(0.6, 0.8, rng)), torch.full((3,), uniform(0.15, 0.35, rng)))
    kept, added = (brown, brown, red, red, pale)[int(uniform(0, 5, rng))]
    return kept.clamp(0.05, 1), added + 0.02 * torch.randn(3, generator=rng)


class _Gap(NamedTuple):
    """A split of the upper lip, all maps [S, S] or [1, S, S].

    ``half`` is its greatest half width; ``risen`` tells how far up a place lies, 0 at the mouth's line and 1
    at the top, ``aside`` how far from the split's middle; ``opening`` is 1 in it, ``lip`` about it.
    """

    half: float
    risen: Tensor
    aside: Tensor
    opening: Tensor
    lip: Tensor


def cleft(face: Tensor, _reach: Tensor, severity: float, rng: Generator) -> Tensor:
    """Split the upper lip from the mouth's line towards a nostril, which widens and sinks."""
    side = _side(rng)
    gap = _gap(face, side, severity, rng)
    parted = _parted(face, gap, severity, rng)
    sunk = _sunk(parted, side, severity, rng)
    tissue = _tissue(face, gap, rng)
    return sunk + gap.opening * (uniform(0.4, 0.65, rng) + 0.35 * severity) * (tissue - sunk)


def _gap(face: Tensor, side: int, severity: float, rng: Generator) -> _Gap:
    foot = _near(_MIDDLE + side * uniform(0, 0.05, rng), _MOUTH - 0.005, 0.012, rng)
    height = uniform(0.09, 0.12, rng) * (0.35 + 0.65 * severity)
    half = uniform(0.008, 0.012, rng) + uniform(0.016, 0.026, rng) * severity
    x, y = places(face)
    risen = ((foot.y - y) / height).clamp(-1, 1.2)
    aside = x - foot.x - side * uniform(-0.01, 0.02, rng) * risen
    aside = aside + 0.003 * smooth_noise(1, 16, face.shape[-1], rng)[0]
    breadth = half * (1 - risen).clamp(0, 1) ** uniform(0.4, 1.2, rng)
    edge = uniform(0.003, 0.008, rng)
    above = torch.sigmoid((foot.y - y) / edge)
    opening = torch.sigmoid((breadth - aside.abs()) / edge) * above * (risen < 1)
    lip = _dome(face, _Place(foot.x, foot.y - height / 2), 0.08, height * 0.8) * above
    return _Gap(half, risen, aside, opening, lip)


def _parted(face: Tensor, gap: _Gap, severity: float, rng: Generator) -> Tensor:
    """Draw the lip apart, and up."""
    apart = torch.tanh(gap.aside / 0.02) * gap.half * uniform(0.3, 0.8, rng)
    return _moved(
        _moved(face, gap.lip, apart, 0.0), gap.lip, 0.0, -gap.half * severity * uniform(0, 0.6, rng)
    )


def _sunk(face: Tensor, side: int, severity: float, rng: Generator) -> Tensor:
    """Widen the nostril above a split lip and let it sink."""
    nostril = _near(_MIDDLE + side * _NOSTRIL_ASIDE, _NOSTRILS, 0.01, rng)
    slack = severity * uniform(0, 0.025, rng)
    return _moved(face, _dome(face, nostril, 0.04, 0.035), side * slack, slack * uniform(0, 1.2, rng))


def _tissue(face: Tensor, gap: _Gap, rng: Generator) -> Tensor:
    """Return the colours of what a split shows: flesh and lip, darker towards the mouth."""
    lips = (face * gap.lip).sum(dim=(1, 2)) / gap.lip.sum()
    depth = 1 - uniform(0.1, 0.5, rng) * (1 - gap.risen.clamp(0, 1))
    flesh = torch.tensor([uniform(0.4, 0.75, rng), uniform(0.2, 0.4, rng), uniform(0.2, 0.4, rng)])
    return (flesh + lips * torch.tensor([0.85, 0.6, 0.6])).view(3, 1, 1) / 2 * depth


def spot(face: Tensor, reach: Tensor, severity: float, rng: Generator) -> Tensor:
    """Draw a patch of another tone with a ragged outline."""
    middle = _anywhere(face, reach, rng)
    radius = uniform(0.009, 0.015, rng) + uniform(0.03, 0.045, rng) * severity
    angle, flat = uniform(0, math.pi, rng), uniform(0.65, 1, rng)
    along, across = turned(*_away(face, middle), angle)
    ragged = torch.hypot(along, across / flat) * (1 + 0.2 * smooth_noise(1, 14, face.shape[-1], rng)[0])
    cover = torch.sigmoid((radius - ragged) / uniform(0.002, 0.008, rng))[None]
    mottle = 1 - uniform(0, 0.3, rng) * smooth_noise(1, 40, face.shape[-1], rng).abs()
    strength = uniform(0.85, 1, rng) * severity ** uniform(0.55, 0.85, rng)
    return _marked(face, cover, mottle * strength, _DARK_SPOT, rng)


def droop(face: Tensor, _reach: Tensor, severity: float, rng: Generator) -> Tensor:
    """Let a corner of the mouth, the lid above it, and perhaps the brow hang."""
    side = _side(rng)
    deep = severity * uniform(0.8, 1.2, rng)
    corner = _near(_MIDDLE + side * _CORNER_ASIDE, _MOUTH, 0.015, rng)
    window = _dome(face, corner, uniform(0.06, 0.1, rng), uniform(0.05, 0.08, rng))
    face = _moved(face, window, -side * deep * uniform(0, 0.015, rng), deep * uniform(0.035, 0.065, rng))
    eye = _near(_MIDDLE + side * _EYE_ASIDE, _EYES - uniform(0, 0.035, rng), 0.008, rng)
    window = _dome(face, eye, uniform(0.05, 0.08, rng), uniform(0.025, 0.045, rng))
    face = _moved(face, window, 0.0, deep * uniform(0.015, 0.04, rng))
    if uniform(0, 1, rng) < 0.3:
        brow = _near(eye.x, _EYES - 0.085, 0.01, rng)
        face = _moved(face, _dome(face, brow, 0.09, 0.035), 0.0, deep * uniform(0.01, 0.03, rng))
    return face


def swelling(face: Tensor, reach: Tensor, severity: float, rng: Generator) -> Tensor:
    """Blow up a part, lit from above or anywhere, and redden it."""
    middle = _anywhere(face, reach, rng)
    across = uniform(0.07, 0.095, rng)
    window = _dome(face, middle, across, across * uniform(0.75, 1.1, rng))
    x, y = _away(face, middle)
    swell = severity * uniform(0.45, 0.6, rng)
    blown = _moved(face, window, swell * x, swell * y)
    way = heading(rng) * uniform(0, 0.7, rng) + torch.tensor([0.0, -1.0]).view(2, 1, 1)
    slope = ((torch.stack([x, y]) * way).sum(dim=0, keepdim=True) / across).clamp(-1, 1)
    shaded = lit(blown, window, slope * severity * uniform(0.15, 0.35, rng))
    flush = torch.tensor([1.0, uniform(0.75, 0.95, rng), uniform(0.75, 0.95, rng)])
    return _dyed(shaded, window * severity * uniform(0.2, 0.8, rng), flush, torch.tensor([0.02, 0.0, 0.0]))


def scar(face: Tensor, reach: Tensor, severity: float, rng: Generator) -> Tensor:
    """Draw an uneven line with a rim of another tone, which draws in the skin beside it."""
    path = _course(_anywhere(face, reach, rng), uniform(0.15, 0.25, rng) * (0.4 + 0.6 * severity), rng)
    x, y = places(face)
    apart = torch.stack([x, y])[None] - path.view(-1, 2, 1, 1)
    distance, nearest = apart.square().sum(dim=1).sqrt().min(dim=0)
    towards = apart.gather(0, nearest[None, None].expand(1, 2, -1, -1))[0]
    width = uniform(0.003, 0.005, rng) + uniform(0.004, 0.007, rng) * severity

    def band(breadth: float) -> Tensor:
        return torch.exp(-((distance / breadth) ** 2))[None]

    pull = uniform(0, 0.5, rng) * severity * band(0.04)
    drawn_in = displace(face, pull * towards)
    uneven = 1 - uniform(0, 0.4, rng) * smooth_noise(1, 48, face.shape[-1], rng).abs()
    rim = torch.tensor([1.0, uniform(0.65, 1, rng), uniform(0.65, 1, rng)]) * uniform(0.8, 1, rng)
    strength = uneven * severity ** uniform(0.4, 0.7, rng)
    rimmed = _dyed(drawn_in, band(width * uniform(1.5, 3, rng)) * strength, rim, torch.zeros(3))
    return _marked(rimmed, band(width), strength * uniform(0.8, 1, rng), _DARK_SCAR, rng)


def _course(middle: _Place, length: float, rng: Generator) -> Tensor:
    """Draw a bent, wavering line through ``middle``, as [points, 2]."""
    way = heading(rng).view(2)
    aslant = torch.stack([-way[1], way[0]])
    along = torch.linspace(-0.5, 0.5, _STEPS)
    waver = F.interpolate(torch.randn(1, 1, 8, generator=rng), size=_STEPS, mode="linear")[0, 0]
    off = either(0, 0.8, rng) * (0.25 - along**2) + uniform(0, 0.03, rng) * waver
    return torch.tensor(middle) + length * (along[:, None] * way + off[:, None] * aslant)


DEFORMITIES: tuple[Deformity, ...] = (cleft, spot, droop, swelling, scar)
# Spots and swellings are what everyday light makes, too; scars are thin. So they are missed more often.
_DRAWN = (cleft, droop, scar, scar, *(spot, swelling) * 3)
# What is severe is learned soon, what is slight can hardly be seen: every other deformity lies between.
_SEVERITIES, _MIDDLING = (0.05, 1.0), (0.3, 0.7)


class Anomaly(NamedTuple):
    """A changed face [3, S, S] in 0..1, and how severe the change is: 0..1, or not a number if unknown."""

    face: Tensor
    severity: float


def deform(face: Tensor, reach: Tensor, rng: Generator) -> Anomaly:
    """Draw one deformity of any severity on a face [3, S, S], within ``reach`` [S, S] or where it belongs."""
    low, high = _MIDDLING if uniform(0, 1, rng) < 0.5 else _SEVERITIES
    severity = uniform(low, high, rng)
    draw = _DRAWN[pick(len(_DRAWN), rng)]
    return Anomaly(draw(face, reach, severity, rng).clamp(0, 1), severity)
