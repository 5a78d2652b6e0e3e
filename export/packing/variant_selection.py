"""Which variant of a platform an app should take: the smallest that errs by at most a third of its tolerance.

Judged is what an app runs, by every gate, on the golden inputs, from which neither weights nor ranges were
made, as they are and varied: the easiest alone forgive almost everything. What ``mien verify --held-out``
finds over more inputs may be worse, and it says so.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from mien.export.errors import ConversionError, ExportError
from mien.export.variants import NAMES, VARIANTS, variant_named
from mien.mobile_reference.bundle.reader import size_of
from mien.mobile_reference.contract import ANY, LIKE_FP16, LIKE_INT8, PipelineSpec, StageSpec
from mien.mobile_reference.metrics import METRICS, Metric, allowed, measure_gate, within, worst
from mien.mobile_reference.run.models import TFLITE, Model, open_model
from mien.models.pipeline import Sample

from .early_exit import EarlyExit, EarlyExitTrial

# Other inputs err more: a palette that had 0.20 points here had 0.50 on 132 held-out faces.
_MARGIN = 1 / 3
_LIMITED = frozenset({*NAMES, *(variant.precision for variant in VARIANTS), *LIKE_INT8, *LIKE_FP16, ANY})


@dataclass(frozen=True)
class Judgement:
    """What an app's models weigh in ``bytes``, and what the gates say of them.

    ``points`` is the worst loss by the first gate, ``tolerance`` the largest that it allows; ``failed`` says
    which of the other gates do not hold. ``early_exit`` is what came of leaving stages out, none where it was
    not tried.
    """

    name: str
    tolerance: float
    bytes: int
    points: float
    failed: tuple[str, ...] = ()
    early_exit: EarlyExit | None = None

    @property
    def passed(self) -> bool:
        """Tell whether a third of the tolerance and every other gate hold; NaN never passes."""
        return self.points <= self.tolerance * _MARGIN and not self.failed

    @property
    def holds(self) -> bool:
        """Tell whether every gate holds; NaN never does."""
        return self.points <= self.tolerance and not self.failed

    @property
    def platform(self) -> str:
        """The platform that the variant is for."""
        return self.name.partition("-")[0]


def check_limits(spec: PipelineSpec, variants: Sequence[str] = NAMES) -> None:
    """Find out before the work whether ``variants`` can be judged; without gates the defaults judge them all.

    Raises:
        ExportError: the first gate has no limit above 0 for one of them, or a gate has a limit for what is
            neither a variant nor a precision.
    """
    for gate in spec.gates:
        unknown = sorted(gate.limits.keys() - _LIMITED)
        if unknown:
            raise ExportError(
                f"{gate.metric} of {gate.tensor} has a limit for {unknown[0]}, neither a variant nor "
                f"a precision; there are {', '.join(sorted(_LIMITED))}"
            )
    for gate in spec.gates[:1]:
        lacking = [name for name in variants if not gate.limit(name)]
        if lacking:
            precision = variant_named(lacking[0]).precision
            raise ExportError(
                f"{gate.metric} of {gate.tensor} compares variants and has no limit above 0 for {precision}; "
                f"give one, such as {precision}=..."
            )


def model_of(folder: Path, variant: str, model: str) -> Path:
    """Say where a conversion puts a model."""
    return folder / variant / f"{model}{variant_named(variant).suffix}"


def judge(
    folder: Path,
    variant: str,
    spec: PipelineSpec,
    samples: Iterable[Sample],
    metrics: Mapping[str, Metric] = METRICS,
) -> Judgement:
    """Judge by ``samples`` what the conversions made under ``folder``/``variant``."""
    measures: list[list[Any]] = [[] for _ in spec.gates]
    trial = _trial(folder, variant, spec)
    for sample, made in _rated(folder, variant, spec, samples):
        if trial:
            trial.add(sample.name, {name: sample.tensors[name] for name in spec.inputs}, made)
        for gate, found in zip(spec.gates, measures, strict=True):
            found.append(measure_gate(gate, spec, sample.tensors, made, metrics))
    losses = [metrics[gate.metric].combine(found) for gate, found in zip(spec.gates, measures, strict=True)]
    limits = [allowed(gate, variant, metrics) for gate in spec.gates]
    failed = [
        f"{gate.metric} of {gate.tensor} is off by {loss:.3g}, at most {limit:g}"
        for gate, loss, limit in zip(spec.gates[1:], losses[1:], limits[1:], strict=True)
        if limit is not None and within(loss, limit) is False
    ]
    largest, tolerance = worst(measures[0]), limits[0] or 0.0
    return Judgement(
        variant,
        tolerance,
        sum(size_of(model_of(folder, variant, model.name)) for model in spec.served),
        math.nan if largest is None else _rounded(largest, tolerance),
        tuple(failed),
        trial.result if trial else None,
    )


def _trial(folder: Path, variant: str, spec: PipelineSpec) -> EarlyExitTrial | None:
    """Prepare to leave stages out, where one says it may be, every one is there, and apps compute the same.

    What Core ML's evaluator computes says nothing of the bits on Apple's hardware.
    """
    there = all(model_of(folder, variant, stage.name).exists() for stage in spec.stages)
    if not there or variant_named(variant).platform != TFLITE or not any(s.skip_when for s in spec.stages):
        return None
    return EarlyExitTrial(spec, _opened(folder, variant, spec, spec.stages))


def _opened(folder: Path, variant: str, spec: PipelineSpec, models: Sequence[StageSpec]) -> dict[str, Model]:
    platform = variant_named(variant).platform
    return {
        model.name: open_model(platform, model_of(folder, variant, model.name), spec, model.name)
        for model in models
    }


def _rated(
    folder: Path, variant: str, spec: PipelineSpec, samples: Iterable[Sample]
) -> Iterator[tuple[Sample, dict[str, NDArray[Any]]]]:
    models = _opened(folder, variant, spec, spec.served)
    for sample in samples:
        known = {name: sample.tensors[name] for name in spec.inputs}
        for model in spec.served:
            known |= models[model.name]({name: known[name] for name in model.inputs})
        yield sample, known


def _rounded(loss: float, tolerance: float) -> float:
    """Keep four digits, so that another order of sums on another host leaves the manifest the same.

    Of a tolerance below a hundredth as many more as keep a hundredth of it.
    """
    digits = 2 - math.floor(math.log10(tolerance)) if tolerance else 4
    return round(loss, max(4, digits))


def choose(judged: Sequence[Judgement]) -> dict[str, str]:
    """Name the smallest variant that passes, by platform; a platform where none does is not named."""
    passing = sorted((j for j in judged if j.passed), key=lambda j: j.bytes, reverse=True)
    return {judgement.platform: judgement.name for judgement in passing}


def not_left_early(judged: Sequence[Judgement]) -> tuple[str, ...]:
    """Say of which variants no stage is left out though one says it may be, and why."""
    said = []
    for one in judged:
        if one.early_exit and not one.early_exit.is_exact:
            why = one.early_exit.differing
            said.append(
                f"{one.name} leaves no stage out: "
                + (f"{why} would not be the same to the last bit" if why else "no golden input shows it may")
            )
    return tuple(said)


def not_held(judged: Sequence[Judgement], spec: PipelineSpec) -> tuple[str, ...]:
    """Say which variants are left out because a gate does not hold on the golden inputs.

    Raises:
        ConversionError: the first variant, float32, is among them, so that none can be trusted.
    """
    said = []
    for one in (judgement for judgement in judged if not judgement.holds):
        rating = f"{spec.rating.metric} of {spec.rating.tensor} is {one.points:g}, at most {one.tolerance:g}"
        told = (*(() if one.points <= one.tolerance else (rating,)), *one.failed)
        said.append(f"{one.name} is left out, for on the golden inputs {'; '.join(told)}")
        if one.name == NAMES[0]:
            raise ConversionError(
                f"no bundle is made: {said[-1]}; try mien export SOURCE --compare-converters"
            )
    return tuple(said)
