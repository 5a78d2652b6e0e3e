"""Kinds of anomaly that training never draws: what does a checkpoint make of the unknown?

Training knows clefts, spots, droops, swellings and scars. These eight are others, four of colour or
texture and four of shape. They are painted in linear light by rules of their own; see ``painting``.
Place, outline and tone follow the seed, severity makes the same anomaly larger and stronger. Severities
of different kinds are not a common unit.
"""

import numpy as np
from numpy.typing import NDArray

from mien.models.appraisal.evaluation.anomalies import FacePlan
from mien.models.appraisal.evaluation.drawings.painting import (
    Light,
    Map,
    Painting,
    Point,
    Sheet,
    absorbed,
    blurred,
    bump,
    covered,
    displaced,
    grain,
    grid,
    noise,
    paint,
    step,
)


def lost_brow(sheet: Sheet) -> Light:
    """Take the hair of a brow away, from its outer end inwards; the skin about it fills the place."""
    light, plan, severity, rng = sheet
    unit = plan.unit
    centre = plan.place(plan.eye, 0.03, -0.25)
    brow = bump(light, centre, 0.44 * unit, 0.15 * unit, 6)
    x, _ = grid(light)
    inwards = plan.side * (x - centre[0]) / unit
    start = 0.45 - 1.05 * severity * rng.uniform(0.85, 1.1)
    bare = brow * step(inwards - start, 0.05)
    # Skin is what lies about the brow: the weighted blur leaves out brow and eye.
    skin = 1 - np.maximum(bump(light, centre, 0.5 * unit, 0.17 * unit, 8), _eye(sheet))
    weight = blurred(skin[..., None], 0.16 * unit)
    filled = blurred(light * skin[..., None], 0.16 * unit) / (weight + 1e-6)
    texture = displaced(grain(light), 0.0, 0.42 * unit)
    return covered(light, bare * severity**0.3, filled + texture)


def _eye(sheet: Sheet) -> Map:
    return bump(sheet.light, sheet.plan.eye, 0.3 * sheet.plan.unit, 0.12 * sheet.plan.unit, 6)


def keloid(sheet: Sheet) -> Light:
    """Raise a shiny, lobed growth on jaw, cheek or chin, redder and darker than the skin."""
    light, plan, severity, rng = sheet
    unit = plan.unit
    start = _one_of(
        rng,
        plan.place(plan.mouth, 0.55, 0.0),
        plan.place(plan.mouth, 0.3, 0.3),
        plan.place(plan.nose, 0.55, 0.1),
    )
    way, length = rng.uniform(0, np.pi), unit * (0.05 + 0.22 * severity)
    size = unit * (0.03 + 0.055 * severity) * rng.uniform(0.9, 1.15)
    height = np.zeros(light.shape[:2])
    for share in np.linspace(-0.5, 0.5, 4):
        lobe = (
            start[0] + length * share * np.cos(way) + size * rng.uniform(-0.4, 0.4),
            start[1] + length * share * np.sin(way) + size * rng.uniform(-0.4, 0.4),
        )
        height = np.maximum(height, bump(light, lobe, size * rng.uniform(0.8, 1.2), size, 3))
    tinted = absorbed(light, height * (0.35 + 0.65 * severity), (0.25, 0.75, 0.65))
    fall = np.gradient(height * size, axis=0)  # lit from above: the upper flank is bright
    lit = tinted * (1 + 0.9 * fall[..., None].clip(-0.7, 0.7))
    gloss = bump(light, (start[0], start[1] - 0.4 * size), 0.5 * size, 0.25 * size)
    return covered(lit, gloss * 0.3 * severity, (0.9, 0.85, 0.8))


def bruise(sheet: Sheet) -> Light:
    """Dye a cheek or an eye's surroundings: purple in the middle, yellow and green at the rim."""
    light, plan, severity, rng = sheet
    unit = plan.unit
    centre = _one_of(
        rng,
        plan.place(plan.eye, 0.02, 0.22),
        plan.place(plan.nose, 0.55, 0.1),
        plan.place(plan.mouth, 0.5, 0.05),
    )
    size = unit * (0.16 + 0.16 * severity)
    ragged = noise(light, 9, rng) * 0.12 + 1
    core = (bump(light, centre, 0.75 * size, 0.6 * size, 2.5) * ragged).clip(0, 1)
    rim = (bump(light, centre, 1.25 * size, size, 3) * ragged).clip(0, 1) - core
    dyed = absorbed(light, core * severity, (0.95, 1.45, 0.8))
    yellowed = absorbed(dyed, rim.clip(0, 1) * severity, (0.2, 0.3, 1.0))
    # On dark skin little light is left to take away: there the bruise's own blue shows.
    return covered(yellowed, core * severity * 0.25, (0.10, 0.05, 0.16))


