"""What an evaluation measures beside the anomalies on its own faces: one form for every such part."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mien.models.appraisal.checkpoint import Checkpoint
from mien.models.appraisal.evaluation.anomalies import to_pixels
from mien.models.appraisal.evaluation.figures import Bound, Figure, Judged, Key
from mien.models.appraisal.evaluation.statistics import Interval
from mien.models.appraisal.portraits import FaceSet

Row = tuple[str, ...]
Pixels = NDArray[np.uint8]
Score = Callable[[Pixels], float]
"""Rates an aligned face, uint8 [256, 256, 3]: 0..100, 100 typical."""
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Sheet:
    """A table of a report as text: a title, headings, and rows with what they are about first."""

    title: str
    headings: Row
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Part:
    """One part of an evaluation.

    ``facts`` say what was measured on; ``summary`` is one line; ``warnings`` name what weakens it.
    """

    name: str
    facts: Mapping[str, Any]
    figures: tuple[Figure, ...]
    sheets: tuple[Sheet, ...]
    summary: str
    targets: tuple[Judged, ...] = ()
    warnings: tuple[str, ...] = field(default=())


@dataclass(frozen=True)
class Bench:
    """What faces are rated by: a checkpoint, and the name of the stage whose verdict is the score."""

    checkpoint: Checkpoint
    stage: str

    @torch.inference_mode()
    def score(self, face: Pixels) -> float:
        """Rate an aligned face by the whole pipeline."""
        pixels = torch.from_numpy(face).permute(2, 0, 1)[None].contiguous()
        return float(self.checkpoint.appraisal(pixels.float()).score)


def part_record(part: Part) -> dict[str, Any]:
    """Describe a part for JSON, which has no NaN: null stands for a figure that does not exist."""
    return {
        "part": part.name,
        **part.facts,
        "summary": part.summary,
        "warnings": list(part.warnings),
        "targets": [target_record(judged) for judged in part.targets],
        "figures": [asdict(figure.key) | interval_record(figure.value) for figure in part.figures],
    }


def target_record(judged: Judged) -> dict[str, Any]:
    """Describe a target and what was measured for JSON."""
    return asdict(judged.target) | interval_record(judged.value) | {"met": judged.met}


def interval_record(value: Interval) -> dict[str, float | None]:
    """Describe an interval for JSON."""
    return {name: number if math.isfinite(number) else None for name, number in asdict(value).items()}


def target_sheet(title: str, targets: Sequence[Judged]) -> Sheet:
    """Lay targets out as a table."""
    rows = [
        (
            judged.target.text,
            interval_text(judged.value),
            f"{'>=' if judged.target.sign > 0 else '<='} {judged.target.bound:g}",
            "pass" if judged.met else "MISS",
        )
        for judged in targets
    ]
    return Sheet(title, ("figure", "measured", "target", ""), tuple(rows))


def interval_text(value: Interval) -> str:
    """Write an estimate with its interval: one digit behind the point from 10 on, three below."""
    digits = 1 if abs(value.estimate) >= 10 else 3
    if math.isnan(value.estimate):
        return "-"
    if math.isnan(value.low):
        return f"{value.estimate:.{digits}f}"
    return f"{value.estimate:.{digits}f} ({value.low:.{digits}f}..{value.high:.{digits}f})"


def judge_part(targets: Sequence[Bound], figures: Sequence[Figure], stage: str) -> tuple[Judged, ...]:
    """Hold the figures of everyone against targets; a figure that is missing keeps no bound."""
    values = {figure.key: figure.value for figure in figures}
    missing = Interval(math.nan, math.nan, math.nan)
    return tuple(Judged(t, values.get(Key(t.measure, stage, t.kind, t.at), missing)) for t in targets)


def face_pixels(faces: FaceSet, row: int) -> Pixels:
    """Return one face of a set, uint8 [256, 256, 3]."""
    return faces.faces[row].permute(1, 2, 0).contiguous().numpy()


def noisy(face: Pixels, noise: float, seed: int) -> Pixels:
    """Add a camera's noise of this standard deviation, in grey levels; the same for the same seed."""
    if noise == 0:
        return face
    return to_pixels(face + np.random.default_rng(seed).normal(0, noise, face.shape))


def people_facts(faces: FaceSet) -> dict[str, Any]:
    """Say how many faces of how many people there are, and which were left out."""
    return {
        "portraits": len(faces.portraits),
        "identities": len({portrait.identity for portrait in faces.portraits}),
        "skipped": [f"{portrait.name}: {reason}" for portrait, reason in faces.skipped],
    }
