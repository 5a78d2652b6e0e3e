"""What is ordinary upon a face and no anomaly, painted for evaluation alone.

Each leaves a face as typical as it was: the points of score that it costs are an error. Shapes and
ranges are chosen here and shared with no training.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from mien.models.appraisal.evaluation.anomalies import FacePlan
from mien.models.appraisal.evaluation.drawings.painting import (
    Light,
    Map,
    Painting,
    Sheet,
    absorbed,
    blurred,
    bump,
    covered,
    displaced,
    grid,
    noise,
    paint,
    step,
)
from mien.models.appraisal.evaluation.evaluation_parts import Pixels, noisy

_FINER = 4


@dataclass(frozen=True)
class _Glasses:
    """A frame: half width and height of a lens in eye distances, its rim in pixels, and the lens itself.

    ``tone`` is linear light; ``tint`` and ``glare`` are opacities of the lens's colour and of a reflection.
    """

    half: tuple[float, float]
    rim: float
    tone: tuple[float, float, float]
    tint: float = 0.0
    glare: float = 0.0
    corner: float = 0.5


_GLASSES = {
    "glasses, thin metal": _Glasses((0.38, 0.28), 1.3, (0.30, 0.26, 0.18)),
    "glasses, thick dark": _Glasses((0.41, 0.29), 4.5, (0.012, 0.010, 0.010), corner=0.3),
    "glasses, coloured": _Glasses((0.40, 0.31), 3.2, (0.25, 0.02, 0.03), corner=0.6),
    "glasses, round": _Glasses((0.34, 0.34), 2.2, (0.05, 0.025, 0.012), corner=1.0),
    "glasses, tinted": _Glasses((0.40, 0.30), 2.0, (0.03, 0.03, 0.03), tint=0.3),
    "glasses, reflecting": _Glasses((0.39, 0.28), 2.0, (0.03, 0.03, 0.03), glare=0.45),
}


def _worn(sheet: Sheet, glasses: _Glasses) -> Light:
    """Put glasses on: shadow under the rim, then lens, then rim with bridge and temples."""
    light, plan, _, rng = sheet
    down = rng.uniform(0.0, 0.07)
    size = rng.uniform(0.94, 1.06)
    rims, lenses = _frame(light, plan, glasses, down, size)
    shaded = absorbed(light, blurred(displaced(rims[..., None].repeat(3, 2), 1, 3), 2.0)[..., 0], (0.3,) * 3)
    tinted = covered(shaded, lenses * glasses.tint, (0.06, 0.05, 0.04))
    x, y = grid(light)
    stripe = np.exp(-((((x + y) / plan.unit - rng.uniform(2.6, 3.2)) / 0.14) ** 2))
    glared = covered(tinted, lenses * stripe * glasses.glare, (0.85, 0.9, 1.0))
    return covered(glared, rims, glasses.tone)


def _frame(light: Light, plan: FacePlan, glasses: _Glasses, down: float, size: float) -> tuple[Map, Map]:
    """Draw the rims, with bridge and temples, and the lenses inside them, [H, W] each in 0..1."""
    height, width = light.shape[:2]
    sheets = [Image.new("L", (width * _FINER, height * _FINER)) for _ in range(2)]
    pens = [ImageDraw.Draw(sheet) for sheet in sheets]
    across, tall = (size * half * plan.unit for half in glasses.half)
    line = max(1, round(glasses.rim * _FINER))
    level = plan.right_eye[1] + down * plan.unit
    for x, way in ((plan.right_eye[0], -1), (plan.left_eye[0], 1)):
        box = [v * _FINER for v in (x - across, level - tall, x + across, level + tall)]
        radius = glasses.corner * tall * _FINER
        pens[0].rounded_rectangle(box, radius, outline=255, width=line)
        pens[1].rounded_rectangle(box, radius, fill=255)
        hinge = (x + way * across) * _FINER
        pens[0].line([hinge, (level - 0.3 * tall) * _FINER, hinge + way * 90, level * _FINER - 60], 255, line)
    inner = [(plan.right_eye[0] + across) * _FINER, (plan.left_eye[0] - across) * _FINER]
    bridge = (level - 0.25 * tall) * _FINER
    pens[0].line([inner[0], bridge, inner[1], bridge], 255, line)
    rims, lenses = (np.asarray(sheet.reduce(_FINER), np.float64) / 255 for sheet in sheets)
    return rims, lenses


def _coloured_light(sheet: Sheet) -> Light:
    x, _ = grid(sheet.light)
    share = step(sheet.plan.side * (x - sheet.plan.nose[0]) / sheet.plan.unit, 0.35)[..., None]
    warm, cold = np.array([1.35, 0.95, 0.6]), np.array([0.75, 0.95, 1.35])
    return np.asarray(sheet.light * (warm + share * (cold - warm)))


def _side_light(sheet: Sheet) -> Light:
    light, plan, _, rng = sheet
    x, y = grid(light)
    bent = (x - plan.nose[0] + 0.25 * (y - plan.nose[1]) * rng.uniform(-1, 1)) / plan.unit
    return absorbed(light, step(plan.side * bent, 0.12), (1.1, 1.1, 1.0))


def _shine(sheet: Sheet) -> Light:
    light, plan, _, rng = sheet
    unit = plan.unit
    spots = (
        (plan.place(plan.nose, 0.0, -1.1), 0.5, 0.18),
        (plan.place(plan.nose, 0.02, -0.06), 0.08, 0.1),
        (plan.place(plan.nose, 0.55, -0.05), 0.16, 0.1),
        (plan.place(plan.nose, -0.55, -0.05), 0.16, 0.1),
        (plan.place(plan.mouth, 0.0, 0.34), 0.14, 0.08),
    )
    cover = sum(
        bump(light, spot, across * unit, down * unit) * rng.uniform(0.2, 0.5) for spot, across, down in spots
    )
    return covered(light, np.asarray(cover), (0.95, 0.93, 0.9))


def _hat_shadow(sheet: Sheet) -> Light:
    light, plan, _, rng = sheet
    x, y = grid(light)
    edge = plan.eye[1] + plan.unit * rng.uniform(-0.25, 0.2) - 0.1 * (x - plan.nose[0]) ** 2 / plan.unit
    return absorbed(light, step((edge - y) / plan.unit, 0.05), (1.0, 0.95, 0.9))


def _beard(sheet: Sheet) -> Light:
    light, plan, _, rng = sheet
    unit = plan.unit
    jaw = bump(light, plan.place(plan.mouth, 0.0, 0.22), 0.82 * unit, 0.5 * unit, 6)
    lip = bump(light, plan.place(plan.mouth, 0.0, -0.14), 0.36 * unit, 0.07 * unit, 4)
    lips = bump(light, plan.place(plan.mouth, 0.0, 0.02), 0.34 * unit, 0.1 * unit, 4)
    x, y = grid(light)
    below = step(
        (y - plan.mouth[1] + 0.16 * unit - 0.55 * (np.abs(x - plan.mouth[0]) - 0.25 * unit)) / unit, 0.05
    )
    hair = np.maximum(jaw * np.maximum(below, step((np.abs(x - plan.mouth[0]) / unit) - 0.62, 0.04)), lip) * (
        1 - lips
    )
    strands = 0.75 + 0.25 * np.tanh(noise(light, 110, rng))
    tone = ((0.02, 0.014, 0.01), (0.07, 0.035, 0.018), (0.3, 0.3, 0.3))[int(rng.integers(3))]
    return covered(light, hair * strands * rng.uniform(0.55, 0.85), tone)


def _make_up(sheet: Sheet) -> Light:
    light, plan, _, rng = sheet
    unit = plan.unit
    lips = bump(light, plan.place(plan.mouth, 0.0, 0.01), 0.3 * unit, 0.09 * unit, 4)
    red = covered(light, lips * rng.uniform(0.3, 0.55), (0.4, 0.03, 0.06))
    lids = sum(
        bump(light, (eye[0], eye[1] - 0.1 * unit), 0.26 * unit, 0.09 * unit, 3)
        for eye in (plan.right_eye, plan.left_eye)
    )
    shadowed = covered(red, np.asarray(lids) * rng.uniform(0.25, 0.5), tuple(rng.uniform(0.02, 0.25, 3)))
    cheeks = sum(
        bump(light, plan.place(plan.nose, way * 0.58, -0.02), 0.24 * unit, 0.16 * unit) for way in (-1, 1)
    )
    return absorbed(shadowed, np.asarray(cheeks), (0.0, 0.3, 0.22))


def _turn(sheet: Sheet) -> Light:
    """Turn the head some 8 degrees: what is near to the camera moves further than what is far."""
    light, plan, _, _ = sheet
    unit = plan.unit
    head = bump(light, (plan.nose[0], plan.nose[1] - 0.1 * unit), 1.05 * unit, 1.4 * unit, 3)
    nose = bump(light, plan.place(plan.nose, 0.0, -0.05), 0.35 * unit, 0.5 * unit)
    return displaced(light, plan.side * unit * (0.07 * head + 0.05 * nose), 0.0)


_PAINTED: dict[str, Painting] = {
    **{name: partial(_worn, glasses=glasses) for name, glasses in _GLASSES.items()},
    "coloured light": _coloured_light,
    "side light": _side_light,
    "shine": _shine,
    "hat's shadow": _hat_shadow,
    "beard": _beard,
    "make-up": _make_up,
    "small turn": _turn,
}


def jpeg(face: Pixels, quality: int) -> Pixels:
    """Compress a picture, uint8 [H, W, 3], as JPEG and read it again."""
    file = io.BytesIO()
    Image.fromarray(face).save(file, "JPEG", quality=quality)
    return np.array(Image.open(file))


def _small(face: Pixels, side: int) -> Pixels:
    """Show a face that has only so many pixels a side."""
    picture = Image.fromarray(face).resize((side, side), Image.Resampling.BOX)
    return np.array(picture.resize((face.shape[1], face.shape[0]), Image.Resampling.BICUBIC))


def _soft(face: Pixels, radius: float) -> Pixels:
    return np.floor(blurred(face.astype(np.float64), radius) + 0.5).astype(np.uint8)


_TAKEN: dict[str, Callable[[Pixels], Pixels]] = {
    "JPEG, quality 50": partial(jpeg, quality=50),
    "JPEG, quality 25": partial(jpeg, quality=25),
    "blur, 1 pixel": partial(_soft, radius=1.0),
    "blur, 2 pixels": partial(_soft, radius=2.0),
    "128 pixels a side": partial(_small, side=128),
    "noise, 3 grey levels": partial(noisy, noise=3.0, seed=3),
    "noise, 6 grey levels": partial(noisy, noise=6.0, seed=6),
}

Similarity = NDArray[np.float64]
"""Takes pixels of a face to pixels of a face that is framed otherwise, [2, 3]."""


def _framing(size: float, degrees: float, shift: tuple[float, float]) -> Similarity:
    """Scale and turn about the middle of the eyes, nose and mouth, then shift."""
    middle = np.array([128.0, 130.0])
    angle = np.radians(degrees)
    turn = size * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return np.column_stack([turn, middle - turn @ middle + np.array(shift)])


FRAMINGS: dict[str, Similarity] = {
    "eyes' distance 4 % larger": _framing(1.04, 0, (0, 0)),
    "eyes' distance 4 % smaller": _framing(0.96, 0, (0, 0)),
    "rolled by 3 degrees": _framing(1, 3, (0, 0)),
    "shifted by 3 pixels": _framing(1, 0, (2.4, -1.8)),
}
"""How else the photograph might have been framed; these cut the face anew from the photograph."""
ON_FACES = (*_PAINTED, *_TAKEN)


def with_nuisance(name: str, face: Pixels, plan: FacePlan, seed: int) -> Pixels:
    """Put one of ``ON_FACES`` upon a face, uint8 [256, 256, 3]."""
    if name in _TAKEN:
        return _TAKEN[name](face)
    return paint(_PAINTED[name], face, plan, 1.0, seed)
