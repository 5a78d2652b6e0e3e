"""What is said over held-out inputs: figures against the limits of the manifest, and a record of them."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from mien.mobile_reference.bundle.reader import Bundle, size_of
from mien.mobile_reference.contract import EACH, IOU, MEAN, RANK, SCALAR, PipelineSpec
from mien.mobile_reference.coreml import NOT_VALIDATED
from mien.mobile_reference.metrics import METRICS, Metric, allowed, mean, within, worst
from mien.mobile_reference.output.json_text import finite_or_none

from .held_out import Agreement, Crossings, HeldOut, Likeness, VariantHeldOut, worst_of
from .layers import POOR_DB
from .stages import PAIR, agreement_limit

FIRST_POOR_LAYER = f"PSNR dB of the first layer below {POOR_DB:g}"
CAVEAT = (
    "Anomalies are drawn, their severity is not human judgement; Core ML ran in mien's evaluator, "
    f"{NOT_VALIDATED}."
)
NOT_JUDGED = "not judged here"


@dataclass(frozen=True)
class JudgedFigure:
    """One figure of a variant, or of two: its value, its limit where the manifest has one, and its face.

    ``face`` is the face of a worst value, or the layer that is meant. ``passed`` is None where there is no
    limit, or where too little was seen to judge.
    """

    variant: str
    name: str
    value: float
    limit: float | None = None
    passed: bool | None = None
    face: str = ""


def _at_most(variant: str, name: str, value: float, limit: float | None, face: str = "") -> JudgedFigure:
    # A value that is not a number compares as false, and so never passes.
    return JudgedFigure(variant, name, value, limit, None if limit is None else value <= limit, face)


def figures(bundle: Bundle, held_out: HeldOut, metrics: Mapping[str, Metric] = METRICS) -> list[JudgedFigure]:
    """List every figure of every variant and of every pair of platforms; ``metrics`` did judge."""
    found = [figure for one in held_out.variants for figure in _variant_figures(bundle.spec, one, metrics)]
    for repeat in held_out.repeats:
        found.append(_at_most(repeat.variant, f"moved by {repeat.changed}", repeat.error, repeat.limit))
    for one in held_out.poor_layers:
        found.append(JudgedFigure(one.variant, FIRST_POOR_LAYER, one.decibels, face=one.layer or "no layer"))
    for agreement in held_out.agreements:
        found += _agreement_figures(bundle, agreement, metrics)
    return found


def _variant_figures(
    spec: PipelineSpec, found: VariantHeldOut, metrics: Mapping[str, Metric]
) -> Iterator[JudgedFigure]:
    name = found.variant
    for place, gate in enumerate(spec.gates):
        if gate.metric in metrics:
            yield from _gate_figures(name, spec, place, found.likeness, metrics[gate.metric])
        else:
            yield JudgedFigure(name, f"{gate.tensor} {gate.metric}, {NOT_JUDGED}", math.nan)
    yield from _noise_figures(name, found.likeness)
    for gate in spec.gates_by(IOU):
        yield from _crossing_figures(
            name, gate.tensor, [one for one in found.crossings if one.mask == gate.tensor]
        )
    before = 0.0
    for place, stage in enumerate(spec.stages if found.stage_errors else ()):
        after = float(np.mean([one.points[place] for one in found.stage_errors]))
        yield JudgedFigure(name, f"mean error up to {stage.name}", after)
        yield JudgedFigure(name, f"of this by {stage.name}", after - before)
        before = after


def _gate_figures(
    name: str, spec: PipelineSpec, place: int, likeness: Sequence[Likeness], metric: Metric
) -> Iterator[JudgedFigure]:
    """List what is to be said by one gate: the figure that its limit is of, and others beside it.

    ``name`` is a variant, or a pair of them, which has no limits.
    """
    gate = spec.gates[place]
    measures = [one.measures[place] for one in likeness]
    title = f"{gate.tensor} {metric.label}"
    limit = allowed(gate, name, {gate.metric: metric}) if PAIR not in name else None
    if gate.over == EACH:
        beside = any(one.tensor == gate.tensor for one in spec.gates_by(MEAN)) and gate.metric == SCALAR
        if not beside:
            yield _figure(name, f"{title}, mean", metric, mean(measures), None)
        for percent in (95, 99):
            yield _figure(name, f"{title}, p{percent}", metric, _quantile(measures, percent), None)
        face = likeness[measures.index(worst(measures))].face if worst(measures) in measures else ""
        yield _figure(name, f"{title}, {metric.worst_word}", metric, metric.combine(measures), limit, face)
    elif gate.metric in (MEAN, RANK):
        yield _figure(name, title, metric, metric.combine(measures), limit)
    else:
        yield _figure(name, f"{title}, mean", metric, metric.combine(measures), limit)
        yield _figure(name, f"{title}, {metric.worst_word}", metric, worst(measures), None)


def _quantile(measures: Sequence[float | None], percent: int) -> float | None:
    judged = [loss for loss in measures if loss is not None]
    return float(np.percentile(judged, percent)) if judged else None


def _figure(
    variant: str, name: str, metric: Metric, loss: float | None, limit: float | None, face: str = ""
) -> JudgedFigure:
    """Say a loss and the largest that is allowed as people know them."""
    return JudgedFigure(
        variant,
        name,
        math.nan if loss is None else metric.shown(loss),
        None if limit is None else metric.shown(limit),
        None if limit is None else within(loss, limit),
        face,
    )


def _crossing_figures(name: str, mask: str, crossings: Sequence[Crossings]) -> Iterator[JudgedFigure]:
    yield JudgedFigure(name, f"{mask} pixels near a half", sum(one.near for one in crossings))
    yield JudgedFigure(name, "of all, crossed the half", sum(one.crossed for one in crossings))
    costs = [one.points for one in crossings if not math.isnan(one.points)]
    yield JudgedFigure(name, "cost of crossing, worst", max(costs, default=math.nan))


def _noise_figures(name: str, likeness: Sequence[Likeness]) -> Iterator[JudgedFigure]:
    for tensor in likeness[0].decibels:
        decibels = [one.decibels[tensor] for one in likeness]
        yield JudgedFigure(
            name, f"{tensor} PSNR dB, least", min(decibels, key=lambda value: (value == value, value))
        )


def _agreement_figures(
    bundle: Bundle, agreement: Agreement, metrics: Mapping[str, Metric]
) -> Iterator[JudgedFigure]:
    """Compare two platforms: the first gate's error has a limit, what else is gated is told."""
    name, spec = PAIR.join(agreement.variants), bundle.spec
    metric, farthest = metrics[spec.rating.metric], worst_of(agreement.likeness)
    errors = [one.error for one in agreement.likeness]
    apart, limit = f"{spec.rating.tensor} apart", agreement_limit(bundle, agreement.variants)
    yield _figure(name, f"{apart}, mean", metric, mean(errors), None)
    yield _figure(name, f"{apart}, {metric.worst_word}", metric, farthest.error, limit, farthest.face)
    for place, gate in enumerate(spec.gates):
        if gate.tensor != spec.rating.tensor and gate.metric in metrics:
            yield from _gate_figures(name, spec, place, agreement.likeness, metrics[gate.metric])
    yield from _noise_figures(name, agreement.likeness)


