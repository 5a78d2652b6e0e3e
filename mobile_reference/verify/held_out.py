"""How far a bundle's variants are from float, and from each other, over many held-out inputs.

``stages`` judges stages on the golden inputs; here the rating and the tensors that have gates are judged on
inputs that nobody calibrated with, one at a time and all variants at once, so that platforms can be compared
too.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mien.mobile_reference.bundle.reader import Bundle
from mien.mobile_reference.contract import CORRELATION, IOU, PipelineSpec
from mien.mobile_reference.front.photograph import Pixels
from mien.mobile_reference.report.pictures import side_by_side, views
from mien.mobile_reference.run.models import COREML, TFLITE
from mien.mobile_reference.run.runner import DEFAULT_VARIANT, BundleRunner, rating_of

from .layers import Divergence
from .repeatability import Repeat

Arrays = Mapping[str, NDArray[Any]]
FEW_FACES = 20
"""Ranks of fewer faces are not judged: two equally typical faces that swap places would decide."""
# A map as flat as this has no shape that could correlate, and a mask of fewer pixels no overlap to speak of.
_FLAT = 0.005
_FEW_PIXELS = 64.0
_HALF = 0.5
# A map with values that are not finite is worse than any limit; one that cannot be judged is not a number.
_BROKEN = float("-inf")
# A mask pixel this near to a half is one that small differences can push across.
NEAR_HALF = 0.02


class ReferenceFace(Protocol):
    """An input, and the float pipeline's tensors for it by name, shaped as in the manifest."""

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def tensors(self) -> Arrays: ...  # noqa: D102


@dataclass(frozen=True)
class Likeness:
    """How alike two ratings of one input are.

    ``points`` is the signed difference of the ratings. By tensor, for those that have such a gate:
    ``correlations`` (Pearson) and ``decibels`` (full scale to root mean square error); ``overlaps``, the sum
    of the lesser values over the sum of the greater, which for masks of 0 and 1 is intersection over union.
    What cannot be judged, a flat map or an empty mask, is not a number; a map with values that are not finite
    has minus infinity.
    """

    face: str
    points: float
    correlations: Mapping[str, float]
    decibels: Mapping[str, float]
    overlaps: Mapping[str, float]


@dataclass(frozen=True)
class Flips:
    """Pixels of a mask near a half in float, those on the other side of it in the variant, and their cost.

    A mask is a ramp: no pixel's crossing makes the rating jump. ``points`` is what the rating loses when
    in the float mask these pixels alone are given the variant's values; not a number without stages.
    """

    mask: str
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

    ``worst`` shows the input with the largest error of the rating, [H, W, 3]: the picture that went in, and
    its gated views in float and in the variant.
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


def likeness(face: str, spec: PipelineSpec, reference: Arrays, other: Arrays) -> Likeness:
    """Compare two ratings of one input by the tensors that have gates."""
    maps = [gate.tensor for gate in spec.gates_by(CORRELATION)]
    pairs = {name: (reference[name].astype(np.float64), other[name].astype(np.float64)) for name in maps}
    masks = [gate.tensor for gate in spec.gates_by(IOU)]
    return Likeness(
        face=face,
        points=rating_of(spec, other) - rating_of(spec, reference),
        correlations={name: _correlation(*pair) for name, pair in pairs.items()},
        decibels={name: _decibels(*pair, spec.tensor(name).full_scale) for name, pair in pairs.items()},
        overlaps={name: _overlap(reference[name], other[name]) for name in masks},
    )


def _correlation(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    if not np.isfinite(other).all():
        return _BROKEN
    shaped = min(one.std(), other.std()) > _FLAT
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1]) if shaped else float("nan")


def _decibels(one: NDArray[np.float64], other: NDArray[np.float64], full_scale: float) -> float:
    if not np.isfinite(other).all():
        return _BROKEN
    error = float(np.sqrt(np.square(one - other).mean()))
    return float(20 * np.log10(full_scale / error)) if error else float("inf")


