"""Parity: how far each converted variant is from the float pipeline, by every gate and in decibels.

Every stage is run isolated (fed the float inputs of the golden vectors) and cascaded (fed by the
converted stages before it). What an isolated error means for gated tensors behind it is found by finishing
the pipeline with the float32 variant, which has the tightest limits of its own.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, product
from threading import Lock
from typing import Any

from numpy.typing import NDArray

from mien.mobile_reference.bundle.reader import Bundle, Golden, Variant
from mien.mobile_reference.contract import LIKE_FP16, PSNR, GateSpec, PipelineSpec, StageSpec, TensorSpec
from mien.mobile_reference.errors import BundleError
from mien.mobile_reference.metrics import (
    METRICS,
    Metric,
    allowed,
    error_of,
    measure_gate,
    measured,
    within,
    worst,
)
from mien.mobile_reference.run.models import COREML, TFLITE
from mien.mobile_reference.run.runner import BundleRunner, Load
from mien.mobile_reference.run.threads import side_by_side
from mien.mobile_reference.tflite.half import arithmetic

from .weights import WeightsResult, weight_results

Arrays = Mapping[str, NDArray[Any]]
CASCADE = "cascade"
"""The name under which the chain of all stages is judged."""
PHOTOGRAPH = "photograph"
"""The name under which the way from the photograph is judged."""
PLATFORMS = "platforms"
"""The name under which a TFLite and a Core ML variant are judged against each other."""
PAIR = " / "
"""Between the names of two variants."""


@dataclass(frozen=True)
class Deviation:
    """One comparison with the float pipeline on one golden input.

    ``decibels`` is the peak signal-to-noise ratio of the stage's output (infinite when equal), ``measures``
    what the metrics of gates measured behind it, by the gate's place in the contract; none for a gate that is
    not judged here. It is empty where no gate depends on the stage. ``rated`` is the first gate's tensor.
    """

    variant: str
    stage: str
    face: str
    decibels: float
    measures: Mapping[int, Any]
    rated: NDArray[Any]


@dataclass(frozen=True)
class StageResult:
    """What one gate says of one stage of one variant over all golden inputs; no gate: nothing is asked of it.

    ``loss`` is none where nothing could be judged, ``limit`` the largest that passes; ``face`` names the
    golden input with the largest loss.
    """

    variant: str
    stage: str
    decibels: float
    gate: GateSpec | None
    loss: float | None
    limit: float
    face: str

    @property
    def passed(self) -> bool | None:
        """Tell whether the gate holds; none where it was not judged, and never what is not a number."""
        return within(self.loss, self.limit)


@dataclass(frozen=True)
class Verification:
    """Results of each stage of each variant, of pairs of ``platforms``, and of the ``weights`` of models.

    ``half_floats`` says what variants that ask for half floats were computed in here.
    """

    results: tuple[StageResult, ...]
    platforms: tuple[StageResult, ...] = ()
    weights: tuple[WeightsResult, ...] = ()
    half_floats: Mapping[str, str] = field(default_factory=dict)

    @property
    def failures(self) -> tuple[StageResult | WeightsResult, ...]:
        """The results whose gate failed, and the models that have other weights than they should."""
        found: tuple[StageResult | WeightsResult, ...] = (*self.results, *self.platforms, *self.weights)
        return tuple(result for result in found if result.passed is False)

    @property
    def ungated(self) -> tuple[str, ...]:
        """The stages that no gate depends on, so that nothing would tell if they computed something else."""
        return tuple(dict.fromkeys(result.stage for result in self.results if result.gate is None))


def peak_signal_to_noise(tensor: TensorSpec, reference: NDArray[Any], other: NDArray[Any]) -> float:
    """Return the ratio of a tensor's full scale to its root mean square error, in decibels.

    The full scale and not the signal: the heatmap of a typical face is almost nothing, and what
    matters is how far it is from something. Infinite when the two are equal.
    """
    return METRICS[PSNR].shown(measured(METRICS[PSNR], reference, other, tensor.full_scale))


class _Once(BundleRunner):
    """Runs a model once for what is the same to the last bit, until it is told to ``forget``.

    The chain of stages begins with what the first one made alone, and the face of a photograph is often the
    golden one.
    """

    def run(self, model: StageSpec, known: Arrays) -> dict[str, NDArray[Any]]:
        given = model.name, tuple(known[name].tobytes() for name in model.inputs)
        if given not in self._made:
            self._made[given] = super().run(model, known)
        return dict(self._made[given])

    def forget(self) -> None:
        """Know nothing of what was run."""
        self._made: dict[tuple[str, tuple[bytes, ...]], dict[str, NDArray[Any]]] = {}


class _Judge:
    """Compares one variant with one golden input; ``exact`` finishes what a stage begins."""

    def __init__(
        self, subject: BundleRunner, exact: BundleRunner, golden: Golden, metrics: Mapping[str, Metric]
    ) -> None:
        self.subject, self.exact, self.golden, self.metrics = subject, exact, golden, metrics
        self.spec = subject.spec
        self.float_ = {name: golden.read(name) for name in golden.vectors}

    def _deviation(
        self, model: StageSpec, stage: str, outputs: Arrays, tensors: Arrays, depending: set[str]
    ) -> Deviation:
        """Judge ``tensors`` by the gates of those ``depending`` on what was run; it made ``outputs``."""
        shown = self.spec.map_of(model)
        decibels = peak_signal_to_noise(shown, self.float_[shown.name], outputs[shown.name])
        measures = {
            place: self._measure(gate, tensors)
            for place, gate in enumerate(self.spec.gates)
            if gate.tensor in tensors.keys() & depending and gate.limit(self.subject.variant) is not None
        }
        rated = tensors[self.spec.rating.tensor]
        return Deviation(self.subject.variant, stage, self.golden.name, decibels, measures, rated)

    def _measure(self, gate: GateSpec, tensors: Arrays) -> Any:
        known = gate.metric in self.metrics
        return measure_gate(gate, self.spec, self.float_, tensors, self.metrics) if known else None

    def _gated(self) -> set[str]:
        return {gate.tensor for gate in self.spec.gates}

    def isolated(self) -> Iterator[Deviation]:
        """Judge every stage on its own."""
        for stage in self.spec.stages:
            outputs = self.subject.run(stage, self.float_)
            rest = self.exact.finish(self.spec.after(stage.name), self.float_ | outputs)
            yield self._deviation(stage, stage.name, outputs, rest, self.spec.reached(stage))

    def front(self) -> Iterator[Deviation]:
        """Judge the models of the front by the input that they make the float pipeline rate.

        A golden input that was packed without its photograph has none to judge them by.
        """
        for model in self.spec.front.models if self.spec.front and self.golden.source else ():
            outputs = self.subject.run(model, self.float_)
            prepared = self.subject.prepare(self.golden.read_photograph())
            rest = self.exact.rate(prepared.inputs)
            yield self._deviation(model, model.name, outputs, rest, self._gated())

    def cascade(self) -> Deviation:
        """Judge the chain of the variant's own stages."""
        known = self.subject.finish(self.spec.stages, {name: self.float_[name] for name in self.spec.inputs})
        return self._deviation(self.spec.stages[-1], CASCADE, known, known, self._gated())

    def whole(self) -> Iterator[Deviation]:
        """Judge the end-to-end model, from the pipeline's inputs to the rating."""
        if self.spec.whole:
            outputs = self.subject.run(self.spec.whole, self.float_)
            yield self._deviation(self.spec.whole, self.spec.whole.name, outputs, outputs, self._gated())

    def photograph(self) -> Iterator[Deviation]:
        """Judge the way from the photograph to the rating, by the variant's own front."""
        if self.spec.front and self.golden.source:
            prepared = self.subject.prepare(self.golden.read_photograph())
            outputs = self.subject.rate(prepared.inputs)
            yield self._deviation(self.spec.served[-1], PHOTOGRAPH, outputs, outputs, self._gated())

    def all(self) -> Iterator[Deviation]:
        """Yield every comparison."""
        yield from self.front()
        alone = list(self.isolated())
        yield from alone
        # One stage on its own is the chain of all.
        yield replace(alone[0], stage=CASCADE) if len(alone) == 1 else self.cascade()
        yield from self.whole()
        yield from self.photograph()


