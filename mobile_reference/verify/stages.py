"""Parity: how far each converted variant is from the float pipeline, in decibels and in score points.

Every stage is run isolated (fed the float inputs of the golden vectors) and cascaded (fed by the
converted stages before it). What an isolated error means in score points is found by finishing the
pipeline with the float32 variant, which has the tightest gate of its own.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.mobile_reference.bundle.reader import (
    APPRAISAL,
    DETECTOR,
    GRAPHS,
    STAGES,
    Bundle,
    Golden,
    Tensor,
    Variant,
)
from mien.mobile_reference.errors import UsageError
from mien.mobile_reference.front.alignment import align
from mien.mobile_reference.front.photograph import Pixels
from mien.mobile_reference.run.models import Graph, load_graph
from mien.mobile_reference.run.runner import DEFAULT_VARIANT, as_detector

Arrays = dict[str, NDArray[Any]]
CASCADE = "cascade"
"""The name under which the chain of all stages is judged."""
PHOTOGRAPH = "photograph"
"""The name under which the way from photograph to score is judged."""
# What a stage's fidelity is read from, where it has several outputs.
_EVIDENCE = {
    DETECTOR: "candidates",
    "heatmap": "heat",
    "mask": "mask",
    "inpaint": "normalised",
    "compare": "heatmap",
    APPRAISAL: "heatmap",
}


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


def peak_signal_to_noise(tensor: Tensor, reference: NDArray[Any], other: NDArray[Any]) -> float:
    """Return the ratio of a tensor's full scale to its root mean square error, in decibels.

    The full scale and not the signal: the heatmap of a typical face is almost nothing, and what
    matters is how far it is from something. Infinite when the two are equal.
    """
    error = float(np.sqrt(np.square(other.astype(np.float64) - reference).mean()))
    return float(20 * np.log10(tensor.full_scale / error)) if error else float("inf")


class _Pipeline:
    """All graphs of one variant, loaded when first used."""

    def __init__(self, bundle: Bundle, variant: Variant, threads: int) -> None:
        self.bundle = bundle
        self.variant = variant
        self._load: Callable[[str], Graph] = lambda name: load_graph(bundle, variant, name, threads)

    @cached_property
    def graphs(self) -> Mapping[str, Graph]:
        return {name: self._load(name) for name in self.variant.files}

    def run(self, name: str, known: Mapping[str, NDArray[Any]]) -> Arrays:
        """Run one graph on what it needs of the known tensors."""
        inputs = {t.name: known[t.name] for t in self.bundle.graphs[name].inputs}
        return self.graphs[name](inputs)

    def finish(self, stages: tuple[str, ...], known: Arrays) -> Arrays:
        """Run ``stages`` in order, each adding its outputs to what is known."""
        for stage in stages:
            known = known | self.run(stage, known)
        return known

    def frame(self, photograph: Pixels) -> Pixels:
        """Cut the face with this variant's detector."""
        return align(photograph, as_detector(self.graphs[DETECTOR]), self.bundle.alignment).pixels


class _Judge:
    """Compares one variant with one golden face; ``exact`` turns a stage's error into score points."""

    def __init__(self, subject: _Pipeline, exact: _Pipeline, golden: Golden) -> None:
        self.subject = subject
        self.exact = exact
        self.golden = golden
        self.float_: Arrays = {name: golden.read(name) for name in golden.vectors}

    def _deviation(self, stage: str, decibels: float, score: NDArray[Any]) -> Deviation:
        points = abs(float(score[0]) - self.golden.score)
        return Deviation(self.subject.variant.name, stage, self.golden.name, decibels, points)

    def _fidelity(self, stage: str, outputs: Mapping[str, NDArray[Any]]) -> float:
        graph = self.subject.bundle.graphs[stage]
        tensor = next(tensor for tensor in graph.outputs if tensor.name == _EVIDENCE[stage])
        return peak_signal_to_noise(tensor, self.float_[tensor.name], outputs[tensor.name])

    def isolated(self) -> Iterator[Deviation]:
        """Judge every stage on its own."""
        for position, stage in enumerate(STAGES):
            outputs = self.subject.run(stage, self.float_)
            rest = self.exact.finish(STAGES[position + 1 :], self.float_ | outputs)
            yield self._deviation(stage, self._fidelity(stage, outputs), rest["score"])

    def detector(self) -> Deviation:
        """Judge the detector by the face it makes the float pipeline rate."""
        outputs = self.subject.run(DETECTOR, self.float_)
        face = self.subject.frame(self.golden.read_photograph())
        score = self.exact.run(APPRAISAL, {"face": face[None]})["score"]
        return self._deviation(DETECTOR, self._fidelity(DETECTOR, outputs), score)

    def cascade(self) -> Deviation:
        """Judge the chain of the variant's own stages."""
        known = self.subject.finish(STAGES, {"face": self.float_["face"]})
        return self._deviation(CASCADE, self._fidelity("compare", known), known["score"])

    def one_graph(self) -> Deviation:
        """Judge the one graph from aligned face to score."""
        outputs = self.subject.run(APPRAISAL, self.float_)
        return self._deviation(APPRAISAL, self._fidelity(APPRAISAL, outputs), outputs["score"])

    def photograph(self) -> Deviation:
        """Judge the way from the photograph to the score, by the variant's detector and one graph."""
        face = self.subject.frame(self.golden.read_photograph())
        outputs = self.subject.run(APPRAISAL, {"face": face[None]})
        return self._deviation(PHOTOGRAPH, self._fidelity(APPRAISAL, outputs), outputs["score"])

    def all(self) -> Iterator[Deviation]:
        """Yield every comparison."""
        yield self.detector()
        yield from self.isolated()
        yield self.cascade()
        yield self.one_graph()
        yield self.photograph()


def deviations(bundle: Bundle, variant: str, threads: int = 1) -> Iterator[Deviation]:
    """Compare a variant with every golden face of its bundle, stage by stage."""
    exact = _Pipeline(bundle, bundle.variant(DEFAULT_VARIANT), threads)
    subject = _Pipeline(bundle, bundle.variant(variant), threads)
    for golden in bundle.goldens:
        yield from _Judge(subject, exact, golden).all()


def verify(bundle: Bundle, progress: Callable[[Deviation], None], threads: int = 1) -> Verification:
    """Judge every variant against its gate.

    Raises:
        UsageError: the bundle lacks the float32 variant, with which isolated errors become points, or
            the graphs of the stages.
    """
    missing = set(GRAPHS) - bundle.graphs.keys()
    if missing:
        raise UsageError(
            f"the bundle has no graph {', '.join(sorted(missing))}, so it cannot be judged by stages"
        )
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
        gate=bundle.variant(worst.variant).gate,
        face=worst.face,
    )
