"""Drawn anomalies of graded severity, for samples and evaluation.

They are drawn by rules of their own from the detector's keypoints, and share no code and no parameter
with the corruptions that the student was trained on. Their severity is that of the drawing; it is no
human judgement.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

Colours = NDArray[np.float64]


@dataclass(frozen=True)
class FacePlan:
    """Where the parts of a face lie in a picture, in pixels, and the distance of its eyes as a unit.

    ``side`` is -1 or 1: which half of the face is drawn on.
    """

    right_eye: tuple[float, float]
    left_eye: tuple[float, float]
    nose: tuple[float, float]
    mouth: tuple[float, float]
    side: int

    @property
    def unit(self) -> float:
        """The distance of the eyes."""
        return float(np.hypot(self.left_eye[0] - self.right_eye[0], self.left_eye[1] - self.right_eye[1]))

    def place(self, origin: tuple[float, float], across: float, down: float) -> tuple[float, float]:
        """Return the point ``across`` (towards the drawn side) and ``down`` units from ``origin``."""
        return origin[0] + self.side * across * self.unit, origin[1] + down * self.unit


Drawing = Callable[[Colours, FacePlan, float, np.random.Generator], Colours]
"""Maps a picture [H, W, 3] in 0..255, a plan, a severity 0..1 and a source of chance to a new picture."""


def _brush(shape: tuple[int, ...], polygon: list[tuple[float, float]], softness: float) -> Colours:
    """Fill a polygon with soft edges, [H, W, 1] in 0..1."""
    sheet = Image.new("L", (shape[1], shape[0]))
    ImageDraw.Draw(sheet).polygon(polygon, fill=255)
    return _opacity(sheet.filter(ImageFilter.GaussianBlur(softness)))


def _opacity(sheet: Image.Image) -> Colours:
    return np.asarray(np.asarray(sheet, dtype=np.float64)[..., None] / 255)


def _oval(centre: tuple[float, float], width: float, height: float) -> list[tuple[float, float]]:
    turns = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    return [(centre[0] + width * np.cos(t), centre[1] + height * np.sin(t)) for t in turns]


def _pull(picture: Colours, brush: Colours, across: Colours | float, down: Colours | float) -> Colours:
    """Show at each place what lies (across, down) pixels away, by the brush's weight."""
    height, width = picture.shape[:2]
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    x = (x + brush[..., 0] * across).clip(0, width - 1.001)
    y = (y + brush[..., 0] * down).clip(0, height - 1.001)
    left, top = x.astype(int), y.astype(int)
    fx, fy = (x - left)[..., None], (y - top)[..., None]
    upper = picture[top, left] * (1 - fx) + picture[top, left + 1] * fx
    lower = picture[top + 1, left] * (1 - fx) + picture[top + 1, left + 1] * fx
    return np.asarray(upper * (1 - fy) + lower * fy)


def cleft(picture: Colours, plan: FacePlan, severity: float, chance: np.random.Generator) -> Colours:
    """Draw a notch that rises from the upper lip towards the nostril: its shape and its colour."""
    foot = plan.place(plan.mouth, 0.13 + chance.uniform(-0.02, 0.02), -0.03)
    reach = (0.12 + 0.26 * severity) * plan.unit
    half = (0.03 + 0.075 * severity) * plan.unit
    tip = (foot[0] - plan.side * 0.03 * plan.unit, foot[1] - reach)
    wedge = [
        (foot[0] - half, foot[1]),
        (tip[0] - half / 4, tip[1]),
        (tip[0] + half / 4, tip[1]),
        (foot[0] + half, foot[1]),
    ]
    around = _brush(
        picture.shape, _oval((foot[0], foot[1] - reach / 3), 3 * half, 0.8 * reach), 0.06 * plan.unit
    )
    bent = _pull(picture, around, 0.0, severity * 0.16 * plan.unit)
    tissue = np.array([142.0, 62.0, 62.0]) * (picture.mean() / 150) ** 0.5
    inside = _brush(picture.shape, wedge, 0.012 * plan.unit) * (0.35 + 0.5 * severity)
    return np.asarray(bent + inside * (tissue - bent))