def failures(found: Sequence[JudgedFigure]) -> list[str]:
    """Say in one line each what failed: variant, figure, limit, and the face or stage to look at."""
    lines = []
    for figure in found:
        if figure.passed is False:
            lines.append(
                f"{figure.variant}: {figure.name} is {figure.value:.4g}, the limit is {figure.limit:g}"
                + (f" (face {figure.face})" if figure.face else "")
                + _blame(figure.variant, found)
            )
    return lines


def _blame(variant: str, found: Sequence[JudgedFigure]) -> str:
    """Name the stage that adds most to the mean error, and the first layer that diverges."""
    costs = [f for f in found if f.variant == variant and f.name.startswith("of this by ")]
    layers = [
        f.face for f in found if f.variant == variant and f.name == FIRST_POOR_LAYER and f.value < POOR_DB
    ]
    blame = ""
    if costs:
        dearest = max(costs, key=lambda figure: figure.value)
        stage = dearest.name.removeprefix("of this by ")
        blame = f"; stage {stage} costs most, {dearest.value:.3f} points of the mean"
    return blame + "".join(f"; the first layer that diverges is {layer}" for layer in layers)


def choice_lines(bundle: Bundle) -> list[str]:
    """Say which of several variants the manifest recommends for a platform, and which were left out."""
    lines = []
    left_out = bundle.manifest.get("left_out", ())
    tried = Counter(entry["platform"] for entry in bundle.manifest["variants"])
    judged = {variant.name for variant in bundle.variants}
    tried.update(entry["name"].partition("-")[0] for entry in left_out)
    for platform, name in bundle.manifest.get("choice", {}).items():
        # A bundle that was packed for an app left nothing to choose from.
        if tried[platform] == 1 or name not in judged:
            continue
        files = bundle.variant(name).files
        megabytes = sum(size_of(files[model.name]) for model in bundle.spec.served) / 1e6
        lines.append(
            f"smallest of {platform} that kept to a third of its tolerance at export: "
            f"{name}, {megabytes:.2f} MB"
        )
    return [*lines, *(f"left out at export: {one['name']}, {_why_left_out(one)}" for one in left_out)]


def _why_left_out(entry: Mapping[str, Any]) -> str:
    points, tolerance = entry["measured"]["points"], entry["tolerance"]
    if points is None:
        return "what it made was not a number"
    if points <= tolerance / 3:
        return "another gate than the first did not hold"
    return f"it erred by {points:.4g}, more than a third of its tolerance of {tolerance:g}"


def held_out_record(found: Sequence[JudgedFigure], faces: int) -> dict[str, Any]:
    """Return what a script reads; JSON has no NaN and no infinity, so null stands for both."""
    rows = [asdict(figure) | {"value": finite_or_none(figure.value)} for figure in found]
    return {"faces": faces, "figures": rows, "note": CAVEAT}


def cells(figure: JudgedFigure) -> tuple[str, ...]:
    """Return a figure's row under ``HEADINGS``."""
    value = "-" if math.isnan(figure.value) else f"{figure.value:.4g}"
    limit = "" if figure.limit is None else f"{figure.limit:g}"
    verdict = {None: "", True: "passed", False: "FAILED"}[figure.passed]
    return figure.variant, figure.name, value, limit, verdict, figure.face


HEADINGS = ("variant", "figure", "value", "limit", "verdict", "face or layer")
