"""Fidelity: how far a bundle's variants are from float, and from each other, over many held-out faces.

``parity`` judges stages on the golden faces; here whole score, heatmap and mask are judged on faces that
nobody calibrated with, one face at a time and all variants at once, so that platforms can be compared too.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mien.mobile_reference.bundle.reader import APPRAISAL, STAGES, Bundle
from mien.mobile_reference.front.photograph import Pixels
from mien.mobile_reference.report.pictures import overlay
from mien.mobile_reference.run.models import COREML, TFLITE, Graph, load_graph
from mien.mobile_reference.run.runner import DEFAULT_VARIANT

from .layers import Divergence
from .repeatability import Repeat

Arrays = Mapping[str, NDArray[Any]]
FEW_FACES = 20
"""Ranks of fewer faces are not judged: two equally typical faces that swap places would decide."""
# A map as flat as this has no shape that could correlate, and a mask of fewer pixels no overlap to speak of.
_FLAT = 0.005
_FEW_PIXELS = 64.0
_HALF = 0.5
# A mask pixel this near to a half is one that small differences can push across.
NEAR_HALF = 0.02


class ReferenceFace(Protocol):
    """An aligned face, and the float pipeline's tensors for it: face, heat, mask, normalised, heatmap, score.

    Tensors are shaped as in the manifest's graphs.
    """

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def tensors(self) -> Arrays: ...  # noqa: D102


@dataclass(frozen=True)
class Likeness:
    """How alike two appraisals of one face are.

    ``points`` is the signed difference of scores; ``correlation`` (Pearson) and ``decibels`` (full scale
    1 to root mean square error) are of the final heatmaps; ``overlap`` is the sum of the lesser mask over
    the sum of the greater, which for masks of 0 and 1 is intersection over union. What cannot be judged,
    a flat heatmap or an empty mask, is not a number.
    """

    face: str
    points: float
    correlation: float
    decibels: float
    overlap: float


@dataclass(frozen=True)
class Flips:
    """Mask pixels near a half in float, those on the other side of it in the variant, and their cost.

    The mask is a ramp: no pixel's crossing makes the score jump. ``points`` is what the score loses when
    in the float mask these pixels alone are given the variant's values; not a number without stages.
    """

    near: int
    flipped: int
    points: float


@dataclass(frozen=True)
class Waterfall:
    """The error of the score after converting the first 1, 2, 3 and 4 stages, the rest in float32."""

    face: str
    points: tuple[float, ...]


@dataclass(frozen=True)
class VariantFidelity:
    """All faces of one variant. ``scores`` are pairs (float, variant).

    ``worst`` shows the face with the largest score error, [256, 1280, 3]: face, heat in float and in the
    variant, mask in float and in the variant.
    """

    variant: str
    likeness: tuple[Likeness, ...]
    scores: tuple[tuple[float, float], ...]
    flips: tuple[Flips, ...]
    waterfalls: tuple[Waterfall, ...]
    worst: Pixels


@dataclass(frozen=True)
class Agreement:
    """All faces of two variants of different platforms."""

    variants: tuple[str, str]
    likeness: tuple[Likeness, ...]


@dataclass(frozen=True)
class Fidelity:
    """What was found over held-out faces."""

    variants: tuple[VariantFidelity, ...]
    agreements: tuple[Agreement, ...]
    repeats: tuple[Repeat, ...] = ()
    divergences: tuple[Divergence, ...] = ()

    @property
    def faces(self) -> int:
        """How many faces were rated."""
        return len(self.variants[0].scores) if self.variants else 0


def likeness(face: str, reference: Arrays, other: Arrays) -> Likeness:
    """Compare two appraisals by their tensors score, heatmap and mask."""
    heat, seen = (np.asarray(a["heatmap"], np.float64).ravel() for a in (reference, other))
    shaped = min(heat.std(), seen.std()) > _FLAT
    error = float(np.sqrt(np.square(heat - seen).mean()))
    mask, covered = reference["mask"].astype(np.float64), other["mask"].astype(np.float64)
    united = float(np.maximum(mask, covered).sum())
    return Likeness(
        face=face,
        points=float(other["score"][0]) - float(reference["score"][0]),
        correlation=float(np.corrcoef(heat, seen)[0, 1]) if shaped else float("nan"),
        decibels=float(-20 * np.log10(error)) if error else float("inf"),
        overlap=float(np.minimum(mask, covered).sum()) / united if united > _FEW_PIXELS else float("nan"),
    )


def rank_agreement(scores: Sequence[tuple[float, float]]) -> float:
    """Return Spearman's coefficient of pairs; equal values share their mean rank."""
    first, second = (_ranks(np.array(column)) for column in zip(*scores, strict=True))
    if first.std() == 0 or second.std() == 0:
        return float("nan")
    return float(np.corrcoef(first, second)[0, 1])


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2)[inverse])