def lesion(picture: Colours, plan: FacePlan, severity: float, chance: np.random.Generator) -> Colours:
    """Draw a pigmented patch on the cheek."""
    centre = plan.place(plan.nose, 0.52 + chance.uniform(-0.08, 0.08), 0.05 + chance.uniform(-0.1, 0.1))
    size = (0.05 + 0.13 * severity) * plan.unit
    spot = _brush(picture.shape, _oval(centre, size, size * chance.uniform(0.7, 1.1)), 0.02 * plan.unit)
    pigment = np.array([92.0, 58.0, 44.0])
    return picture + spot * (0.2 + 0.6 * severity) * (pigment - picture)


def droop(picture: Colours, plan: FacePlan, severity: float, chance: np.random.Generator) -> Colours:
    """Let a corner of the mouth and the lid above it hang."""
    eye = plan.left_eye if plan.side > 0 else plan.right_eye
    corner = plan.place(plan.mouth, 0.36, 0.0)
    low = _brush(picture.shape, _oval(corner, 0.3 * plan.unit, 0.26 * plan.unit), 0.1 * plan.unit)
    hung = _pull(picture, low, 0.0, -severity * (0.2 + chance.uniform(0, 0.03)) * plan.unit)
    lid = _brush(
        picture.shape,
        _oval((eye[0], eye[1] - 0.08 * plan.unit), 0.25 * plan.unit, 0.12 * plan.unit),
        0.05 * plan.unit,
    )
    return _pull(hung, lid, 0.0, -severity * 0.11 * plan.unit)


def swelling(picture: Colours, plan: FacePlan, severity: float, chance: np.random.Generator) -> Colours:
    """Blow up a cheek and shade its rim."""
    centre = plan.place(plan.mouth, 0.5 + chance.uniform(-0.05, 0.05), -0.25)
    size = 0.38 * plan.unit
    dome = _brush(picture.shape, _oval(centre, size, size), 0.12 * plan.unit)
    y, x = np.mgrid[0 : picture.shape[0], 0 : picture.shape[1]].astype(np.float64)
    blown = _pull(picture, dome, -0.45 * severity * (x - centre[0]), -0.45 * severity * (y - centre[1]))
    light = dome * np.clip((centre[1] - y) / size, -1, 1)[..., None]
    return np.asarray(blown * (1 + 0.22 * severity * light))


def scar(picture: Colours, plan: FacePlan, severity: float, chance: np.random.Generator) -> Colours:
    """Draw a pale, red-rimmed line across cheek and lip."""
    start = plan.place(plan.nose, 0.42, -0.1)
    end = plan.place(plan.mouth, 0.18, 0.12 * severity)
    bow = chance.uniform(-0.08, 0.08) * plan.unit
    steps = np.linspace(0, 1, 24)
    path = [
        (start[0] + t * (end[0] - start[0]) + bow * np.sin(np.pi * t), start[1] + t * (end[1] - start[1]))
        for t in steps * (0.4 + 0.6 * severity)
    ]
    rim, core = (
        _line(picture.shape, path, width * plan.unit)
        for width in (0.06 + 0.03 * severity, 0.02 + 0.02 * severity)
    )
    reddened = picture + rim * 0.5 * severity * (np.array([170.0, 80.0, 80.0]) - picture)
    return reddened + core * (0.25 + 0.45 * severity) * (np.array([232.0, 190.0, 180.0]) - reddened)


def _line(shape: tuple[int, ...], path: list[tuple[float, float]], width: float) -> Colours:
    sheet = Image.new("L", (shape[1], shape[0]))
    ImageDraw.Draw(sheet).line(path, fill=255, width=max(1, round(width)), joint="curve")
    return _opacity(sheet.filter(ImageFilter.GaussianBlur(width / 4)))


ANOMALIES: dict[str, Drawing] = {
    "cleft": cleft,
    "lesion": lesion,
    "droop": droop,
    "swelling": swelling,
    "scar": scar,
}


def draw(
    kind: str, picture: NDArray[np.uint8], plan: FacePlan, severity: float, seed: int
) -> NDArray[np.uint8]:
    """Draw an anomaly of ``kind`` on a picture [H, W, 3]; severity 0 leaves it as it is."""
    if severity == 0:
        return picture.copy()
    drawn = ANOMALIES[kind](picture.astype(np.float64), plan, severity, np.random.default_rng(seed))
    return np.floor(drawn + 0.5).clip(0, 255).astype(np.uint8)
