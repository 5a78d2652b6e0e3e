"""Painting on aligned faces in linear light: soft shapes, smooth noise, displacement.

The drawings of unseen anomalies and of nuisances are made of these. They share no code with
``anomalies`` and none with what training draws, so that no trace of a shared brush helps a checkpoint.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, map_coordinates, zoom

from mien.models.appraisal.evaluation.anomalies import FacePlan

Light = NDArray[np.float64]
"""Linear light [H, W, 3] in 0..1."""
Map = NDArray[np.float64]
"""One number a pixel, [H, W]."""
Point = tuple[float, float]
_GAMMA = 2.2


class Sheet(NamedTuple):
    """A face to paint on.

    ``light`` is its linear light, ``plan`` tells where its parts are, ``severity`` is 0..1, and ``rng``
    draws what chance decides.
    """

    light: Light
    plan: FacePlan
    severity: float
    rng: np.random.Generator


Painting = Callable[[Sheet], Light]
"""Returns the light of a face after something was painted on it."""


def paint(
    painting: Painting, face: NDArray[np.uint8], plan: FacePlan, severity: float, seed: int
) -> NDArray[np.uint8]:
    """Paint on a face, uint8 [H, W, 3]; the same seed paints the same."""
    painted = painting(Sheet(_to_light(face), plan, severity, np.random.default_rng(seed)))
    return _to_face(painted)


def _to_light(face: NDArray[np.uint8]) -> Light:
    return np.asarray((face / 255.0) ** _GAMMA)


def _to_face(light: Light) -> NDArray[np.uint8]:
    return np.floor(light.clip(0, 1) ** (1 / _GAMMA) * 255 + 0.5).astype(np.uint8)


def grid(light: Light) -> tuple[Map, Map]:
    """Return the column and the row of every pixel, [H, W] each."""
    y, x = np.mgrid[0 : light.shape[0], 0 : light.shape[1]].astype(np.float64)
    return x, y


def bump(light: Light, centre: Point, across: float, down: float, power: float = 2.0) -> Map:
    """Return a soft ellipse of height 1; a higher ``power`` gives it a flatter top and a steeper edge."""
    x, y = grid(light)
    radius = np.hypot((x - centre[0]) / across, (y - centre[1]) / down)
    return np.asarray(np.exp(-(radius**power)))


def step(level: Map, softness: float) -> Map:
    """Return 0 where ``level`` is well below 0 and 1 where it is well above."""
    return np.asarray(0.5 + 0.5 * np.tanh(level / (2 * softness)))


def noise(light: Light, cells: int, rng: np.random.Generator) -> Map:
    """Draw smooth noise of mean 0 and deviation 1 that changes over ``cells`` cells a side."""
    rows, columns = light.shape[:2]
    coarse = rng.standard_normal((cells + 3, cells + 3))
    fine = zoom(coarse, ((rows + 4) / (cells + 1), (columns + 4) / (cells + 1)), order=3)[:rows, :columns]
    return np.asarray((fine - fine.mean()) / fine.std())


def displaced(light: Light, across: Map | float, down: Map | float) -> Light:
    """Move what is painted by (across, down) pixels: every place shows what lies so far back."""
    x, y = grid(light)
    places = np.stack([y - down, x - across])
    return np.stack(
        [map_coordinates(light[..., c], places, order=1, mode="nearest") for c in range(3)], axis=-1
    )


def absorbed(light: Light, cover: Map, depth: tuple[float, float, float]) -> Light:
    """Take light away as a dye does: by exp(-depth) of each colour where ``cover`` is 1."""
    return np.asarray(light * np.exp(-cover[..., None] * np.array(depth)))


def covered(light: Light, cover: Map, colour: NDArray[np.float64] | tuple[float, float, float]) -> Light:
    """Lay a colour, [3] or [H, W, 3], over a face where ``cover`` is 1, and in part where it is less."""
    return np.asarray(light + cover[..., None].clip(0, 1) * (np.asarray(colour) - light))


def blurred(light: Light, radius: float) -> Light:
    """Blur by a Gaussian of ``radius`` pixels."""
    return np.asarray(gaussian_filter(light, (radius, radius, 0), mode="nearest"))


def grain(light: Light) -> Light:
    """Return the face's own finest texture and noise, of mean near 0."""
    return np.asarray(light - blurred(light, 1.5))
