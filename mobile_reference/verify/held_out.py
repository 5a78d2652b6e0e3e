"""How far a bundle's variants are from float, and from each other, over many held-out inputs.

``stages`` judges stages on the golden inputs; here the rating and the tensors that have gates are judged on
inputs that nobody calibrated with, one at a time and all variants at once, so that platforms can be compared
too.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, product, zip_longest
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mien.mobile_reference.bundle.reader import Bundle
from mien.mobile_reference.contract import CORRELATION, IOU, PSNR, PipelineSpec
from mien.mobile_reference.errors import UsageError
from mien.mobile_reference.front.photograph import Pixels
from mien.mobile_reference.metrics import METRICS, Metric, error_of, measure_gate, measured
from mien.mobile_reference.report.pictures import side_by_side, views
from mien.mobile_reference.run.models import COREML, TFLITE
from mien.mobile_reference.run.runner import BundleRunner

from .layers import FirstPoorLayer
from .repeatability import Repeat

Arrays = Mapping[str, NDArray[Any]]
_HALF = 0.5
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

    ``error`` is the loss by the first gate. ``measures`` has what the metric of each gate measured, in the
    order of the contract, none where it cannot be judged here; ``decibels`` full scale to root mean square
    error by tensor, of those whose correlation is judged.
    """

    face: str
    error: float
    measures: tuple[Any, ...]
    decibels: Mapping[str, float]


@dataclass(frozen=True)
class Crossings:
    """Pixels of a mask near a half in float, those on the other side of it in the variant, and their cost.

    A mask is a ramp: no pixel's crossing makes the rating jump. ``points`` is what the rating loses when
    in the float mask these pixels alone are given the variant's values; not a number without stages.
    """

    mask: str
    near: int
    crossed: int
    points: float


@dataclass(frozen=True)
class StageErrors:
    """The error by the first gate after converting the first 1, 2, 3 ... stages, the rest in float32."""

    face: str
    points: tuple[float, ...]


@dataclass(frozen=True)
class VariantHeldOut:
    """All inputs of one variant.

    ``worst`` shows the input with the largest error of the rating, [H, W, 3]: the picture that went in and
    its views, above in float and below in the variant.
    """

    variant: str
    likeness: tuple[Likeness, ...]
    crossings: tuple[Crossings, ...]
    stage_errors: tuple[StageErrors, ...]
    worst: Pixels


@dataclass(frozen=True)
class Agreement:
    """All faces of two variants of different platforms."""

    variants: tuple[str, str]
    likeness: tuple[Likeness, ...]


@dataclass(frozen=True)
class HeldOut:
    """What was found over held-out faces."""

    variants: tuple[VariantHeldOut, ...]
    agreements: tuple[Agreement, ...]
    repeats: tuple[Repeat, ...] = ()
    poor_layers: tuple[FirstPoorLayer, ...] = ()

    @property
    def faces(self) -> int:
        """How many faces were rated."""
        return len(self.variants[0].likeness) if self.variants else 0


def likeness(
    face: str, spec: PipelineSpec, reference: Arrays, other: Arrays, metrics: Mapping[str, Metric] = METRICS
) -> Likeness:
    """Compare two ratings of one input by the tensors that have gates."""
    maps = spec.tensors_of(tuple(gate.tensor for gate in spec.gates_by(CORRELATION)))
    noise = {
        tensor.name: measured(METRICS[PSNR], reference[tensor.name], other[tensor.name], tensor.full_scale)
        for tensor in maps
    }
    return Likeness(
        face=face,
        error=error_of(spec, reference, other),
        measures=tuple(
            measure_gate(gate, spec, reference, other, metrics) if gate.metric in metrics else None
            for gate in spec.gates
        ),
        decibels={name: METRICS[PSNR].shown(loss) for name, loss in noise.items()},
    )


def fitting(bundle: Bundle, samples: Iterable[ReferenceFace]) -> Iterator[ReferenceFace]:
    """Pass samples on whose inputs are those of the bundle.

    Raises:
        UsageError: one has another shape or type.
    """
    for sample in samples:
        for name in bundle.spec.inputs:
            tensor, found = bundle.spec.tensor(name), sample.tensors[name]
            if (found.shape, found.dtype.name) != (tensor.shape, tensor.dtype):
                raise UsageError(
                    f"{sample.name} gives {name} of shape {list(found.shape)} of {found.dtype}, the bundle "
                    f"takes {list(tensor.shape)} of {tensor.dtype}; prepare it as for the export"
                )
        yield sample


class _Subject:
    """One variant's models, and what it made of the inputs so far."""

    def __init__(self, bundle: Bundle, name: str, metrics: Mapping[str, Metric]) -> None:
        self.runner = BundleRunner(bundle.in_full(), name)
        self.spec, self.metrics = bundle.spec, metrics
        self.name, self.platform = name, self.runner.chosen.platform
        self.likeness: list[Likeness] = []
        self.crossings: list[Crossings] = []
        self.stage_errors: list[StageErrors] = []
        self.worst: tuple[Arrays, Arrays] = ({}, {})

    def judge(self, face: ReferenceFace, exact: BundleRunner) -> Arrays:
        """Rate an input, keep what is to be said of it, and return the tensors."""
        outputs = self.runner.rate({name: face.tensors[name] for name in self.spec.inputs})
        self.likeness.append(likeness(face.name, self.spec, face.tensors, outputs, self.metrics))
        if worst_of(self.likeness) is self.likeness[-1]:
            self.worst = face.tensors, outputs
        for gate in self.spec.gates_by(IOU):
            self.crossings.append(_crossings(gate.tensor, face.tensors, outputs[gate.tensor], exact))
        self.stage_errors.append(self._stage_errors(face, exact))
        return outputs

    def _stage_errors(self, face: ReferenceFace, exact: BundleRunner) -> StageErrors:
        known: dict[str, NDArray[Any]] = {name: face.tensors[name] for name in self.spec.inputs}
        points = []
        for stage in self.spec.stages:
            known |= self.runner.run(stage, known)
            finished = exact.finish(self.spec.after(stage.name), known)
            points.append(error_of(self.spec, face.tensors, finished))
        return StageErrors(face.name, tuple(points))

    def result(self) -> VariantHeldOut:
        """Return what was kept."""
        return VariantHeldOut(
            variant=self.name,
            likeness=tuple(self.likeness),
            crossings=tuple(self.crossings),
            stage_errors=tuple(self.stage_errors),
            worst=_side_by_side(self.spec, *self.worst),
        )


