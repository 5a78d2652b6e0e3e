"""Drawn anomalies of graded severity, for samples and evaluation.

They are drawn by rules of their own from the detector's keypoints, and share no code and no parameter
with the corruptions that the student was trained on. Place, size, tone and outline follow the seed alone;
severity then makes the same anomaly larger and stronger. Tones are shares of the face's own colours, so
that a drawing is as plain on dark skin as on light. The severity is that of the drawing; it is not a human
judgement.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

Colours = NDArray[np.float64]
SEVERITIES = (0.8, 0.4, 1.0, 0.6, 0.2)
"""Severities by turns; five, so that every kind of the five meets every severity."""


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

    @property
    def eye(self) -> tuple[float, float]:
        """The eye on the drawn side."""
        return self.left_eye if self.side > 0 else self.right_eye

    def place(self, origin: tuple[float, float], across: float, down: float) -> tuple[float, float]:
        """Return the point ``across`` (towards the drawn side) and ``down`` units from ``origin``."""
        return origin[0] + self.side * across * self.unit, origin[1] + down * self.unit


Drawing = Callable[[Colours, FacePlan, float, np.random.Generator], Colours]
"""Maps a picture [H, W, 3] in 0..255, a plan, a severity 0..1 and a random generator to a new picture."""

# Lines and outlines are drawn so many times larger, then reduced: widths grow steadily, not by pixels.
_FINER = 4


@dataclass(frozen=True)
class Dye:
    """A tone by what it leaves of the skin's own colours and what it adds to them, in grey levels.

    On dark skin little can be taken away, on light skin little added; a dye that does both shows on both.
    """

    kept: tuple[float, float, float]
    added: tuple[float, float, float] = (0.0, 0.0, 0.0)


_BROWN = Dye((0.46, 0.36, 0.30))
_BLACK = Dye((0.24, 0.20, 0.20))
_WINE = Dye((0.68, 0.34, 0.40), (12.0, 0.0, 4.0))
_PIGMENTS = (_BROWN, _BLACK, _WINE)
_FLUSH = Dye((0.96, 0.82, 0.80), (6.0, 0.0, 0.0))
# A scar's line, and the skin beside it: pale in a red rim, red, darkened.
_SCARS = (
    (Dye((0.72, 0.72, 0.72), (72.0, 62.0, 60.0)), Dye((0.88, 0.66, 0.64), (14.0, 0.0, 0.0))),
    (Dye((0.66, 0.44, 0.42), (52.0, 14.0, 14.0)), Dye((0.90, 0.78, 0.76), (16.0, 4.0, 4.0))),
    (Dye((0.52, 0.42, 0.38)), Dye((0.84, 0.76, 0.72))),
)
_MUCOSA = np.array([150.0, 72.0, 76.0])


def _brush(shape: tuple[int, ...], polygon: list[tuple[float, float]], softness: float) -> Colours:
    """Fill a polygon with soft edges, [H, W, 1] in 0..1."""
    return _drawn(shape, softness, lambda pen: pen.polygon(_finer(polygon), fill=255))


def _line(shape: tuple[int, ...], path: list[tuple[float, float]], width: float) -> Colours:
    """Draw a line with soft edges, [H, W, 1] in 0..1."""
    thick = max(1, round(width * _FINER))
    return _drawn(shape, width / 4, lambda pen: pen.line(_finer(path), fill=255, width=thick, joint="curve"))


def _drawn(
    shape: tuple[int, ...], softness: float, draw_on: Callable[[ImageDraw.ImageDraw], None]
) -> Colours:
    sheet = Image.new("L", (shape[1] * _FINER, shape[0] * _FINER))
    draw_on(ImageDraw.Draw(sheet))
    sheet = sheet.reduce(_FINER).filter(ImageFilter.GaussianBlur(softness))
    return np.asarray(np.asarray(sheet, dtype=np.float64)[..., None] / 255)


def _finer(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    return [((x + 0.5) * _FINER - 0.5, (y + 0.5) * _FINER - 0.5) for x, y in points]


def _oval(centre: tuple[float, float], width: float, height: float) -> list[tuple[float, float]]:
    return [
        (centre[0] + width * np.cos(t), centre[1] + height * np.sin(t))
        for t in np.linspace(0, 2 * np.pi, 48, endpoint=False)
    ]


def _ragged(
    centre: tuple[float, float], width: float, height: float, rng: np.random.Generator
) -> list[tuple[float, float]]:
    """Return an oval whose outline wavers by up to a third."""
    waves = [(n, rng.uniform(0, 0.33 / n), rng.uniform(0, 2 * np.pi)) for n in (2, 3, 5)]
    angles = np.linspace(0, 2 * np.pi, 72, endpoint=False)
    radius = 1 + sum(size * np.sin(n * angles + phase) for n, size, phase in waves)
    return [
        (centre[0] + width * r * np.cos(t), centre[1] + height * r * np.sin(t))
        for t, r in zip(angles, radius, strict=True)
    ]


def _mottle(shape: tuple[int, ...], cells: int, rng: np.random.Generator) -> Colours:
    """Return unevenness [H, W, 1] in 0..1 that changes over ``cells`` cells a side."""
    coarse = Image.fromarray(rng.integers(0, 256, (cells, cells), np.uint8))
    smooth = coarse.resize((shape[1], shape[0]), Image.Resampling.BICUBIC)
    return np.asarray(np.asarray(smooth, dtype=np.float64)[..., None] / 255)


def _places(shape: tuple[int, ...]) -> tuple[Colours, Colours]:
    y, x = np.mgrid[0 : shape[0], 0 : shape[1]].astype(np.float64)
    return x, y


def _pull(picture: Colours, brush: Colours, across: Colours | float, down: Colours | float) -> Colours:
    """Show at each place what lies (across, down) pixels away, by the brush's weight."""
    height, width = picture.shape[:2]
    x, y = _places(picture.shape)
    x = (x + brush[..., 0] * across).clip(0, width - 1.001)
    y = (y + brush[..., 0] * down).clip(0, height - 1.001)
    left, top = x.astype(int), y.astype(int)
    fx, fy = (x - left)[..., None], (y - top)[..., None]
    upper = picture[top, left] * (1 - fx) + picture[top, left + 1] * fx
    lower = picture[top + 1, left] * (1 - fx) + picture[top + 1, left + 1] * fx
    return np.asarray(upper * (1 - fy) + lower * fy)