class _Subject:
    """One variant's graphs, and what it made of the faces so far."""

    def __init__(self, bundle: Bundle, name: str) -> None:
        variant = bundle.variant(name)
        self.name, self.platform, self.bundle = name, variant.platform, bundle
        staged = all(stage in variant.files for stage in STAGES)
        self.stages = STAGES if staged else ()
        self.graphs: dict[str, Graph] = {
            graph: load_graph(bundle, variant, graph) for graph in (*self.stages, APPRAISAL)
        }
        self.likeness: list[Likeness] = []
        self.scores: list[tuple[float, float]] = []
        self.flips: list[Flips] = []
        self.waterfalls: list[Waterfall] = []
        self.worst: Pixels = np.zeros((0, 0, 3), np.uint8)

    def run(self, graph: str, known: Arrays) -> dict[str, NDArray[Any]]:
        """Run one graph on what it needs of the known tensors."""
        return self.graphs[graph]({t.name: known[t.name] for t in self.bundle.graphs[graph].inputs})

    def finish(self, stages: Sequence[str], known: Arrays) -> dict[str, NDArray[Any]]:
        """Run stages in a row."""
        found = dict(known)
        for stage in stages:
            found |= self.run(stage, found)
        return found

    def judge(self, face: ReferenceFace, exact: "_Subject") -> Arrays:
        """Rate a face, keep what is to be said of it, and return the appraisal."""
        outputs = self.run(APPRAISAL, face.tensors)
        self.likeness.append(likeness(face.name, face.tensors, outputs))
        self.scores.append((float(face.tensors["score"][0]), float(outputs["score"][0])))
        if abs(self.likeness[-1].points) >= max(abs(one.points) for one in self.likeness):
            self.worst = _side_by_side(face.tensors, outputs)
        self.flips.append(_flips(face.tensors, outputs["mask"], exact))
        if self.stages and exact.stages:
            self.waterfalls.append(self._waterfall(face, exact))
        return outputs

    def _waterfall(self, face: ReferenceFace, exact: "_Subject") -> Waterfall:
        known: dict[str, NDArray[Any]] = {"face": face.tensors["face"]}
        points = []
        for position, stage in enumerate(self.stages, start=1):
            known |= self.run(stage, known)
            score = exact.finish(STAGES[position:], known)["score"]
            points.append(abs(float(score[0]) - float(face.tensors["score"][0])))
        return Waterfall(face.name, tuple(points))

    def result(self) -> VariantFidelity:
        """Return what was kept."""
        return VariantFidelity(
            variant=self.name,
            likeness=tuple(self.likeness),
            scores=tuple(self.scores),
            flips=tuple(self.flips),
            waterfalls=tuple(self.waterfalls),
            worst=self.worst,
        )


def _side_by_side(float_: Arrays, outputs: Arrays) -> Pixels:
    face = float_["face"][0]
    heats = [overlay(face, one["heatmap"][0, ..., 0]) for one in (float_, outputs)]
    masks = [np.repeat(np.round(one["mask"][0] * 255), 3, axis=2) for one in (float_, outputs)]
    return np.asarray(np.concatenate([face, *heats, *masks], axis=1), dtype=np.uint8)


def _flips(float_: Arrays, mask: NDArray[Any], exact: _Subject) -> Flips:
    crossed = (float_["mask"] > _HALF) != (mask > _HALF)
    near = int((np.abs(float_["mask"] - _HALF) < NEAR_HALF).sum())
    points = 0.0
    if crossed.any():
        points = float("nan")
        if exact.stages:
            known = {**float_, "mask": np.where(crossed, mask, float_["mask"]).astype(np.float32)}
            moved = exact.finish(STAGES[2:], known)["score"]
            points = abs(float(moved[0]) - float(float_["score"][0]))
    return Flips(near, int(crossed.sum()), points)


def judge_fidelity(
    bundle: Bundle, faces: Iterable[ReferenceFace], progress: Callable[[str], None]
) -> Fidelity:
    """Rate every face with every variant, and compare with float and across platforms.

    Raises:
        UsageError: the bundle lacks the float32 variant, which finishes what other variants begin.
    """
    subjects = {variant.name: _Subject(bundle, variant.name) for variant in bundle.variants}
    exact = subjects.get(DEFAULT_VARIANT) or _Subject(bundle, DEFAULT_VARIANT)
    pairs = [
        (a.name, b.name)
        for a, b in product(subjects.values(), repeat=2)
        if (a.platform, b.platform) == (TFLITE, COREML)
    ]
    between: dict[tuple[str, str], list[Likeness]] = {pair: [] for pair in pairs}
    for face in faces:
        outputs = {name: subject.judge(face, exact) for name, subject in subjects.items()}
        for one, other in pairs:
            between[one, other].append(likeness(face.name, outputs[one], outputs[other]))
        progress(face.name)
    return Fidelity(
        tuple(subject.result() for subject in subjects.values()),
        tuple(Agreement(pair, tuple(found)) for pair, found in between.items()),
    )
