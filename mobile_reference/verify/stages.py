"""Parity: how far each converted variant is from the float pipeline, in decibels and in score points.

Every stage is run isolated (fed the float inputs of the golden vectors) and cascaded (fed by the
converted stages before it). What an isolated error means in score points is found by finishing the
pipeline with the float32 variant, which has the tightest gate of its own.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.mobile_reference.bundle.reader import Bundle, Golden
from mien.mobile_reference.contract import StageSpec, TensorSpec
from mien.mobile_reference.run.runner import DEFAULT_VARIANT, BundleRunner, rating_of

Arrays = dict[str, NDArray[Any]]
CASCADE = "cascade"
"""The name under which the chain of all stages is judged."""
PHOTOGRAPH = "photograph"
"""The name under which the way from photograph to score is judged."""


@dataclass(frozen=True)
class Deviation:
    """One comparison with the float pipeline on one golden face.

    ``decibels`` is the peak signal-to-noise ratio of the stage's output (infinite when equal), ``points``
    the error of the score that it leads to.
    """

    variant: str
    stage: str
    face: str
    decibels: float
    points: float


@dataclass(frozen=True)
class StageResult:
    """The worst of one stage of one variant over all golden faces."""

    variant: str
    stage: str
    decibels: float
    points: float
    gate: float
    face: str

    @property
    def passed(self) -> bool:
        """Tell whether the gate holds; a score that is not a number never passes."""
        return self.points <= self.gate


@dataclass(frozen=True)
class Verification:
    """What ``verify`` found: one result for each stage of each variant."""

    results: tuple[StageResult, ...]

    @property
    def failures(self) -> tuple[StageResult, ...]:
        """The stages whose gate failed."""
        return tuple(result for result in self.results if not result.passed)


def peak_signal_to_noise(tensor: TensorSpec, reference: NDArray[Any], other: NDArray[Any]) -> float:
    """Return the ratio of a tensor's full scale to its root mean square error, in decibels.

    The full scale and not the signal: the heatmap of a typical face is almost nothing, and what
    matters is how far it is from something. Infinite when the two are equal.
    """
    error = float(np.sqrt(np.square(other.astype(np.float64) - reference).mean()))
    return float(20 * np.log10(tensor.full_scale / error)) if error else float("inf")


class _Judge:
    """Compares one variant with one golden input; ``exact`` turns a stage's error into one of the rating."""

    def __init__(self, subject: BundleRunner, exact: BundleRunner, golden: Golden) -> None:
        self.subject, self.exact, self.golden = subject, exact, golden
        self.spec = subject.spec
        self.float_: Arrays = {name: golden.read(name) for name in golden.vectors}

    def _deviation(self, stage: str, decibels: float, tensors: Mapping[str, NDArray[Any]]) -> Deviation:
        points = abs(rating_of(self.spec, tensors) - self.golden.rating)
        return Deviation(self.subject.variant, stage, self.golden.name, decibels, points)

    def _decibels(self, model: StageSpec, outputs: Mapping[str, NDArray[Any]]) -> float:
        tensor = self.spec.map_of(model)
        return peak_signal_to_noise(tensor, self.float_[tensor.name], outputs[tensor.name])

    def isolated(self) -> Iterator[Deviation]:
        """Judge every stage on its own."""
        for stage in self.spec.stages:
            outputs = self.subject.run(stage, self.float_)
            rest = self.exact.finish(self.spec.after(stage.name), self.float_ | outputs)
            yield self._deviation(stage.name, self._decibels(stage, outputs), rest)

    def front(self) -> Iterator[Deviation]:
        """Judge the models of the front by the input that they make the float pipeline rate."""
        for model in self.spec.front.models if self.spec.front else ():
            outputs = self.subject.run(model, self.float_)
            prepared = self.subject.prepare(self.golden.read_photograph())
            yield self._deviation(
                model.name, self._decibels(model, outputs), self.exact.rate(prepared.inputs)
            )

    def cascade(self) -> Deviation:
        """Judge the chain of the variant's own stages."""
        inputs = {name: self.float_[name] for name in self.spec.inputs}
        known = self.subject.finish(self.spec.stages, inputs)
        return self._deviation(CASCADE, self._decibels(self.spec.stages[-1], known), known)

    def whole(self) -> Iterator[Deviation]:
        """Judge the end-to-end model, from the pipeline's inputs to the rating."""
        if self.spec.whole:
            outputs = self.subject.run(self.spec.whole, self.float_)
            yield self._deviation(self.spec.whole.name, self._decibels(self.spec.whole, outputs), outputs)

    def photograph(self) -> Iterator[Deviation]:
        """Judge the way from the photograph to the rating, by the variant's own front."""
        if self.spec.front:
            prepared = self.subject.prepare(self.golden.read_photograph())
            outputs = self.subject.rate(prepared.inputs)
            yield self._deviation(PHOTOGRAPH, self._decibels(self.spec.served[-1], outputs), outputs)

    def all(self) -> Iterator[Deviation]:
        """Yield every comparison."""
        yield from self.front()
        yield from self.isolated()
        yield self.cascade()
        yield from self.whole()
        yield from self.photograph()


def deviations(bundle: Bundle, variant: str, threads: int = 1) -> Iterator[Deviation]:
    """Compare a variant with every golden input of its bundle, stage by stage."""
    exact = BundleRunner(bundle, DEFAULT_VARIANT, threads)
    subject = BundleRunner(bundle, variant, threads)
    for golden in bundle.goldens:
        yield from _Judge(subject, exact, golden).all()


def verify(bundle: Bundle, progress: Callable[[Deviation], None], threads: int = 1) -> Verification:
    """Judge every variant against its tolerance.

    Raises:
        UsageError: the bundle lacks the float32 variant, by which isolated errors become the rating's.
    """
    found: dict[tuple[str, str], list[Deviation]] = {}
    for variant in bundle.variants:
        for deviation in deviations(bundle, variant.name, threads):
            found.setdefault((variant.name, deviation.stage), []).append(deviation)
            progress(deviation)
    return Verification(tuple(_worst(bundle, group) for group in found.values()))


def _worst(bundle: Bundle, group: list[Deviation]) -> StageResult:
    """Sum up one stage by its largest score error and its lowest fidelity."""
    worst = max(group, key=lambda d: float("inf") if np.isnan(d.points) else d.points)
    return StageResult(
        variant=worst.variant,
        stage=worst.stage,
        decibels=min(d.decibels for d in group),
        points=worst.points,
        gate=bundle.variant(worst.variant).tolerance,
        face=worst.face,
    )