def _overlap(one: NDArray[Any], other: NDArray[Any]) -> float:
    mask, covered = one.astype(np.float64), other.astype(np.float64)
    if not np.isfinite(covered).all():
        return _BROKEN
    united = float(np.maximum(mask, covered).sum())
    return float(np.minimum(mask, covered).sum()) / united if united > _FEW_PIXELS else float("nan")


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
    """One variant's models, and what it made of the inputs so far."""

    def __init__(self, bundle: Bundle, name: str) -> None:
        self.runner = BundleRunner(bundle, name)
        self.spec = bundle.spec
        self.name, self.platform = name, self.runner.chosen.platform
        self.likeness: list[Likeness] = []
        self.scores: list[tuple[float, float]] = []
        self.flips: list[Flips] = []
        self.waterfalls: list[Waterfall] = []
        self.worst: Pixels = np.zeros((0, 0, 3), np.uint8)

    def judge(self, face: ReferenceFace, exact: "_Subject") -> Arrays:
        """Rate an input, keep what is to be said of it, and return the tensors."""
        outputs = self.runner.rate({name: face.tensors[name] for name in self.spec.inputs})
        self.likeness.append(likeness(face.name, self.spec, face.tensors, outputs))
        self.scores.append((rating_of(self.spec, face.tensors), rating_of(self.spec, outputs)))
        if abs(self.likeness[-1].points) >= max(abs(one.points) for one in self.likeness):
            self.worst = _side_by_side(self.spec, face.tensors, outputs)
        for gate in self.spec.gates_by(IOU):
            self.flips.append(_flips(gate.tensor, face.tensors, outputs[gate.tensor], exact.runner))
        self.waterfalls.append(self._waterfall(face, exact.runner))
        return outputs

    def _waterfall(self, face: ReferenceFace, exact: BundleRunner) -> Waterfall:
        known: dict[str, NDArray[Any]] = {name: face.tensors[name] for name in self.spec.inputs}
        points = []
        for stage in self.spec.stages:
            known |= self.runner.run(stage, known)
            finished = exact.finish(self.spec.after(stage.name), known)
            points.append(abs(rating_of(self.spec, finished) - rating_of(self.spec, face.tensors)))
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


def _side_by_side(spec: PipelineSpec, float_: Arrays, outputs: Arrays) -> Pixels:
    """Show the input, and the views that have gates, each in float and in the variant.

    Nothing, [0, 0, 3], is shown of a pipeline that takes no RGB picture.
    """
    pictures = [tensor.name for tensor in spec.tensors_of(spec.inputs) if tensor.rgb]
    if not pictures:
        return np.zeros((0, 0, 3), np.uint8)
    picture = float_[pictures[0]][0]
    gated = {gate.tensor for metric in (CORRELATION, IOU) for gate in spec.gates_by(metric)}
    shown = replace(spec, views=tuple(view for view in spec.views if view.tensor in gated))
    drawn = [views(shown, picture, one) for one in (float_, outputs)]
    return side_by_side([picture, *(one[name] for name in drawn[0] for one in drawn)])


def _flips(name: str, float_: Arrays, mask: NDArray[Any], exact: BundleRunner) -> Flips:
    crossed = (float_[name] > _HALF) != (mask > _HALF)
    near = int((np.abs(float_[name] - _HALF) < NEAR_HALF).sum())
    points, spec = 0.0, exact.spec
    if crossed.any():
        known = {**float_, name: np.where(crossed, mask, float_[name]).astype(np.float32)}
        moved = exact.finish(spec.after(spec.maker(name) or ""), known)
        points = abs(rating_of(spec, moved) - rating_of(spec, float_))
    return Flips(name, near, int(crossed.sum()), points)


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
            between[one, other].append(likeness(face.name, bundle.spec, outputs[one], outputs[other]))
        progress(face.name)
    return Fidelity(
        tuple(subject.result() for subject in subjects.values()),
        tuple(Agreement(pair, tuple(found)) for pair, found in between.items()),
    )