def _dyed(picture: Colours, brush: Colours, dye: Dye) -> Colours:
    """Dye where the brush is 1, and in part where it is less."""
    return np.asarray(picture + brush * (picture * np.array(dye.kept) + np.array(dye.added) - picture))


def cleft(picture: Colours, plan: FacePlan, severity: float, rng: np.random.Generator) -> Colours:
    """Split the upper lip: a notch that rises to the nostril, its parted rims, and the tissue in it.

    Nostril and ala of that side widen and sink, as they do where the lip does not hold them.
    """
    unit = plan.unit
    foot = plan.place(plan.mouth, rng.uniform(0.09, 0.15), rng.uniform(-0.03, 0.0))
    lean, slim = rng.uniform(0.0, 0.05) * plan.side * unit, rng.uniform(0.8, 1.2)
    reach, half = (0.12 + 0.22 * severity) * unit, (0.03 + 0.07 * severity) * slim * unit
    x, y = _places(picture.shape)
    rise = ((foot[1] - y) / reach).clip(0, 1)
    middle = foot[0] + lean * rise
    # What is moved lies above the mouth's line: the lower lip has no part in it.
    near = _brush(
        picture.shape, _oval((foot[0], foot[1] - 0.4 * reach), 0.24 * unit, 0.8 * reach), 0.05 * unit
    )
    near = near * ((foot[1] + 0.03 * unit - y) / (0.06 * unit)).clip(0, 1)[..., None]
    parted = _pull(picture, near, -np.tanh((x - middle) / (0.05 * unit)) * 0.6 * half, 0.5 * severity * half)
    ala = _brush(picture.shape, _oval(plan.place(plan.nose, 0.2, 0.06), 0.12 * unit, 0.1 * unit), 0.05 * unit)
    sunken = _pull(parted, ala, -plan.side * 0.05 * severity * unit, -0.05 * severity * unit)
    steps = np.linspace(0, 1, 16)
    widths = half * (1 - steps) ** rng.uniform(0.6, 1.0) + 0.008 * unit
    rims = [
        [(foot[0] + lean * t + way * w, foot[1] - reach * t) for t, w in zip(steps, widths, strict=True)]
        for way in (-1, 1)
    ]
    notch = _brush(picture.shape, rims[0] + rims[1][::-1], 0.016 * unit)
    lip = _patch(picture, plan.place(plan.mouth, 0.0, 0.1), 0.06 * unit)
    depth = 1 - (1 - rise[..., None]) * rng.uniform(0.15, 0.4)
    tissue = (0.5 * lip * np.array([0.82, 0.58, 0.58]) + 0.5 * _MUCOSA) * depth
    return np.asarray(sunken + notch * (0.55 + 0.4 * severity) * (tissue - sunken))


