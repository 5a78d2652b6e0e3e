"""Whether a photograph can be rated: measures of it and of the face that was found, and what they mean.

A measure is one number. A pipeline says in its ``refusals`` from which value on a photograph is rated with a
note, and from which it is not rated; docs/refusals.md tells how the limits were chosen. All here is plain
arithmetic on what alignment found, so that an app can follow it (``quality_vectors.json``).
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from mien.mobile_reference.contract import ABOVE, LimitSpec, RefusalSpec
from mien.mobile_reference.errors import FaceError

from .alignment import EPSILON, AlignedFace, Floats
from .photograph import Pixels

OK, NOTE, REFUSE = "ok", "note", "refuse"
_LUMA = np.array([0.299, 0.587, 0.114])
"""Shares of red, green and blue in brightness, by ITU-R BT.601."""
_FLAT = 1e-6
_EYES_APART = 76.0
"""Of the face, in pixels, by which the patches about eyes and mouth are measured."""
_BLACK, _BURNT = 12, 250
"""A pixel is black where no colour is brighter, and burnt out where none is darker."""


@dataclass(frozen=True)
class Measure:
    """What can be measured, and what it means; beyond its limit ``reason`` is wrong, and ``advice`` helps."""

    name: str
    meaning: str
    reason: str
    advice: str


MEASURES = (
    Measure(
        "detector_score",
        "the detector's score at the second look, 0..1; 0 where that saw no face",
        "this is hardly a face",
        "give a photograph of an uncovered, frontal face",
    ),
    Measure(
        "faces",
        "how many faces the first look saw",
        "several faces are seen, the largest was rated",
        "cut the photograph to one face",
    ),
    Measure(
        "eye_distance",
        "between the eyes, in pixels of the photograph",
        "the face is small",
        "give a closer or larger photograph",
    ),
    Measure(
        "roll",
        "angle by which alignment turned the photograph, in degrees, 0..180",
        "the head does not stand upright",
        "turn the photograph",
    ),
    Measure(
        "turn",
        "twice the way of the nose from the middle of the ears, by the distance of the ears, across the "
        "aligned face; 0.3 is some 12 degrees, 0.9 some 35",
        "the head is turned aside",
        "give a photograph that faces the camera",
    ),
    Measure(
        "misfit",
        "root mean square distance of eyes, nose and mouth from the template, by the distance of its eyes",
        "eyes, nose and mouth do not lie as in a frontal face",
        "give a photograph that faces the camera",
    ),
    Measure(
        "outside",
        "share of the face region that lies beyond the border of the photograph",
        "the border cuts the face",
        "give a photograph that shows the whole face",
    ),
    Measure(
        "eyes_shown",
        "mean brightness beneath the brighter eye, by that of nose and cheeks",
        "the eyes seem to be covered",
        "take sunglasses off, and hair and hands out of the face",
    ),
    Measure(
        "mouth_shown",
        "standard deviation of the brightness about the mouth, by that about the eyes",
        "the mouth seems to be covered",
        "take masks, scarves and hands out of the face",
    ),
    Measure(
        "sharpness",
        "mean absolute Laplacian of the brightness over the face region, by its standard deviation",
        "the face is blurred",
        "give a sharper photograph",
    ),
    Measure(
        "contrast",
        "standard deviation of the brightness over the face region, 0..255",
        "the face has hardly any contrast",
        "give a photograph in better light",
    ),
    Measure(
        "brightness",
        "mean brightness of the face region, 0..255",
        "the face is dark",
        "give a brighter photograph",
    ),
    Measure(
        "black",
        "share of the face region in which no colour is above 12",
        "much of the face is black",
        "give a photograph with light on the whole face",
    ),
    Measure(
        "burnt",
        "share of the face region in which no colour is below 250",
        "much of the face is burnt out",
        "give a photograph with less light",
    ),
)
"""Every measure, in the order in which an app may list them."""
_MEASURES: Mapping[str, Measure] = {measure.name: measure for measure in MEASURES}


@dataclass(frozen=True)
class Finding:
    """A measure's ``value``, the ``limit`` that decided, none where none is given, and the ``verdict``."""

    measure: str
    value: float
    limit: float | None
    verdict: str

    @property
    def reason(self) -> str:
        """What is wrong, and by which figure."""
        return f"{_MEASURES[self.measure].reason} ({self.measure} {self.value:.3g}, limit {self.limit:.3g})"

    @property
    def advice(self) -> str:
        """What to do about it."""
        return _MEASURES[self.measure].advice

    def record(self) -> dict[str, Any]:
        """Return it as JSON has it: null is a value that is not a number."""
        return asdict(self) | {"value": self.value if math.isfinite(self.value) else None}

    @classmethod
    def read(cls, record: Mapping[str, Any]) -> Self:
        """Read what ``record`` gave."""
        return cls(**{**record, "value": math.nan if record["value"] is None else record["value"]})


class RefusedError(FaceError):
    """A photograph shows a face that cannot be rated; ``findings`` has every measure."""

    def __init__(self, findings: Iterable[Finding]) -> None:
        self.findings = tuple(findings)
        refused = [finding for finding in self.findings if finding.verdict == REFUSE]
        reasons = ", ".join(finding.reason for finding in refused)
        super().__init__(f"not rated, since {reasons}; {refused[0].advice}")


def judge(values: Mapping[str, float], limits: Iterable[LimitSpec]) -> tuple[Finding, ...]:
    """Hold measures against their limits, in the order of these; one that is not a number is refused."""
    return tuple(_finding(values[limit.measure], limit) for limit in limits)


