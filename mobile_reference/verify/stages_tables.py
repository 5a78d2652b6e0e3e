"""What a verification by golden inputs found, as a table of 80 columns, as lines and as a record."""

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from rich.box import SIMPLE
from rich.table import Table

from mien.mobile_reference.bundle.reader import Bundle
from mien.mobile_reference.contract import FUNCTION, GateSpec
from mien.mobile_reference.coreml import NOT_VALIDATED
from mien.mobile_reference.metrics import METRICS, Metric, worst
from mien.mobile_reference.output.json_text import finite_or_none
from mien.mobile_reference.output.text import shown
from mien.mobile_reference.run.models import COREML

from .limits import NOT_JUDGED
from .stages import StageResult, Verification
from .weights import WeightsResult

STAGE_HEADINGS = ("variant", "stage", "PSNR dB", "nearest gate", "value", "tolerance", "verdict")


def _metric(gate: GateSpec) -> Metric:
    """Return the metric that a gate is told by; a function of the user's is told as the loss that it gave."""
    label = gate.metric.removeprefix(FUNCTION)
    return METRICS.get(gate.metric, Metric(label, lambda *_: None, worst))


def title(gate: GateSpec) -> str:
    """Name a gate as people read it: its tensor and what is measured of it."""
    return f"{gate.tensor} {_metric(gate).label}"


def stages_table(bundle: Bundle, found: Verification) -> Table:
    """Show each stage of each variant with the gate that it comes nearest to, and the verdict of all."""
    table = Table(
        title=f"parity with the float pipeline, worst of {len(bundle.goldens)} golden inputs",
        title_justify="left",
        box=SIMPLE,
        padding=(0, 1, 0, 0),
    )
    for heading in (*STAGE_HEADINGS[:-1], ""):
        right = heading in ("PSNR dB", "value", "tolerance")
        table.add_column(heading, justify="right" if right else "left", overflow="fold")
    last = {result.variant: result.stage for result in found.results}
    for variant, stage, *cells in stage_rows(found):
        table.add_row(variant, stage, *cells, end_section=last[variant] == stage)
    return table


def stage_rows(found: Verification) -> Iterator[tuple[str, ...]]:
    """Yield under ``STAGE_HEADINGS`` each stage of each variant with the gate that it comes nearest to."""
    for (variant, stage), group in groupby(found.results, key=lambda one: (one.variant, one.stage)):
        yield variant, stage, *_cells(list(group))


def _cells(results: Sequence[StageResult]) -> tuple[str, ...]:
    """Tell of a stage by the result that is nearest to failing."""
    nearest = max(results, key=_nearness)
    decibels = f"{nearest.decibels:.1f}" if math.isfinite(nearest.decibels) else "exact"
    if math.isnan(nearest.decibels):
        decibels = "nan"
    if nearest.gate is None:
        return decibels, "", "", "", "ungated"
    if nearest.passed is None:
        return decibels, title(nearest.gate), "", "", NOT_JUDGED
    value, tolerance = _shown(nearest)
    return decibels, title(nearest.gate), f"{value:.4g}", f"{tolerance:g}", _verdict(nearest)


def _nearness(result: StageResult) -> tuple[bool, float]:
    """Order results: those that failed last, then by the part of the tolerance that is used up."""
    if result.loss is None or result.gate is None:
        return False, -1.0
    if not math.isfinite(result.loss):
        return True, math.inf
    beyond = math.inf if result.loss else 0.0
    return result.passed is False, result.loss / result.limit if result.limit else beyond


def _verdict(result: StageResult) -> str:
    return {True: "passed", False: "FAILED", None: NOT_JUDGED}[result.passed]


def _shown(result: StageResult) -> tuple[float, float]:
    """Return value and tolerance in the units that people know; a loss there must be."""
    assert result.gate is not None  # noqa: S101 - for the types
    assert result.loss is not None  # noqa: S101
    metric = _metric(result.gate)
    return metric.shown(result.loss), metric.shown(result.limit)


def failure_line(result: StageResult | WeightsResult) -> str:
    """Say what failed: the variant, the stage, the gate, its value, the golden input, what is allowed."""
    if isinstance(result, WeightsResult):
        return _other_weights(result)
    value, tolerance = _shown(result)
    assert result.gate is not None  # noqa: S101
    bound = "most" if _metric(result.gate).worst_word == "worst" else "least"
    return (
        f"{result.variant}: stage {result.stage}: {title(result.gate)} is {value:.4g} ({result.face}), "
        f"at {bound} {tolerance:g} passes"
    )