def _patch(picture: Colours, centre: tuple[float, float], radius: float) -> Colours:
    """Return the median colour [3] about a place."""
    x, y = _places(picture.shape)
    return np.asarray(np.median(picture[np.hypot(x - centre[0], y - centre[1]) <= radius], axis=0))


def lesion(picture: Colours, plan: FacePlan, severity: float, rng: np.random.Generator) -> Colours:
    """Draw a pigmented patch with a wavering outline on cheek, chin or forehead."""
    spots = (
        plan.place(plan.nose, 0.5, 0.05),
        plan.place(plan.nose, 0.34, -0.14),
        plan.place(plan.mouth, 0.42, 0.12),
        plan.place(plan.eye, -0.3, -0.36),
    )
    middle = spots[rng.integers(len(spots))]
    centre = (
        middle[0] + rng.uniform(-5, 5) * plan.unit / 76,
        middle[1] + rng.uniform(-5, 5) * plan.unit / 76,
    )
    pigment = _PIGMENTS[rng.integers(len(_PIGMENTS))]
    width = (0.04 + rng.uniform(0.08, 0.16) * severity) * plan.unit
    outline = _ragged(centre, width, width * rng.uniform(0.65, 1.0), rng)
    spot = _brush(picture.shape, outline, 0.02 * plan.unit)
    spot = spot * (1 - 0.3 * _mottle(picture.shape, 40, rng))
    return _dyed(picture, spot * 0.95 * severity**0.7, pigment)


def droop(picture: Colours, plan: FacePlan, severity: float, rng: np.random.Generator) -> Colours:
    """Let a corner of the mouth and the lid above it hang."""
    unit, deep = plan.unit, severity * rng.uniform(0.85, 1.15)
    corner = plan.place(plan.mouth, rng.uniform(0.33, 0.39), 0.0)
    low = _brush(picture.shape, _oval(corner, 0.3 * unit, 0.26 * unit), 0.1 * unit)
    hung = _pull(picture, low, plan.side * 0.03 * deep * unit, -0.19 * deep * unit)
    lid = _brush(
        picture.shape, _oval((plan.eye[0], plan.eye[1] - 0.08 * unit), 0.25 * unit, 0.12 * unit), 0.05 * unit
    )
    return _pull(hung, lid, 0.0, -rng.uniform(0.09, 0.12) * deep * unit)


