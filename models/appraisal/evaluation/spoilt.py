"""Photographs that should not be rated without a word, made of ones that can be: turned, cut, and covered.

What covers a face is drawn by no code that training uses. A photograph is RGB, uint8 [H, W, 3]; ``matrix``
[2, 3] takes its pixels to those of the aligned face of 256.
"""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float64]
Spoiler = Callable[[Pixels, Floats, np.random.Generator], Pixels]
"""Makes a photograph that should be refused or get a note of one, its face's matrix and a generator."""

# Of the aligned face: the middle between the eyes, half of their distance, and the mouth.
_MIDDLE, _EYES, _ASIDE, _MOUTH = 128.0, 100.0, 38.0, 179.0
_CLOTH = ((180, 210, 230), (235, 235, 235), (30, 30, 35), (200, 120, 140), (60, 80, 140), (120, 170, 150))


def _placed(photograph: Pixels, matrix: Floats) -> tuple[Floats, Floats]:
    """Return where every pixel of the photograph lies in the aligned face, x and y [H, W]."""
    rows, columns = np.mgrid[0 : photograph.shape[0], 0 : photograph.shape[1]]
    x, y = (row[0] * columns + row[1] * rows + row[2] for row in matrix)
    return np.asarray(x), np.asarray(y)


def _within(distance: Floats, softness: float) -> Floats:
    """Return 1 where a distance is below 0, 0 where it is above, and something between at the edge."""
    return np.asarray(1 / (1 + np.exp(np.clip(distance / softness, -50, 50))))


def _painted(photograph: Pixels, cover: Floats, colour: Floats) -> Pixels:
    mixed = photograph + cover[..., None] * (colour - photograph)
    return np.asarray(np.floor(mixed.clip(0, 255) + 0.5), dtype=np.uint8)


def upside_down(photograph: Pixels, _matrix: Floats, _rng: np.random.Generator) -> Pixels:
    """Turn it by a half."""
    return np.ascontiguousarray(np.rot90(photograph, 2))


def sideways(photograph: Pixels, _matrix: Floats, rng: np.random.Generator) -> Pixels:
    """Turn it by a quarter to either side."""
    return np.ascontiguousarray(np.rot90(photograph, int(rng.choice([1, 3]))))


def cut(photograph: Pixels, matrix: Floats, rng: np.random.Generator) -> Pixels:
    """Let the left, right or lower border run through the face, a sixth to a half of it beyond."""
    x, y = _placed(photograph, matrix)
    share = rng.uniform(0.17, 0.5)
    side = int(rng.integers(3))
    kept = (x > 58 + 140 * share, x < 198 - 140 * share, y < 227 - 170 * share)[side]
    # The border runs along the photograph's own rows or columns: those of which the middle is kept.
    lines = np.flatnonzero(kept.mean(axis=1 if side == 2 else 0) > 0.5)
    part = photograph[lines] if side == 2 else photograph[:, lines]
    return np.ascontiguousarray(part)


def sunglasses(photograph: Pixels, matrix: Floats, rng: np.random.Generator) -> Pixels:
    """Cover the eyes with dark lenses of any shape, clearer below at times, with a reflection."""
    x, y = _placed(photograph, matrix)
    across, tall, roundness = rng.uniform(26, 40), rng.uniform(18, 34), rng.uniform(2, 5)
    down, aside = rng.uniform(-2, 10), rng.uniform(-2, 5)
    below = (y - _EYES - down) / tall
    cover = np.zeros_like(x)
    for side in (-1, 1):
        right = (x - _MIDDLE - side * (_ASIDE + aside)) / across
        radius = (abs(right) ** roundness + abs(below) ** roundness) ** (1 / roundness)
        cover = np.maximum(cover, _within((radius - 1) * min(across, tall), 0.8))
    tint = rng.uniform(0, 70, 3) * rng.uniform(0.3, 1)
    clearer = np.clip(1 + rng.uniform(-0.1, 0.6) * below, 0.3, 2)
    place, width, height = rng.uniform(90, 166), rng.uniform(5, 14), rng.uniform(3, 10)
    light = np.exp(-(((x - place) / width) ** 2) - ((y - 94) / height) ** 2)
    shown = tint * clearer[..., None] + rng.uniform(0, 140) * light[..., None]
    return _painted(photograph, cover * rng.uniform(0.75, 1), shown)


def mask(photograph: Pixels, matrix: Floats, rng: np.random.Generator) -> Pixels:
    """Cover nose, mouth and chin with cloth that has folds."""
    x, y = _placed(photograph, matrix)
    aside = abs(x - _MIDDLE) / 80
    top = rng.uniform(122, 142) + aside * rng.uniform(-8, 18)
    width, bottom = rng.uniform(62, 80), rng.uniform(225, 250)
    cover = _within(top - y, 1.5) * _within(abs(x - _MIDDLE) - width, 2) * _within(y - bottom, 3)
    folds = (1 - 0.25 * aside**2) * (1 + rng.uniform(0.02, 0.12) * np.sin(y / rng.uniform(3, 7)))
    cloth = np.array(_CLOTH[int(rng.integers(len(_CLOTH)))]) * rng.uniform(0.8, 1.1)
    return _painted(photograph, cover, cloth * folds[..., None])


def hand(photograph: Pixels, matrix: Floats, rng: np.random.Generator) -> Pixels:
    """Hold a hand of the face's own skin before a part of it."""
    x, y = _placed(photograph, matrix)
    forehead = photograph[(abs(x - _MIDDLE) < 18) & (abs(y - 72) < 12)]
    skin = np.median(forehead if len(forehead) else photograph.reshape(-1, 3), axis=0)
    across, down, tilt = rng.uniform(90, 166), rng.uniform(95, 190), rng.uniform(-0.6, 0.6)
    cover = _within(((x - across) / 42) ** 2 + ((y - down - 55) / 45) ** 2 - 1, 0.05)
    for finger in range(4):
        right = x - across - (finger - 1.5) * 18
        over = (right * np.cos(tilt) + (y - down) * np.sin(tilt)) / 9
        along = ((y - down) * np.cos(tilt) - right * np.sin(tilt)) / rng.uniform(40, 65)
        cover = np.maximum(cover, _within(over**2 + along**4 - 1, 0.05))
    shade = 1 + 0.15 * np.cos((x - across) / 9 * np.pi)
    return _painted(photograph, cover, skin * rng.uniform(0.85, 1.15) * shade[..., None])


SPOILERS: Mapping[str, Spoiler] = {
    "upside down": upside_down,
    "sideways": sideways,
    "cut by the border": cut,
    "sunglasses": sunglasses,
    "mask": mask,
    "hand": hand,
}