def _other_weights(result: WeightsResult) -> str:
    """Say which weights are others, the farthest first."""
    farthest = sorted(result.differing.items(), key=lambda one: -one[1])
    named = ", ".join(f"{shown(name):.80} by {apart:.2g} of its largest" for name, apart in farthest[:3])
    more = f" and {len(farthest) - 3} more" if len(farthest) > 3 else ""
    return (
        f"{result.variant}: stage {result.stage}: {len(farthest)} of {result.compared} stored weights are "
        f"not those of {result.against} in float16: {named}{more}; one of the two files was changed, or its "
        "converter is wrong: export the bundle again"
    )


def remarks(bundle: Bundle, found: Verification) -> Iterator[str]:
    """Say what the table does not: the shares of int8, platforms, what was not judged, who ran Core ML."""
    if shares := int8_shares(bundle):
        told = ", ".join(f"{name} {100 * share:.0f} %" for name, share in shares.items())
        yield f"share of multiplications in int8: {told}"
    if found.platforms:
        farthest = max(found.platforms, key=_nearness)
        value, tolerance = _shown(farthest)
        yield (
            f"TFLite and Core ML are at most {value:.4g} apart by {title(bundle.spec.rating)} "
            f"({farthest.variant}), {tolerance:g} passes: {_verdict(farthest)}"
        )
    yield from _weights_remarks(bundle, found)
    for stage in found.ungated:
        yield f"stage {stage} is ungated: no gate depends on what it makes"
    for gate in bundle.spec.gates:
        if all(one.loss is None for one in found.results if one.gate == gate):
            yield f"{title(gate)} is {NOT_JUDGED}: {_why(gate)}"
    for variant, arithmetic in found.half_floats.items():
        yield f"{variant} was judged in {arithmetic}."
    if any(variant.platform == COREML for variant in bundle.variants):
        yield f"Core ML was executed by mien's evaluator, not by Apple's runtime: {NOT_VALIDATED}."


def int8_shares(bundle: Bundle) -> Mapping[str, float]:
    """Return the share of multiplications of each variant in int8, 0..1, where it is known."""
    entries = {entry["name"]: entry["products_int8"] for entry in bundle.manifest["variants"]}
    return {one.name: entries[one.name] for one in bundle.variants if entries.get(one.name) is not None}


def _weights_remarks(bundle: Bundle, found: Verification) -> Iterator[str]:
    for variant, group in groupby(found.weights, key=lambda one: one.variant):
        yield _same_weights(variant, list(group))
    compared = {result.variant for result in found.weights}
    for name in (one.name for one in bundle.variants if one.name.endswith("-fp16")):
        if name not in compared:
            yield f"the weights of {name} were not compared: the bundle has no float32 of its platform"


def _same_weights(variant: str, results: Sequence[WeightsResult]) -> str:
    compared = sum(result.compared for result in results)
    unknown = sum(len(result.unknown) for result in results)
    differing = sum(len(result.differing) for result in results)
    without = f", {unknown} have no counterpart there" if unknown else ""
    return (
        f"{compared - differing} of {compared} stored weights of {variant} are those of "
        f"{results[0].against}, rounded to float16{without}: {'FAILED' if differing else 'passed'}"
    )


def _why(gate: GateSpec) -> str:
    if gate.is_function:
        return "it is a function of the pipeline's; give --pipeline FILE"
    return "the golden inputs leave nothing to judge by it"


def weights_record(result: WeightsResult) -> Mapping[str, Any]:
    """Describe what was found of the weights of a model."""
    return {
        "variant": result.variant,
        "stage": result.stage,
        "against": result.against,
        "compared": result.compared,
        "differing": {name: finite_or_none(apart) for name, apart in result.differing.items()},
        "unknown": list(result.unknown),
        "passed": result.passed,
    }


def result_record(result: StageResult) -> Mapping[str, Any]:
    """Describe a result; JSON has no infinity and no NaN, so null stands for both."""
    gate, value, tolerance = result.gate, None, None
    if gate is not None and result.loss is not None:
        value, tolerance = _shown(result)
    return {
        "variant": result.variant,
        "stage": result.stage,
        "tensor": gate.tensor if gate else None,
        "metric": gate.metric if gate else None,
        "golden": result.face,
        "error": finite_or_none(result.loss),
        "value": finite_or_none(value),
        "tolerance": finite_or_none(tolerance),
        "passed": result.passed,
        "decibels": finite_or_none(result.decibels),
    }