def swelling(picture: Colours, plan: FacePlan, severity: float, rng: np.random.Generator) -> Colours:
    """Blow up a cheek, the jaw or the lip, with a lit top, a shaded foot and some redness."""
    unit = plan.unit
    lumps = (
        (plan.place(plan.mouth, 0.5, -0.25), 0.38),
        (plan.place(plan.mouth, 0.46, 0.16), 0.33),
        (plan.place(plan.mouth, 0.2, -0.04), 0.26),
    )
    centre, radius = lumps[rng.integers(len(lumps))]
    size = radius * rng.uniform(0.9, 1.1) * unit
    dome = _brush(picture.shape, _oval(centre, size, size * rng.uniform(0.8, 1.0)), 0.32 * size)
    x, y = _places(picture.shape)
    blown = _pull(picture, dome, -0.55 * severity * (x - centre[0]), -0.55 * severity * (y - centre[1]))
    light = dome * np.clip((centre[1] - y) / size, -1, 1)[..., None]
    shaded = blown * (1 + 0.26 * severity * light)
    return _dyed(shaded, dome * severity * rng.uniform(0.3, 1.0), _FLUSH)


def scar(picture: Colours, plan: FacePlan, severity: float, rng: np.random.Generator) -> Colours:
    """Draw an uneven line across cheek, lip, chin or brow: pale, red or dark, the skin beside it drawn in."""
    unit = plan.unit
    courses = (
        (plan.place(plan.nose, 0.42, -0.1), plan.place(plan.mouth, 0.18, 0.1)),
        (plan.place(plan.nose, 0.62, 0.02), plan.place(plan.mouth, 0.3, -0.12)),
        (plan.place(plan.mouth, 0.1, 0.14), plan.place(plan.mouth, 0.44, 0.36)),
        (plan.place(plan.eye, -0.16, -0.42), plan.place(plan.eye, 0.22, -0.16)),
    )
    start, end = courses[rng.integers(len(courses))]
    length = float(np.hypot(end[0] - start[0], end[1] - start[1]))
    bow, waver, phase = rng.uniform(-0.15, 0.15), rng.uniform(0.01, 0.025), rng.uniform(0, 2 * np.pi)
    core_dye, rim_dye = _SCARS[rng.integers(len(_SCARS))]
    # A longer scar reaches further from the middle of its course to both ends.
    steps = 0.5 + np.linspace(-0.5, 0.5, 40) * (0.45 + 0.55 * severity)
    off = length * (bow * np.sin(np.pi * steps) + waver * np.sin(17 * steps + phase))
    path = [
        (start[0] + t * (end[0] - start[0]) + o, start[1] + t * (end[1] - start[1]) + o / 2)
        for t, o in zip(steps, off, strict=True)
    ]
    core, rim, near = (
        _line(picture.shape, path, (least + more * severity) * unit)
        for least, more in ((0.02, 0.03), (0.05, 0.05), (0.12, 0.08))
    )
    x, _ = _places(picture.shape)
    inwards = -np.tanh((x - np.mean([place[0] for place in path])) / (0.08 * unit))
    drawn_in = _pull(picture, near, -inwards * 0.04 * severity * unit, 0.0)
    uneven = 1 - 0.35 * _mottle(picture.shape, 48, rng)
    reddened = _dyed(drawn_in, rim * uneven * severity**0.6, rim_dye)
    return _dyed(reddened, core * uneven * severity**0.4, core_dye)


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
    return to_pixels(drawn)


def to_pixels(colours: Colours) -> NDArray[np.uint8]:
    """Round colours [H, W, 3] to whole grey levels, 0..255; halves go up, what lies outside is cut off."""
    return np.floor(colours + 0.5).clip(0, 255).astype(np.uint8)


def draw_on_face(
    kind: str, face: NDArray[np.uint8], template: Sequence[tuple[float, float]], index: int
) -> NDArray[np.uint8]:
    """Draw an anomaly of ``kind`` on an aligned face [H, W, 3]; ``index`` decides side, severity and shape.

    ``template`` holds the places of right eye, left eye, nose tip and mouth in the face.
    """
    right_eye, left_eye, nose, mouth = template
    plan = FacePlan(right_eye, left_eye, nose, mouth, side=1 if index % 2 else -1)
    return draw(kind, face, plan, SEVERITIES[index % len(SEVERITIES)], seed=index)
