"""What is ordinary upon a face and no anomaly: glasses, light, shine, shadows, hats, beards, make-up, age.

Training draws it on untouched faces and beneath drawn anomalies alike, so that a model learns to leave it
alone. Places are those of an aligned face; lengths are shares of the picture.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from mien.models.appraisal.training.corruptions import (
    displace,
    either,
    heading,
    pick,
    places,
    smooth_noise,
    uniform,
)

Nuisance = Callable[[Tensor, Generator], Tensor]
"""Maps a face [3, S, S] in 0..1 and a random generator to a changed face, of a slightly wider range."""

# Where an aligned face has its middle line, eyes, nose tip and mouth.
_MIDDLE, _EYES, _EYE_ASIDE, _NOSE, _MOUTH = 0.5, 0.393, 0.148, 0.545, 0.7
# Shares of red, green and blue in brightness, by ITU-R BT.601.
_BRIGHTNESS = (0.299, 0.587, 0.114)
_SIDES = (-1, 1)


def _coin(share: float, rng: Generator) -> bool:
    return uniform(0, 1, rng) < share


def _tone(low: float, high: float, rng: Generator) -> Tensor:
    """Draw any colour, [3, 1, 1]."""
    return low + (high - low) * torch.rand(3, 1, 1, generator=rng)


def _cells(low: int, high: int, rng: Generator) -> int:
    return int(uniform(low, high, rng))


def _grain(face: Tensor, cells: int, rng: Generator, channels: int = 1) -> Tensor:
    return smooth_noise(channels, cells, face.shape[-1], rng)


def _brightness(face: Tensor) -> Tensor:
    """Return how bright each place is, [1, S, S]."""
    return (face * torch.tensor(_BRIGHTNESS).view(3, 1, 1)).sum(dim=0, keepdim=True)


def _patch(face: Tensor, x: float, y: float, across: float, down: float, hardness: float = 2.0) -> Tensor:
    """Return a soft ellipse [1, S, S] of height 1 in its middle; a greater ``hardness`` gives it an edge."""
    column, row = places(face)
    square = ((column - x) / across) ** 2 + ((row - y) / down) ** 2
    return torch.exp(-(square ** (hardness / 2)))[None]


def _painted(face: Tensor, cover: Tensor, colour: Tensor) -> Tensor:
    """Cover a face by a colour, as far as ``cover`` [1, S, S] says."""
    return face + cover.clamp(0, 1) * (colour - face)


class _Frame(NamedTuple):
    """Glasses as drawn: their ``rim`` and what lies within the lenses, [1, S, S] in 0..1 each.

    ``bend`` [2, S, S] is the way from the middle of the lens that a place lies in.
    """

    rim: Tensor
    lens: Tensor
    bend: Tensor


def glasses(face: Tensor, rng: Generator) -> Tensor:
    """Put on glasses of any shape and rim, with shadow and reflections."""
    frame = _frame(face, rng)
    if _coin(0.4, rng):
        face = displace(face, frame.lens * frame.bend * either(0.02, 0.1, rng))
    if _coin(0.7, rng):
        face = _frame_shadow(face, frame, rng)
    if _coin(0.4, rng):
        face = _painted(face, frame.lens * uniform(0.03, 0.35, rng), _tone(0, 0.5, rng))
    if _coin(0.6, rng):
        face = _reflections(face, frame, rng)
    return _painted(face, frame.rim * uniform(0.75, 1, rng), _frame_colour(face, rng))


def _frame(face: Tensor, rng: Generator) -> _Frame:
    half, tall = uniform(0.09, 0.15, rng), uniform(0.055, 0.125, rng)
    roundness = uniform(2, 5, rng)
    down, aside = uniform(-0.015, 0.04, rng), uniform(-0.012, 0.015, rng)
    tilt, droop = uniform(-0.04, 0.04, rng), uniform(-0.01, 0.05, rng)
    thick = math.exp(uniform(math.log(0.003), math.log(0.025), rng))
    soft = uniform(0.0015, 0.003, rng)
    rim_of = _RIMS[pick(len(_RIMS), rng)]
    x, y = places(face)
    rim, lens = torch.zeros_like(x), torch.zeros_like(x)
    bend = torch.zeros(2, *x.shape)
    for side in _SIDES:
        right = x - _MIDDLE - side * (_EYE_ASIDE + aside)
        below = y - _EYES - down - tilt * (x - _MIDDLE) - droop * side * right
        radius = ((right.abs() / half) ** roundness + (below.abs() / tall) ** roundness + 1e-6) ** (
            1 / roundness
        )
        beyond = (radius - 1) * min(half, tall)
        inside = torch.sigmoid(-beyond / soft)
        lens = torch.maximum(lens, inside)
        bend = bend + inside * torch.stack([right, below])
        rim = torch.maximum(rim, rim_of(torch.sigmoid((thick / 2 - beyond.abs()) / soft), below))
    wire = max(thick, 0.005) / 2
    level = _EYES + down + tilt * (x - _MIDDLE)
    held = (
        _bridge(x, y - level, half - aside, wire, rng),
        _temples(x, y - level, half + aside, wire, rng),
    )
    return _Frame(torch.stack([rim, *held]).amax(dim=0)[None], lens[None], bend)


# What is left of a whole rim [S, S] where a place lies so far below the lens's middle, [S, S].
_RIMS: tuple[Callable[[Tensor, Tensor], Tensor], ...] = (
    lambda rim, below: rim,
    lambda rim, below: rim,
    lambda rim, below: rim * torch.sigmoid(-below / 0.008),
    lambda rim, below: rim * (0.35 + 0.65 * torch.sigmoid(-below / 0.02)),
    lambda rim, below: 0.15 * rim,
)


def _bridge(x: Tensor, below: Tensor, half: float, wire: float, rng: Generator) -> Tensor:
    """Draw what joins the lenses: a bar that is bent upwards or straight, [S, S]."""
    gap = _EYE_ASIDE - half
    rise = uniform(0, 0.04, rng) + uniform(-0.02, 0.03, rng) * (1 - ((x - _MIDDLE) / 0.05) ** 2)
    return torch.sigmoid((wire - (below + rise).abs()) / 0.0025) * ((x - _MIDDLE).abs() < gap + 0.01)


def _temples(x: Tensor, below: Tensor, half: float, wire: float, rng: Generator) -> Tensor:
    """Draw what runs from the lenses to the ears, [S, S]."""
    along = (x - _MIDDLE).abs() - _EYE_ASIDE - half
    raised, slope, length = (
        uniform(0, 0.06, rng),
        uniform(-0.15, 0.25, rng),
        uniform(0.03, 0.22, rng),
    )
    line = torch.sigmoid((wire - (below + raised - slope * along).abs()) / 0.0025)
    return line * (along > -0.004) * torch.sigmoid((length - along) / 0.012)


def _frame_shadow(face: Tensor, frame: _Frame, rng: Generator) -> Tensor:
    """Let the frame throw its shadow on the skin beneath."""
    size = face.shape[-1]
    shift = (round(uniform(0.004, 0.03, rng) * size), round(uniform(-0.015, 0.02, rng) * size))
    spread = 2 * round(size * 0.008) + 1
    shadow = F.avg_pool2d(torch.roll(frame.rim, shift, (1, 2)), spread, 1, spread // 2)
    return face * (1 - uniform(0.1, 0.6, rng) * shadow)


def _reflections(face: Tensor, frame: _Frame, rng: Generator) -> Tensor:
    """Let the lenses mirror a bright room, a band of light, or a lamp or window in each of them."""
    shine = (_room, _band, _window)[pick(3, rng)](face, frame, rng)
    colour = (1 + 0.15 * torch.randn(3, 1, 1, generator=rng)).clamp(0, 1.1)
    return _painted(face, frame.lens * shine * uniform(0.1, 0.8, rng), colour)


def _room(face: Tensor, _frame: _Frame, rng: Generator) -> Tensor:
    level = _grain(face, _cells(4, 14, rng), rng) - uniform(0.3, 1.2, rng)
    return torch.sigmoid(level * uniform(4, 20, rng))


def _band(face: Tensor, _frame: _Frame, rng: Generator) -> Tensor:
    level = (torch.stack(places(face)) * heading(rng)).sum(dim=0, keepdim=True)
    at, breadth = uniform(-0.6, 1.2, rng), uniform(0.01, 0.08, rng)
    return torch.exp(-(((level - at) / breadth) ** 2))


def _window(face: Tensor, frame: _Frame, rng: Generator) -> Tensor:
    x, y = uniform(-0.08, 0.08, rng), uniform(-0.055, 0.04, rng)
    wide, high = uniform(0.012, 0.055, rng), uniform(0.012, 0.047, rng)
    right, below = frame.bend
    return (
        torch.sigmoid((wide - (right - x).abs()) / 0.006) * torch.sigmoid((high - (below - y).abs()) / 0.006)
    )[None]


def _frame_colour(face: Tensor, rng: Generator) -> Tensor:
    """Draw the colour of horn, metal, clear plastic or another, mottled and lit or not, [3, S, S]."""
    black, brown, gold, silver, clear = (
        torch.tensor(tone).view(3, 1, 1)
        for tone in (
            (0.07, 0.06, 0.06),
            (0.25, 0.14, 0.08),
            (0.72, 0.6, 0.4),
            (0.62, 0.63, 0.66),
            (0.8, 0.76, 0.7),
        )
    )
    other = _tone(0, 0.8, rng)
    colour = (black, black, brown, gold, silver, clear, other)[pick(7, rng)] * uniform(0.5, 1.3, rng)
    mottle = uniform(0, 0.5, rng) * _grain(face, _cells(20, 40, rng), rng)
    edge = uniform(0, 0.3, rng) * _grain(face, _cells(8, 30, rng), rng).clamp(0, 2)
    return colour * (1 + mottle) + edge


def side_light(face: Tensor, rng: Generator) -> Tensor:
    """Light a face from one side, softly or hard, the other side darker."""
    x, y = places(face)
    way = heading(rng) * torch.tensor([1.0, 0.6]).view(2, 1, 1)
    level = (torch.stack([x - _MIDDLE, y - _NOSE]) * way).sum(dim=0, keepdim=True) / 0.28
    level = level + 0.3 * _grain(face, _cells(3, 7, rng), rng) - uniform(-0.6, 0.6, rng)
    edge = math.exp(uniform(math.log(0.03), math.log(0.8), rng))
    return _darkened(face, torch.sigmoid(level / edge), rng)


def coloured_light(face: Tensor, rng: Generator) -> Tensor:
    """Light a face in reddish, bluish or other colours, in patches or as two lamps from two sides do."""
    strength = uniform(0.03, 0.2, rng)
    if _coin(0.5, rng):
        gain = _grain(face, _cells(2, 7, rng), rng, channels=3) * strength * 0.6
    else:
        x, y = places(face)
        ramp = (torch.stack([x - _MIDDLE, y - _NOSE]) * heading(rng)).sum(dim=0, keepdim=True) / 0.3
        gain = torch.tanh(ramp * uniform(0.5, 3, rng)) * torch.randn(3, 1, 1, generator=rng) * strength
    # Most of it changes the colour and not the brightness.
    return face * torch.exp(gain - gain.mean(dim=0, keepdim=True) * uniform(0, 1, rng))


def _darkened(face: Tensor, cover: Tensor, rng: Generator) -> Tensor:
    """Darken what ``cover`` [1, S, S] covers, a little bluish or warm as shadows are."""
    depth = uniform(0.1, 0.7, rng) * (1 + 0.12 * torch.randn(3, 1, 1, generator=rng))
    return face * (1 - cover.clamp(0, 1) * depth).clamp(0.05, 1)


def brim_shadow(face: Tensor, rng: Generator) -> Tensor:
    """Throw the shadow of a hat or of a fringe on brow and eyes."""
    x, y = places(face)
    bent = uniform(-0.06, 0.06, rng) * ((x - _MIDDLE) / 0.3) ** 2 + uniform(-0.2, 0.2, rng) * (x - _MIDDLE)
    edge = math.exp(uniform(math.log(0.004), math.log(0.06), rng))
    return _darkened(face, torch.sigmoid((uniform(0.16, 0.45, rng) + bent - y) / edge)[None], rng)


def dappled_shadow(face: Tensor, rng: Generator) -> Tensor:
    """Throw the shadow of leaves or blinds on a face."""
    if _coin(0.7, rng):
        level = _grain(face, _cells(4, 14, rng), rng)
    else:
        across = (torch.stack(places(face)) * heading(rng)).sum(dim=0, keepdim=True)
        level = torch.sin(across * uniform(20, 80, rng))
    edge = math.exp(uniform(math.log(0.08), math.log(0.6), rng))
    return _darkened(face, torch.sigmoid((level - uniform(-0.3, 0.8, rng)) / edge), rng)


# What light from above leaves dark: (x off the middle line, y, half width, half height); mirrored, too.
_HOLLOWS = (
    (0.148, 0.375, 0.085, 0.04),
    (0.0, 0.617, 0.08, 0.035),
    (0.0, 0.75, 0.07, 0.024),
    (0.21, 0.67, 0.055, 0.1),
)


def top_light(face: Tensor, rng: Generator) -> Tensor:
    """Light a face from above: dark sockets, cheeks, and below nose and lip."""
    lean = uniform(-0.03, 0.03, rng)
    cover = torch.zeros_like(face[:1])
    for aside, y, across, down in _HOLLOWS:
        sizes = uniform(0.8, 1.3, rng), uniform(0.8, 1.3, rng)
        depth, hardness = uniform(0.3, 1, rng), uniform(2, 3, rng)
        for side in _SIDES if aside else (1,):
            x = _MIDDLE + side * aside + lean
            cover = cover + depth * _patch(face, x, y, across * sizes[0], down * sizes[1], hardness)
    return _darkened(face, cover, rng)


# Where skin bulges towards the light, as above.
_BULGES = (
    (0.0, 0.215, 0.13, 0.055),
    (0.088, 0.215, 0.06, 0.045),
    (0.0, 0.52, 0.027, 0.035),
    (0.0, 0.43, 0.016, 0.06),
    (0.188, 0.54, 0.055, 0.035),
    (0.0, 0.805, 0.04, 0.027),
    (0.11, 0.33, 0.047, 0.016),
    (0.0, 0.745, 0.047, 0.012),
)


def shine(face: Tensor, rng: Generator) -> Tensor:
    """Let skin shine where it bulges, most where it is bright."""
    lean, up = uniform(-0.04, 0.04, rng), uniform(-0.03, 0.03, rng)
    cover = torch.zeros_like(face[:1])
    for aside, y, across, down in _BULGES:
        for side in _SIDES if aside else (1,):
            if _coin(0.5, rng):
                size, height = uniform(0.4, 1.3, rng), uniform(0.2, 1, rng)
                x = _MIDDLE + side * aside + lean
                cover = cover + height * _patch(face, x, y + up, across * size, down * size)
    cover = cover * (1 + 0.6 * _grain(face, _cells(20, 90, rng), rng)).clamp(0, 2)
    bright = _brightness(face)
    cover = cover * (bright / (bright.mean() + 1e-3)).clamp(0.3, 1.6) * uniform(0.05, 0.6, rng)
    return _painted(face, cover.clamp(0, 0.95), 1 + 0.06 * torch.randn(3, 1, 1, generator=rng))


# Where skin reddens in cold, heat or age, as above.
_ROSY = (
    (0.18, 0.585, 0.09, 0.078),
    (0.0, 0.545, 0.055, 0.055),
    (0.0, 0.81, 0.085, 0.055),
    (0.0, 0.24, 0.17, 0.06),
)


def flush(face: Tensor, rng: Generator) -> Tensor:
    """Redden cheeks, nose, chin or brow, much the same on both halves."""
    cover = torch.zeros_like(face[:1])
    for aside, y, across, down in _ROSY:
        if not _coin(0.6, rng):
            continue
        sizes, depth = (uniform(0.7, 1.5, rng), uniform(0.7, 1.5, rng)), uniform(0.3, 1, rng)
        for side in _SIDES if aside else (1,):
            x, high = (
                _MIDDLE + side * aside + uniform(-0.012, 0.012, rng),
                y + uniform(-0.012, 0.012, rng),
            )
            cover = cover + depth * _patch(face, x, high, across * sizes[0], down * sizes[1])
    cover = cover * (1 + 0.5 * _grain(face, _cells(10, 50, rng), rng)).clamp(0, 2)
    red = face * torch.tensor([1.02, 0.72, 0.74]).view(3, 1, 1)
    return _painted(face, cover * uniform(0.1, 0.6, rng), red)


_HAIR = ((0.16, 0.12, 0.10), (0.30, 0.20, 0.13), (0.36, 0.36, 0.38), (0.74, 0.72, 0.70))


def beard(face: Tensor, rng: Generator) -> Tensor:
    """Let a beard, a moustache or their stubble grow, the lips left free."""
    x, y = places(face)
    off = (x - _MIDDLE).abs()
    line = y - 0.66 - uniform(-0.05, 0.05, rng) + 1.6 * off**2
    cheeks = torch.sigmoid((0.25 + uniform(0, 0.05, rng) - off) / 0.016)
    jaw = (torch.sigmoid(line / uniform(0.012, 0.045, rng)) * cheeks)[None]
    lip = _patch(face, _MIDDLE, 0.637, uniform(0.085, 0.125, rng), uniform(0.02, 0.032, rng), 4)
    chin = _patch(face, _MIDDLE, 0.81, uniform(0.055, 0.12, rng), uniform(0.055, 0.085, rng), 4)
    shapes = ((jaw, lip, chin), (jaw, lip, chin), (lip, chin), (lip,), (chin,), (jaw,))[pick(6, rng)]
    cover = torch.stack(shapes).amax(dim=0)
    cover = cover * (1 - _patch(face, _MIDDLE, 0.703, uniform(0.078, 0.1, rng), uniform(0.027, 0.04, rng), 6))
    thick = 0.8 + 0.25 * _grain(face, _cells(8, 30, rng), rng) + uniform(0.1, 0.4, rng) * _hair(face, rng)
    tone = torch.tensor(_HAIR[pick(len(_HAIR), rng)]).view(3, 1, 1) * uniform(0.6, 1.2, rng)
    return _painted(face, (cover * thick).clamp(0, 1) * uniform(0.08, 0.9, rng) ** 1.3, tone)


def _hair(face: Tensor, rng: Generator) -> Tensor:
    """Draw fine hairs that hang down, [1, S, S] of about -1..1."""
    size, length = face.shape[-1], 2 * pick(4, rng) + 1
    fine = F.avg_pool2d(torch.randn(1, 1, size, size, generator=rng), (length, 1), 1, (length // 2, 0))
    return fine[0] / (fine.std() + 1e-3)


def make_up(face: Tensor, rng: Generator) -> Tensor:
    """Make up lips, lids, lashes and brows, each of them or not."""
    for draw in (_lipstick, _lid_shadow, _lashes, _brows):
        if _coin(0.6, rng):
            face = draw(face, rng)
    return face


def _lipstick(face: Tensor, rng: Generator) -> Tensor:
    y = _MOUTH + uniform(-0.012, 0.012, rng)
    lips = _patch(face, _MIDDLE, y, uniform(0.078, 0.11, rng), uniform(0.024, 0.04, rng), 6)
    tone = torch.tensor([uniform(0.45, 0.9, rng), uniform(0.05, 0.45, rng), uniform(0.1, 0.5, rng)])
    return _painted(face, lips * uniform(0.1, 0.7, rng), tone.view(3, 1, 1) * (0.5 + _brightness(face)))


def _on_both_eyes(face: Tensor, up: float, across: float, down: float, hardness: float = 2.0) -> Tensor:
    pair = [_patch(face, _MIDDLE + s * _EYE_ASIDE, _EYES - up, across, down, hardness) for s in _SIDES]
    return pair[0] + pair[1]


def _lid_shadow(face: Tensor, rng: Generator) -> Tensor:
    sizes = uniform(0.016, 0.047, rng), uniform(0.06, 0.1, rng), uniform(0.016, 0.04, rng)
    return _painted(face, _on_both_eyes(face, *sizes) * uniform(0.1, 0.6, rng), _tone(0, 0.6, rng))


def _lashes(face: Tensor, rng: Generator) -> Tensor:
    x, y = places(face)
    off = ((x - _MIDDLE).abs() - _EYE_ASIDE).abs()
    line = y - _EYES + 0.012 + uniform(-0.008, 0.012, rng) - 0.02 * (off / 0.06) ** 2
    lash = torch.exp(-((line / uniform(0.004, 0.0085, rng)) ** 2)) * torch.sigmoid((0.062 - off) / 0.008)
    return face * (1 - lash[None] * uniform(0.2, 0.85, rng))


def _brows(face: Tensor, rng: Generator) -> Tensor:
    sizes = 0.07 + uniform(-0.012, 0.012, rng), uniform(0.062, 0.094, rng), uniform(0.01, 0.02, rng)
    return face * (1 - _on_both_eyes(face, *sizes, 3).clamp(0, 1) * uniform(0.1, 0.6, rng))


def wrinkles(face: Tensor, rng: Generator) -> Tensor:
    """Draw the lines of a brow, of the cheeks beside the nose, and below the eyes: alike but for a waver."""
    x, y = places(face)
    off = (x - _MIDDLE).abs()
    waver = 0.012 * _grain(face, 6, rng)[0]
    depth = torch.zeros_like(x)
    for number in range(pick(5, rng)):
        height = 0.16 + 0.032 * number + uniform(-0.012, 0.012, rng) + waver
        bent = uniform(-0.02, 0.02, rng) * (off / 0.23) ** 2
        within = torch.sigmoid((uniform(0.12, 0.22, rng) - off) / 0.024)
        depth = depth + uniform(0.2, 1, rng) * within * _line(y - height - bent, 0.003, 0.007, rng)
    fold = off - 0.078 - (y - 0.566) * uniform(0.25, 0.5, rng) - waver
    within = torch.sigmoid((y - 0.578) / 0.016) * torch.sigmoid((0.727 - y) / 0.02)
    depth = depth + uniform(0, 1, rng) * within * _line(fold, 0.005, 0.014, rng)
    for _ in range(pick(4, rng)):
        bag = y - 0.44 - uniform(0, 0.047, rng) + 0.016 * ((off - _EYE_ASIDE) / 0.078) ** 2 - waver
        within = torch.sigmoid((0.078 - (off - _EYE_ASIDE).abs()) / 0.012)
        depth = depth + uniform(0.2, 0.8, rng) * within * _line(bag, 0.003, 0.008, rng)
    tone = torch.tensor([0.8, 1.0, 1.05]).view(3, 1, 1) * uniform(0.05, 0.35, rng)
    return face * (1 - depth.clamp(0, 1.2)[None] * tone)


def _line(away: Tensor, thin: float, thick: float, rng: Generator) -> Tensor:
    return torch.exp(-((away / uniform(thin, thick, rng)) ** 2))


def freckles(face: Tensor, rng: Generator) -> Tensor:
    """Sprinkle freckles on cheeks, nose and brow."""
    fine = _grain(face, _cells(50, 110, rng), rng)
    where = sum(_patch(face, _MIDDLE + s * _EYE_ASIDE, 0.53, 0.14, 0.1) for s in _SIDES)
    where = where + _patch(face, _MIDDLE, 0.49, 0.1, 0.12) + 0.5 * _patch(face, _MIDDLE, 0.235, 0.2, 0.1)
    cover = torch.sigmoid((fine - uniform(0.9, 1.8, rng)) * 6) * where.clamp(0, 1)
    tone = torch.tensor([0.75, 0.58, 0.5]).view(3, 1, 1)
    return _painted(face, cover * uniform(0.1, 0.5, rng), face * tone)


def headwear(face: Tensor, rng: Generator) -> Tensor:
    """Put on a hat, a scarf or a fringe, with its shadow or without."""
    x, y = places(face)
    bent = uniform(-0.04, 0.12, rng) * ((x - _MIDDLE) / 0.31) ** 2 + uniform(-0.15, 0.15, rng) * (x - _MIDDLE)
    line = uniform(0.07, 0.26, rng) + bent + 0.008 * _grain(face, _cells(4, 40, rng), rng)[0]
    cover = torch.sigmoid((line - y) / uniform(0.0024, 0.012, rng))
    if _coin(0.4, rng):
        aside = uniform(0.23, 0.36, rng) + 0.02 * _grain(face, 6, rng)[0]
        cover = cover.maximum(torch.sigmoid(((x - _MIDDLE).abs() - aside) / uniform(0.003, 0.012, rng)))
    if _coin(0.6, rng):
        shadow = torch.sigmoid((line + uniform(0.008, 0.085, rng) - y) / uniform(0.008, 0.04, rng))
        face = _darkened(face, shadow[None], rng)
    weave = 1 + 0.3 * _grain(face, _cells(4, 80, rng), rng)
    return _painted(face, cover[None], _tone(0, 1, rng) * uniform(0.1, 1, rng) * weave)


def saturation(face: Tensor, rng: Generator) -> Tensor:
    """Make colours duller or stronger, or take them away."""
    grey = _brightness(face)
    return grey + (face - grey) * (uniform(0, 1.7, rng) if _coin(0.7, rng) else 0.0)


def contrast(face: Tensor, rng: Generator) -> Tensor:
    """Make a face flatter or harder about its own brightness, as a camera's curve does."""
    level = _brightness(face).mean()
    return level * uniform(0.8, 1.1, rng) + (face - level) * uniform(0.7, 1.35, rng)