def _badness(one: Likeness) -> tuple[bool, float]:
    """Order by error; one that is not a number is worse than any."""
    return math.isnan(one.error), 0.0 if math.isnan(one.error) else one.error


def worst_of(likeness: Sequence[Likeness]) -> Likeness:
    """Return the one with the largest error by the first gate, of several the first."""
    return max(likeness, key=_badness)


def _side_by_side(spec: PipelineSpec, float_: Arrays, outputs: Arrays) -> Pixels:
    """Show the input and its views, above in float and below in the variant.

    Nothing, [0, 0, 3], is shown without an input, and of a pipeline that takes no RGB picture.
    """
    pictures = [one.name for one in spec.tensors_of(spec.inputs) if one.rgb and one.name in float_]
    if not pictures:
        return np.zeros((0, 0, 3), np.uint8)
    picture = float_[pictures[0]][0]
    known = float_.keys() & outputs.keys()
    shown = replace(spec, views=tuple(view for view in spec.views if view.tensor in known))
    rows = [side_by_side([picture, *views(shown, picture, one).values()]) for one in (float_, outputs)]
    return np.concatenate(rows)


def _crossings(name: str, float_: Arrays, mask: NDArray[Any], exact: BundleRunner) -> Crossings:
    crossed = (float_[name] > _HALF) != (mask > _HALF)
    near = int((np.abs(float_[name] - _HALF) < NEAR_HALF).sum())
    points, spec = 0.0, exact.spec
    if crossed.any():
        known = {**float_, name: np.where(crossed, mask, float_[name]).astype(np.float32)}
        moved = exact.finish(spec.after(spec.maker(name) or ""), known)
        points = error_of(spec, float_, moved)
    return Crossings(name, near, int(crossed.sum()), points)


def judge_held_out(
    bundle: Bundle,
    faces: Iterable[ReferenceFace],
    progress: Callable[[str], None],
    metrics: Mapping[str, Metric] = METRICS,
) -> HeldOut:
    """Rate every input with every variant, and compare with float and across platforms.

    ``metrics`` judge; a gate whose metric is not among them is not judged.
    The most exact variant of the bundle finishes what others begin, be it judged or not.
    """
    subjects = {variant.name: _Subject(bundle, variant.name, metrics) for variant in bundle.variants}
    known = subjects.get(bundle.most_exact.name)
    exact = known.runner if known else BundleRunner(bundle.in_full())
    pairs = [
        (a.name, b.name)
        for a, b in product(subjects.values(), repeat=2)
        if (a.platform, b.platform) == (TFLITE, COREML)
    ]
    between: dict[tuple[str, str], list[Likeness]] = {pair: [] for pair in pairs}
    for face in faces:
        outputs = {name: subject.judge(face, exact) for name, subject in subjects.items()}
        for one, other in pairs:
            between[one, other].append(
                likeness(face.name, bundle.spec, outputs[one], outputs[other], metrics)
            )
        progress(face.name)
    return HeldOut(
        tuple(subject.result() for subject in subjects.values()),
        tuple(Agreement(pair, tuple(found)) for pair, found in between.items()),
    )


def merged(shares: Sequence[HeldOut]) -> HeldOut:
    """Put the findings of several processes together, to which the inputs were dealt out in turn.

    What is true of no single input is that of the first share.
    """
    return replace(
        shares[0],
        variants=tuple(map(_merged_variant, *(share.variants for share in shares))),
        agreements=tuple(
            Agreement(parts[0].variants, _in_order([part.likeness for part in parts]))
            for parts in zip(*(share.agreements for share in shares), strict=True)
        ),
    )


def _merged_variant(*parts: VariantHeldOut) -> VariantHeldOut:
    likeness = _in_order([part.likeness for part in parts])
    worst = max(range(len(likeness)), key=lambda place: _badness(likeness[place]), default=0)
    return VariantHeldOut(
        variant=parts[0].variant,
        likeness=likeness,
        # Pixels are counted over all inputs, so that their order says nothing.
        crossings=tuple(chain.from_iterable(part.crossings for part in parts)),
        stage_errors=_in_order([part.stage_errors for part in parts]),
        worst=parts[worst % len(parts)].worst,
    )


def _in_order[T](parts: Sequence[Sequence[T]]) -> tuple[T, ...]:
    """Take one of each part in turn, as they were dealt out."""
    missing = object()
    rows = chain.from_iterable(zip_longest(*parts, fillvalue=missing))
    return tuple(one for one in rows if one is not missing)  # type: ignore[misc]
