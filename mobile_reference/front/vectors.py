"""Vectors for alignment alone: from what a detector says to the transform, step by step.

    python -m mien.mobile_reference.front.vectors > mobile_reference/front/alignment_vectors.json

An app's own alignment can be checked against the file without a model and without a photograph. Every case
names the size of a photograph and one candidate for either detection, and gives all that follows by
docs/manifest.md: squares, sides of the box filters, the face and its keypoints before and after they are
rounded to ``snap``, and the matrix. Numbers before rounding agree within 0.000001, matrices within 0.000001
where a keypoint counts, and what is rounded agrees exactly.
"""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from mien.mobile_reference.output.json_text import json_text

from .alignment import (
    EPSILON,
    SNAP,
    AlignmentRule,
    Floats,
    Square,
    about,
    in_photograph,
    reduction,
    similarity,
    snap,
    whole,
)

RULE = AlignmentRule(
    size=256,
    template=((90.0, 100.0), (166.0, 100.0), (128.0, 139.0), (128.0, 179.0)),
    score=0.5,
    overlap=0.3,
    second_look=2.0,
    smallest=64.0,
    detector_size=128,
    sure=0.75,
)
"""The rule of the checkpoint that ships with mien."""
_SIZES = ((512, 512), (1024, 1024), (1000, 750), (749, 1333), (4032, 3024), (641, 480))
_FACE = np.array([(0.38, 0.4), (0.62, 0.4), (0.5, 0.53), (0.5, 0.66), (0.3, 0.42), (0.7, 0.42)])
"""Where the second detection sees eyes, nose, mouth and ears of an upright face."""
# Nearer than this to a step's border two ways of counting could round apart; exact ties are their own case.
_NEAR = 1e-4
_TURNS = (0.0, 0.3, -1.2)


def cases() -> Iterator[dict[str, Any]]:
    """Yield every case: ordinary faces, turned ones, one over the border, and exact ties."""
    rng = np.random.default_rng(20)
    for width, height in _SIZES:
        for turn in _TURNS:
            yield _case(
                f"{width}x{height}, turned by {turn}", width, height, *_clear(rng, width, height, turn)
            )
    yield _case("a face over the upper left border", 800, 600, *_border())
    yield _case("ties, which are rounded up", 1024, 1024, *_ties())


def vectors() -> dict[str, Any]:
    """Return the content of ``alignment_vectors.json``."""
    return {"rule": asdict(RULE), "snap": SNAP, "epsilon": EPSILON, "cases": list(cases())}


def _clear(
    rng: np.random.Generator, width: int, height: int, turn: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Draw two candidates until no place of theirs lies near the border of a step."""
    while True:
        first = _candidate(rng.uniform(0.42, 0.58, 2), rng.uniform(0.2, 0.4), np.zeros((6, 2)))
        turned = (_FACE - 0.5) @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]]) + 0.5
        second = _candidate(np.full(2, 0.5), 0.5, turned + rng.normal(0, 0.01, (6, 2)))
        square = whole(width, height)
        face = in_photograph(first[None].astype(np.float64), square)[0]
        found = in_photograph(second[None].astype(np.float64), about(snap(face), RULE))[0]
        if min(_from_border(face[1:5]), _from_border(found[5:13])) > _NEAR:
            return first, second


def _from_border(places: Floats) -> float:
    steps = places / SNAP + 0.5
    return float(np.abs(steps - np.round(steps)).min())


def _border() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    return _candidate(np.array([0.03, 0.1501]), 0.2003, _FACE), _candidate(
        np.full(2, 0.5), 0.5, _FACE - 0.0301
    )


def _ties() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Sixteenths of a pixel, odd ones: the first detection's square is 1024 pixels, the second's 512."""
    first = _candidate(np.array([0.5, 0.5]) + 9 / 16 / 1024, 0.25, np.zeros((6, 2)))
    second = _candidate(np.full(2, 0.5), 0.5, np.round(_FACE * 512) / 512 + 3 / 16 / 512)
    return first, second


def _candidate(centre: Floats, side: float, keypoints: Floats) -> NDArray[np.float32]:
    # Of a score of 1 a single candidate's blend is the candidate itself, bit by bit.
    return np.array([1, *centre, side, side, *keypoints.reshape(-1)], np.float32)


def _case(
    name: str, width: int, height: int, first: NDArray[np.float32], second: NDArray[np.float32]
) -> dict[str, Any]:
    outer = whole(width, height)
    face = in_photograph(first[None].astype(np.float64), outer)[0]
    inner = about(snap(face), RULE)
    found = in_photograph(second[None].astype(np.float64), inner)[0]
    keypoints = snap(found[5:13]).reshape(4, 2)
    matrix = similarity(keypoints, np.array(RULE.template))
    return {
        "name": name,
        "photograph": {"width": width, "height": height},
        "first_look": {
            **_look(outer, width, height, first),
            "box": _plain(face[1:5]),
            "snapped": _plain(snap(face[1:5])),
        },
        "second_look": {
            **_look(inner, width, height, second),
            "keypoints": _plain(found[5:13].reshape(4, 2)),
            "snapped": _plain(keypoints),
        },
        "alignment": {"matrix": _plain(matrix), "reduction": reduction(matrix, width, height)},
    }


def _look(square: Square, width: int, height: int, candidate: NDArray[np.float32]) -> dict[str, Any]:
    return {
        "square": {"x": float(square.x), "y": float(square.y), "side": float(square.side)},
        "reduction": reduction(square.matrix(RULE.detector_size), width, height),
        "candidate": [float(value) for value in candidate],
    }


def _plain(values: Floats) -> Any:
    """Numbers of nine decimals: what follows them in float64 is a matter of the processor."""
    return (np.round(values, 9) + 0.0).tolist()  # no -0


if __name__ == "__main__":
    click.echo(json_text(vectors(), indent=1))
