"""Which variant of a platform an app should take: the smallest that errs by at most a third of its gate.

Judged is the one graph from aligned face to score, by the golden faces, from which neither weights nor ranges
were made, plain and with every kind of drawn anomaly: typical faces alone forgive almost everything. What
``mien verify --faces`` finds over more people may be worse, and it says so.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from mien.export.graphs import graph_named
from mien.export.tflite.quantise import channels_last
from mien.mobile_reference.bundle.reader import APPRAISAL, size_of
from mien.mobile_reference.run.models import load_model
from mien.models.appraisal.checkpoint import Checkpoint
from mien.models.appraisal.evaluation.anomalies import ANOMALIES
from mien.models.appraisal.evaluation.held_out import drawn
from mien.models.appraisal.traces import Trace, trace_face

SUFFIXES = {"tflite": ".tflite", "coreml": ".mlpackage"}
# Largest score error allowed, in points.
GATES: Mapping[str, float] = {
    "tflite-fp32": 0.01,
    "tflite-fp16": 0.1,
    "tflite-int8": 1.0,
    "coreml-fp32": 0.01,
    "coreml-fp16": 0.1,
    "coreml-int8w": 0.5,
    "coreml-pal6": 0.5,
    "coreml-pal4": 0.5,
    "coreml-w8a8": 2.0,
}

# Other people's faces err more: a palette that had 0.20 points here had 0.50 on 132 held-out faces.
_MARGIN = 1 / 3


@dataclass(frozen=True)
class Judgement:
    """What one variant's one graph weighs in ``bytes``, and its worst score error in ``points``."""

    name: str
    gate: float
    bytes: int
    points: float

    @property
    def passed(self) -> bool:
        """Tell whether a third of the gate holds; a score that is not a number never passes."""
        return self.points <= self.gate * _MARGIN

    @property
    def platform(self) -> str:
        """The platform that the variant is for."""
        return platform_of(self.name)


@dataclass(frozen=True)
class JudgingFace:
    """An aligned face, uint8 [1, 256, 256, 3], and its score by the float pipeline."""

    pixels: NDArray[np.uint8]
    score: float


def judging_faces(goldens: Sequence[Trace], checkpoint: Checkpoint) -> list[JudgingFace]:
    """Draw every kind of anomaly, and none, on each golden face, and rate it in float."""
    found = []
    for place, golden in enumerate(goldens):
        picture = channels_last(golden.tensors["face"].numpy())[0]
        for turn, kind in enumerate(("plain", *ANOMALIES)):
            pixels = drawn(kind, picture, place + turn, checkpoint)[None]
            rated = trace_face(torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous(), checkpoint)
            found.append(JudgingFace(pixels, float(rated["score"])))
    return found


def platform_of(variant: str) -> str:
    """Return the first part of a variant's name."""
    return variant.partition("-")[0]


def model_of(folder: Path, variant: str, graph: str) -> Path:
    """Say where a conversion puts a model."""
    return folder / variant / f"{graph}{SUFFIXES[platform_of(variant)]}"


def judge(folder: Path, variant: str, faces: Sequence[JudgingFace]) -> Judgement:
    """Rate ``faces`` by what the conversions made under ``folder``/``variant``."""
    model = model_of(folder, variant, APPRAISAL)
    graph = load_model(platform_of(variant), model, graph_named(APPRAISAL).contract())
    errors = [abs(float(graph({"face": face.pixels})["score"][0]) - face.score) for face in faces]
    worst = math.nan if any(map(math.isnan, errors)) else max(errors)
    # Four digits, so that another order of sums on another host leaves the manifest the same.
    return Judgement(variant, GATES[variant], size_of(model), round(worst, 4))


def choose(judged: Sequence[Judgement]) -> dict[str, str]:
    """Name the smallest variant that passes, by platform; a platform where none does is not named."""
    passing = sorted((j for j in judged if j.passed), key=lambda j: j.bytes, reverse=True)
    return {judgement.platform: judgement.name for judgement in passing}