def vitiligo(sheet: Sheet) -> Light:
    """Take the pigment from ragged patches about eye and mouth."""
    light, plan, severity, rng = sheet
    unit = plan.unit
    places = (
        plan.place(plan.mouth, 0.4, 0.05),
        plan.place(plan.eye, 0.1, 0.28),
        plan.place(plan.eye, 0.05, -0.45),
    )
    chosen = rng.permutation(3)
    near = bump(light, places[chosen[0]], 0.36 * unit, 0.3 * unit, 3)
    near = np.maximum(near, 0.9 * bump(light, places[chosen[1]], 0.26 * unit, 0.22 * unit, 3))
    level = near * 2 + 0.3 * noise(light, 14, rng) - 1.9 + 1.1 * severity
    # Bare skin has one tone on everybody, under the light and shade of the place.
    shade = (light / blurred(light, 0.3 * unit).clip(1e-3)).clip(0.5, 1.2)
    bare = np.maximum(light, np.array([0.66, 0.49, 0.40]) * shade)
    return covered(light, step(level, 0.07) * step(near - 0.1, 0.02) * severity**0.8 * 0.85, bare)


def swollen_lip(sheet: Sheet) -> Light:
    """Blow one half of the upper or of the lower lip up, in shape alone."""
    light, plan, severity, rng = sheet
    unit = plan.unit
    centre = plan.place(plan.mouth, rng.uniform(0.08, 0.16), _one_of(rng, -0.05, 0.09))
    window = bump(light, centre, 0.34 * unit, 0.24 * unit, 2.5)
    x, y = grid(light)
    swell = 0.5 * severity * rng.uniform(0.9, 1.1)
    return displaced(light, window * swell * 0.5 * (x - centre[0]), window * swell * (y - centre[1]))


def sunken_cheek(sheet: Sheet) -> Light:
    """Let a cheek fall in: its outline moves to the middle and its hollow lies in shade."""
    light, plan, severity, rng = sheet
    unit = plan.unit
    outline = plan.place(plan.mouth, rng.uniform(0.75, 0.85), rng.uniform(-0.2, -0.05))
    window = bump(light, outline, 0.34 * unit, 0.42 * unit, 2.5)
    drawn_in = displaced(light, -plan.side * window * 0.17 * severity * unit, 0.0)
    hollow = bump(light, plan.place(plan.mouth, 0.52, -0.18), 0.2 * unit, 0.34 * unit, 2.5)
    bone = bump(light, plan.place(plan.nose, 0.6, -0.1), 0.24 * unit, 0.1 * unit)
    shaded = absorbed(drawn_in, hollow * severity, (0.5, 0.55, 0.55))
    return np.asarray(shaded * (1 + 0.2 * severity * bone[..., None]))


def shifted_eye(sheet: Sheet) -> Light:
    """Set an eye with its lids lower or higher, and further in or out."""
    light, plan, severity, rng = sheet
    unit = plan.unit
    window = bump(light, plan.eye, 0.36 * unit, 0.26 * unit, 4)
    down = _one_of(rng, 1.0, 1.0, -0.8) * rng.uniform(0.12, 0.15) * severity * unit
    across = plan.side * rng.uniform(-0.05, 0.05) * severity * unit
    return displaced(light, window * across, window * down)


def crooked_nose(sheet: Sheet) -> Light:
    """Bend the bridge of the nose and its tip to one side."""
    light, plan, severity, rng = sheet
    unit = plan.unit
    middle = plan.place(plan.nose, 0.0, rng.uniform(-0.16, -0.04))
    window = bump(light, middle, 0.32 * unit, 0.42 * unit, 3)
    return displaced(light, plan.side * window * rng.uniform(0.15, 0.19) * severity * unit, 0.0)


def _one_of[T: (float, Point)](rng: np.random.Generator, *choices: T) -> T:
    return choices[int(rng.integers(len(choices)))]


UNSEEN: dict[str, Painting] = {
    "lost brow": lost_brow,
    "keloid": keloid,
    "bruise": bruise,
    "vitiligo": vitiligo,
    "swollen lip": swollen_lip,
    "sunken cheek": sunken_cheek,
    "shifted eye": shifted_eye,
    "crooked nose": crooked_nose,
}


def draw_unseen(
    kind: str, face: NDArray[np.uint8], plan: FacePlan, severity: float, seed: int
) -> NDArray[np.uint8]:
    """Draw an anomaly of an unseen ``kind`` on a face, uint8 [H, W, 3]; severity 0 leaves it as it is."""
    return paint(UNSEEN[kind], face, plan, severity, seed) if severity else face.copy()