def deviations(
    bundle: Bundle,
    variant: str,
    threads: int = 1,
    metrics: Mapping[str, Metric] = METRICS,
    load: Load | None = None,
) -> Iterator[Deviation]:
    """Compare a variant, whose models ``load`` loads, with every golden input of its bundle by stages."""
    exact = BundleRunner(bundle.in_full(), threads=threads)
    subject = _Once(bundle, variant, threads, load)
    for golden in bundle.goldens:
        subject.forget()
        yield from _Judge(subject, exact, golden, metrics).all()


def comparisons(bundle: Bundle) -> int:
    """Count what ``verify`` tells of: by variant and golden input every model, and every way through them."""
    spec = bundle.spec
    own = len(spec.stages) + 1 + (1 if spec.whole else 0)
    seen = len(spec.front.models) + 1 if spec.front else 0
    each = sum(own + (seen if golden.source else 0) for golden in bundle.goldens)
    return each * len(bundle.variants)


def verify(
    bundle: Bundle,
    progress: Callable[[Deviation], None],
    threads: int = 1,
    metrics: Mapping[str, Metric] = METRICS,
    load: Load | None = None,
    jobs: int = 1,
) -> Verification:
    """Judge every variant by every gate, and the weights of float16 variants by those of float32.

    ``metrics`` judge; a gate whose metric is not among them, as a function of the user's, is not judged.
    The most exact variant of the bundle, judged or not, finishes what others begin, on the CPU; ``load``
    says what runs those.
    ``jobs`` variants are judged at a time, and ``progress`` is told of one comparison at a time.

    Raises:
        BundleError: every gate holds, but a bit changes where stages are left out, against the manifest.
    """
    telling = Lock()

    def judged(variant: Variant) -> list[Deviation]:
        made = []
        for deviation in deviations(bundle, variant.name, threads, metrics, load):
            made.append(deviation)
            with telling:
                progress(deviation)
        return made

    found: dict[tuple[str, str], list[Deviation]] = {}
    for deviation in chain.from_iterable(side_by_side(judged, bundle.variants, jobs)):
        found.setdefault((deviation.variant, deviation.stage), []).append(deviation)
    results = [result for group in found.values() for result in _results(bundle.spec, group, metrics)]
    served = bundle.spec.whole.name if bundle.spec.whole else CASCADE
    rated = {variant: group for (variant, stage), group in found.items() if stage == served}
    weights = tuple(weight_results(bundle))
    half_floats = {} if load else _half_floats(bundle)
    verification = Verification(tuple(results), tuple(_platforms(bundle, rated)), weights, half_floats)
    if not verification.failures:
        for variant in bundle.variants:
            if variant.early_exit:
                check_early_exit(BundleRunner(bundle, variant.name, threads), bundle.goldens)
    return verification


