"""The sample portraits that ship with mien: averages of several people each, some with drawn anomalies.

``python -m mien.models.appraisal.training.sample_portraits FACES OUTPUT`` makes them anew from a folder of
portraits with landmarks.
"""

import csv
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from mien.models.appraisal.alignment import warp
from mien.models.appraisal.checkpoint import REFERENCE, load_checkpoint
from mien.models.appraisal.evaluation.anomalies import ANOMALIES, FacePlan, draw
from mien.models.appraisal.portraits import FaceSet, Portrait, cut_faces, read_image, read_portraits

from .morphs import morph, moved, read_landmarks

PEOPLE = 4
"""How many people one sample is the average of."""
_SIZE = 512
_ZOOM = 1.25
_SHIFT = (96.0, 122.0)
_COUNT = 18
_GOLDEN = 6
# Severity of the drawn anomalies, by turns.
_SEVERITIES = (0.8, 0.4, 1.0, 0.6)


def make_samples(faces: FaceSet, template: Sequence[tuple[float, float]], output: Path) -> None:
    """Average groups of people, each person in one group only, and draw on every second average.

    ``template`` holds the aligned frame's eyes, nose and mouth. One in three samples is golden.
    """
    output.mkdir(parents=True, exist_ok=True)
    order = np.random.default_rng(7).permutation(len(faces.portraits))
    chosen = order[: _COUNT * PEOPLE].reshape(_COUNT, PEOPLE)
    rows = []
    for number, group in enumerate(chosen, start=1):
        picture = _average([faces.portraits[i] for i in group], faces.matrices[torch.from_numpy(group)])
        kind, severity = _anomaly(number)
        if kind:
            picture = draw(kind, picture, _plan(template, number), severity, number)
        name = f"nobody-{number:02}{'-' + kind if kind else ''}.jpg"
        Image.fromarray(picture).save(output / name, quality=90)
        split = "golden" if number <= _GOLDEN else "calibration"
        rows.append((name, f"nobody-{number:02}", kind or "none", severity, split))
    with (output / "index.csv").open("w", newline="", encoding="utf-8") as lines:
        writer = csv.writer(lines, lineterminator="\n")
        writer.writerow(("image", "identity", "anomaly", "severity", "split"))
        writer.writerows(rows)


def _anomaly(number: int) -> tuple[str, float]:
    """Return what is drawn on a sample: nothing on odd numbers."""
    if number % 2:
        return "", 0.0
    index = number // 2 - 1
    return list(ANOMALIES)[index % len(ANOMALIES)], _SEVERITIES[index % len(_SEVERITIES)]


def _portrait_matrix(matrix: torch.Tensor) -> torch.Tensor:
    """Turn the transform to the aligned face into one to a portrait with hair and neck."""
    return matrix * _ZOOM + torch.tensor([[0, 0, _SHIFT[0]], [0, 0, _SHIFT[1]]], dtype=torch.float64)


def _average(people: Sequence[Portrait], matrices: torch.Tensor) -> NDArray[np.uint8]:
    frames = [_portrait_matrix(matrix) for matrix in matrices]
    pictures = [
        warp(read_image(person.image), frame, _SIZE) for person, frame in zip(people, frames, strict=True)
    ]
    shapes = [
        moved(read_landmarks(person.landmarks), frame.numpy())
        for person, frame in zip(people, frames, strict=True)
        if person.landmarks
    ]
    shares = [1 / len(people)] * len(people)
    mean = np.mean(shapes, axis=0)
    average = morph(torch.stack(pictures), shapes, mean, shares)
    return average.permute(1, 2, 0).contiguous().numpy()


def _plan(template: Sequence[tuple[float, float]], number: int) -> FacePlan:
    right_eye, left_eye, nose, mouth = ((x * _ZOOM + _SHIFT[0], y * _ZOOM + _SHIFT[1]) for x, y in template)
    return FacePlan(right_eye, left_eye, nose, mouth, side=1 if number % 4 else -1)


def main(faces: Path, output: Path) -> None:
    """Make the samples from the training portraits of a folder that have landmarks."""
    checkpoint = load_checkpoint(REFERENCE)
    people = [p for p in read_portraits(faces, "train") if p.landmarks]
    cut = cut_faces(people, checkpoint, lambda done, total: None)
    make_samples(cut, checkpoint.config.alignment.template, output)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