def turn(face: Tensor, rng: Generator) -> Tensor:
    """Turn the head a little: what is nearer to the camera moves aside."""
    near = 0.6 * _patch(face, _MIDDLE, 0.555, 0.1, 0.133) + 0.9 * _patch(face, _MIDDLE, 0.53, 0.3, 0.37, 3)
    aside, up = either(0.008, 0.043, rng), uniform(-0.012, 0.012, rng)
    return displace(face, near * torch.tensor([aside, up]).view(2, 1, 1))


WORN: tuple[Nuisance, ...] = (glasses, headwear)
"""What nobody wears twice."""
NUISANCES: tuple[tuple[Nuisance, float], ...] = (
    (turn, 0.25),
    (make_up, 0.15),
    (beard, 0.15),
    (wrinkles, 0.15),
    (freckles, 0.08),
    (flush, 0.2),
    (headwear, 0.15),
    (saturation, 0.2),
    (shine, 0.35),
    (coloured_light, 0.3),
    (contrast, 0.25),
    (side_light, 0.2),
    (brim_shadow, 0.08),
    (dappled_shadow, 0.08),
    (top_light, 0.08),
    (glasses, 0.3),
)
"""What is drawn, in this order, and how often."""
# So many faces stay as they are.
_PLAIN = 0.25


def ordinary(face: Tensor, rng: Generator, rate: float, *, bare: bool = True) -> Tensor:
    """Draw ordinary things on a face [3, S, S] in 0..1, each ``rate`` times as often as ``NUISANCES`` says.

    A face that is not ``bare`` wears glasses or a hat already, and is given no others.
    """
    if _coin(_PLAIN, rng):
        return face
    for draw, share in NUISANCES:
        if _coin(share * rate, rng) and (bare or draw not in WORN):
            face = draw(face, rng).clamp(0, 1)
    return face