def _finding(value: float, limit: LimitSpec) -> Finding:
    for bound, verdict in ((limit.refuse, REFUSE), (limit.note, NOTE)):
        if bound is not None and not (value <= bound if limit.worse == ABOVE else value >= bound):
            return Finding(limit.measure, value, bound, verdict)
    return Finding(limit.measure, value, limit.note if limit.note is not None else limit.refuse, OK)


def measure(
    face: AlignedFace, width: int, height: int, template: Iterable[tuple[float, float]], region: RefusalSpec
) -> dict[str, float]:
    """Measure a face that was found in a photograph of ``width`` x ``height`` pixels; values by name."""
    goal = np.array(template)
    right, left = face.keypoints[:2]
    (a, _, _), (b, _, _) = face.matrix
    keypoints = face.keypoints @ face.matrix[:, :2].T + face.matrix[:, 2]
    inside = face_region(region, len(face.pixels))
    apart = np.linalg.norm(keypoints[:4] - goal, axis=1)
    brightness = face.pixels @ _LUMA
    return {
        "detector_score": face.score,
        "faces": float(face.faces),
        "eye_distance": float(np.linalg.norm(left - right)),
        "roll": math.degrees(abs(math.atan2(b, a))),
        "turn": turn(keypoints),
        "misfit": float(np.sqrt((apart**2).mean()) / np.linalg.norm(goal[1] - goal[0])),
        "outside": float(_beyond(face.matrix, len(face.pixels), width, height)[inside].mean()),
        **_shown(brightness, goal),
        **_light(brightness, inside),
        **_clipped(face.pixels[inside]),
    }


def turn(keypoints: Floats) -> float:
    """Return the turn of the head, from six keypoints [6, 2] of the aligned face.

    Ears that lie on one place, or on the wrong sides, count as one pixel apart: the turn is large.
    """
    nose, right_ear, left_ear = keypoints[[2, 4, 5], 0]
    ears = max(left_ear - right_ear, 1.0)
    return float(abs((nose - right_ear) - (left_ear - nose)) / ears)


@lru_cache(maxsize=4)
def face_region(region: RefusalSpec, size: int) -> NDArray[np.bool_]:
    """Return which pixels [size, size] of the aligned face lie in the face region, a superellipse.

    It is the same for every photograph, and cannot be written to.
    """
    rows, columns = np.mgrid[0:size, 0:size]
    (x, y), (across, down) = region.region_centre, region.region_radii
    distance = (abs(columns - x) / across) ** region.region_exponent
    distance += (abs(rows - y) / down) ** region.region_exponent
    inside = np.asarray(distance <= 1)
    inside.setflags(write=False)
    return inside


def _beyond(matrix: Floats, size: int, width: int, height: int) -> NDArray[np.bool_]:
    """Return which pixels [size, size] of the aligned face were taken from beyond the photograph's border."""
    inverse = np.linalg.inv(np.vstack([matrix, [0, 0, 1]]))[:2]
    columns = np.arange(size)
    rows = columns[:, None]
    x, y = (columns * row[0] + rows * row[1] + row[2] for row in inverse)
    return np.asarray((x < -0.5) | (y < -0.5) | (x > width - 0.5) | (y > height - 0.5))


def _shown(brightness: Floats, goal: Floats) -> dict[str, float]:
    """Tell whether eyes and mouth are seen; lengths are those of a face of 76 pixels between the eyes."""
    unit = float(np.linalg.norm(goal[1] - goal[0])) / _EYES_APART

    def patch(centre: Floats, right: float, down: float, across: float, tall: float) -> Floats:
        return _patch(brightness, centre + np.array([right, down]) * unit, (across * unit, tall * unit))

    right_eye, left_eye, nose, mouth = goal
    beneath = max(float(patch(eye, 0, 17, 12, 5).mean()) for eye in (right_eye, left_eye))
    cheeks = [float(patch(eye, side, 50, 8, 8).mean()) for eye, side in ((right_eye, -6), (left_eye, 6))]
    skin = (float(patch(nose, 0, -15, 8, 10).mean()) + sum(cheeks)) / 3
    eyes = float(patch((right_eye + left_eye) / 2, 0, 0, 48, 30).std())
    return {
        "eyes_shown": beneath / max(skin, 1.0),
        "mouth_shown": float(patch(mouth, 0, 3, 40, 14).std()) / eyes if eyes > _FLAT else 0.0,
    }


def _patch(brightness: Floats, centre: Floats, half: tuple[float, float]) -> Floats:
    """Return the pixels about a place (x, y), at least one: those within ``half`` across and down."""
    at = centre.clip(0, len(brightness) - 1)
    columns, rows = (
        np.abs(np.arange(len(brightness)) - place) <= max(reach, 0.5) + EPSILON
        for place, reach in zip(at, half, strict=True)
    )
    return np.asarray(brightness[rows][:, columns])


def _light(brightness: Floats, inside: NDArray[np.bool_]) -> dict[str, float]:
    within = brightness[inside]
    contrast = float(within.std())
    edges = 4 * brightness[1:-1, 1:-1] - brightness[:-2, 1:-1] - brightness[2:, 1:-1]
    edges -= brightness[1:-1, :-2] + brightness[1:-1, 2:]
    change = float(np.abs(edges)[inside[1:-1, 1:-1]].mean())
    return {
        # A face of one colour has no edges, but for last bits.
        "sharpness": change / contrast if contrast > _FLAT else 0.0,
        "contrast": contrast,
        "brightness": float(within.mean()),
    }


def _clipped(colours: Pixels) -> dict[str, float]:
    # Colour by colour: numpy is slow along an axis of three.
    red, green, blue = colours.T
    black = (red <= _BLACK) & (green <= _BLACK) & (blue <= _BLACK)
    burnt = (red >= _BURNT) & (green >= _BURNT) & (blue >= _BURNT)
    return {"black": float(black.mean()), "burnt": float(burnt.mean())}
