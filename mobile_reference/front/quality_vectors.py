"""Vectors for the measures of a photograph: what alignment found, and every measure of it.

    python -m mien.mobile_reference.front.quality_vectors > mobile_reference/front/quality_vectors.json

An app's own measures can be checked against the file without a model and without a photograph. ``cases`` give
an aligned face (``pixels``, hexadecimal, RGB, row by row), keypoints in pixels of the photograph, and the
matrix; measures agree within 0.000001, and ``outside`` within two pixels of the face region. ``looks`` give a
candidate of the detector that looked at a square turned by so many quarters, counter-clockwise, and the same
in shares of the square itself.
"""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from mien.mobile_reference.contract import RefusalSpec
from mien.mobile_reference.output.json_text import json_text

from .alignment import AlignedFace, Floats, similarity, turned_back
from .quality import measure

SIZE = 16
TEMPLATE = ((5.625, 6.25), (10.375, 6.25), (8.0, 8.6875), (8.0, 11.1875))
REGION = RefusalSpec((8.0, 8.875), (4.375, 5.3125), 3.0, ())
"""The rule of the checkpoint that ships with mien, at a sixteenth of its size."""
_FACE = np.array([(0.38, 0.4), (0.62, 0.4), (0.5, 0.53), (0.5, 0.66), (0.3, 0.42), (0.7, 0.42)])


def cases() -> Iterator[dict[str, Any]]:
    """Yield faces that stand upright, are turned, cut, dark, burnt out, flat and not faces at all."""
    rng = np.random.default_rng(30)
    noise = rng.integers(0, 256, (SIZE, SIZE, 3), np.uint8)
    slope = np.linspace(0, 255, SIZE).astype(np.uint8)
    shaded = np.broadcast_to(slope[None, :, None], (SIZE, SIZE, 3))
    clipped = np.where(shaded > 127, np.uint8(250), np.uint8(12))
    flat = np.full((SIZE, SIZE, 3), 7, np.uint8)
    turned = _rolled(_FACE, 3.0)
    aside = _FACE + np.array([(0, 0), (0, 0), (0.09, 0), (0.06, 0), (0.05, 0), (-0.02, 0)])
    profile = np.array([(0.5, 0.4), (0.52, 0.4), (0.62, 0.5), (0.55, 0.62), (0.5, 0.4), (0.48, 0.4)])
    yield _case("upright, noise", noise, 60 * _FACE + 3.125, (80, 70), 0.8125, 1)
    yield _case("tilted, shaded", shaded, 90 * _rolled(_FACE, 0.4) + 10.5, (640, 480), 0.75, 2)
    yield _case("upside down", noise[::-1], 400 * turned + 100, (749, 1333), 0.625, 1)
    yield _case("turned aside, half black and half burnt out", clipped, 200 * aside, (512, 512), 0.5, 1)
    yield _case("profile", shaded[::-1], 250 * profile + 20, (512, 512), 0.6875, 3)
    yield _case("cut by the left and the upper border", noise, 60 * _FACE - 25, (80, 70), 0.71875, 1)
    yield _case("cut by the right and the lower border", noise, 60 * _FACE + 30, (60, 62), 0.71875, 1)
    yield _case("one colour, not seen again", flat, 60 * _FACE, (80, 70), 0.0, 1)


def looks() -> Iterator[dict[str, Any]]:
    """Yield one candidate for each turn; eighths and dyadic numbers, so that they come back exactly."""
    candidate = np.array([[0.75, 0.25, 0.375, 0.125, 0.5, *np.arange(1, 13) / 16]])
    for turn in range(4):
        back = turned_back(candidate, turn)[0]
        yield {"turn": turn, "candidate": candidate[0].tolist(), "back": back.tolist()}


def vectors() -> dict[str, Any]:
    """Return the content of ``quality_vectors.json``."""
    region = {key: value for key, value in asdict(REGION).items() if key != "limits"}
    return {
        "size": SIZE,
        "template": TEMPLATE,
        **region,
        "cases": list(cases()),
        "looks": list(looks()),
    }


def _rolled(points: Floats, angle: float) -> Floats:
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return np.asarray((points - 0.5) @ turn + 0.5)


def _case(
    name: str, pixels: NDArray[np.uint8], keypoints: Floats, extent: tuple[int, int], score: float, faces: int
) -> dict[str, Any]:
    places = np.round(keypoints * 8) / 8
    matrix = np.round(similarity(places[:4], np.array(TEMPLATE)), 9)
    face = AlignedFace(np.ascontiguousarray(pixels), matrix, faces, score, places)
    measured = measure(face, *extent, TEMPLATE, REGION)
    return {
        "name": name,
        "photograph": {"width": extent[0], "height": extent[1]},
        "score": score,
        "faces": faces,
        "keypoints": places.tolist(),
        "matrix": (matrix + 0.0).tolist(),
        "pixels": face.pixels.tobytes().hex(),
        "measures": {key: round(value, 9) for key, value in measured.items()},
    }


if __name__ == "__main__":
    click.echo(json_text(vectors(), indent=1))