def _half_floats(bundle: Bundle) -> dict[str, str]:
    last = bundle.spec.served[-1].name
    halves = [one for one in bundle.variants if one.name.partition("-")[2] in LIKE_FP16]
    said = {one.name: arithmetic(one.files[last]) for one in halves}
    return {name: words for name, words in said.items() if words}


def check_early_exit(runner: BundleRunner, goldens: Sequence[Golden]) -> None:
    """Compare what an app makes of golden inputs without some stages with what all of them do.

    Raises:
        BundleError: a bit is another.
    """
    for golden in goldens:
        inputs = {name: golden.read(name) for name in runner.spec.inputs}
        early = runner.rate(inputs)
        for name, value in runner.finish(runner.spec.served, inputs).items():
            if early[name].tobytes() != value.tobytes():
                raise BundleError(
                    f"{runner.variant} makes another {name} of {golden.name} when it leaves stages out, "
                    "and its manifest says it does not; export the bundle again on this system"
                )


def _results(
    spec: PipelineSpec, group: Sequence[Deviation], metrics: Mapping[str, Metric]
) -> Iterator[StageResult]:
    """Sum up one stage of one variant over the golden inputs: a result for each gate, or one without."""
    first, decibels = group[0], min(d.decibels for d in group)
    for place in first.measures:
        gate, measures = spec.gates[place], [d.measures[place] for d in group]
        loss, limit = None, gate.limit(first.variant) or 0.0
        if gate.metric in metrics:
            loss = metrics[gate.metric].combine(measures)
            limit = allowed(gate, first.variant, metrics) or 0.0
        # What the golden inputs leave nothing to judge of by the first gate was not verified.
        loss = math.nan if loss is None and place == 0 else loss
        yield StageResult(first.variant, first.stage, decibels, gate, loss, limit, _farthest(group, measures))
    if not first.measures:
        yield StageResult(first.variant, first.stage, decibels, None, None, 0.0, first.face)


def _farthest(group: Sequence[Deviation], measures: Sequence[Any]) -> str:
    """Name the golden input with the largest loss; the first where there are none, as for ranks."""
    losses = [one if isinstance(one, float) else None for one in measures]
    largest = worst(losses)
    return group[0].face if largest is None else group[losses.index(largest)].face


def _platforms(bundle: Bundle, rated: Mapping[str, Sequence[Deviation]]) -> Iterator[StageResult]:
    """Judge every TFLite variant and every Core ML variant against each other by the first gate."""
    gate = bundle.spec.rating
    for one, other in product(bundle.variants, repeat=2):
        if (one.platform, other.platform) == (TFLITE, COREML):
            errors = [
                error_of(bundle.spec, {gate.tensor: a.rated}, {gate.tensor: b.rated})
                for a, b in zip(rated[one.name], rated[other.name], strict=True)
            ]
            pair, largest = (one.name, other.name), worst(errors)
            yield StageResult(
                variant=PAIR.join(pair),
                stage=PLATFORMS,
                decibels=math.nan,
                gate=gate,
                loss=largest,
                limit=agreement_limit(bundle, pair),
                face=rated[one.name][errors.index(largest or 0.0)].face,
            )


def agreement_limit(bundle: Bundle, variants: Sequence[str]) -> float:
    """Return how far two platforms may be apart by the first gate.

    That is what the manifest says, else as far as the looser of the two may be from float.
    """
    stated = bundle.manifest.get("agreement")
    return float(stated or max(bundle.variant(name).tolerance for name in variants))
