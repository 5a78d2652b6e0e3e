"""Evidence without a phone: what published times say about a graph of this size.

No phone was used. An estimate is of the networks alone: decoding, warping, loading, compilation on the
device, heat, and operators that a delegate hands back to the CPU are not in it. The published networks
are mostly classifiers; ours makes pictures. Hence the claim at three times the estimate, and the refusal
to estimate what lies outside the data.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from typing import Any

from mien.benchmarks.results.records import (
    BUDGET_MS,
    ESTIMATE_FORMAT,
    ESTIMATE_SCHEMA,
    MET,
    NO_EVIDENCE,
    NOT_MET,
    check_report,
)
from mien.mobile_reference.bundle.reader import FACE_ALIGNMENT, MANIFEST, Bundle, Variant, sha256
from mien.mobile_reference.contract import PipelineSpec
from mien.mobile_reference.output.json_text import json_text
from mien.mobile_reference.tflite.model_file import DEPTHWISE, TFLiteFile, read_tflite

from .fit import CLAIM
from .published import ATTENTION, Fit, Group, Published, Size, read_fits, read_groups, sizes_of

LOOKS = {FACE_ALIGNMENT: 2}
"""How often a front runs its models, by its kind: aligning faces asks the detector twice; others ask once."""
FLOAT, INT8 = "float", "int8"
_TFLITE = "tflite"
_BRACKET = 3
# Operators that the published networks are made of.
_COMMON = """
CONV_2D DEPTHWISE_CONV_2D FULLY_CONNECTED TRANSPOSE_CONV ADD MUL CONCATENATION MAX_POOL_2D AVERAGE_POOL_2D
MEAN PAD RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR DEPTH_TO_SPACE LOGISTIC HARD_SWISH RELU RELU6 RELU_0_TO_1
PRELU LEAKY_RELU TANH SOFTMAX QUANTIZE DEQUANTIZE CAST RESHAPE SQUEEZE EXPAND_DIMS
"""
# Operators that they hardly have, but which only read and write each value: counted as activations.
_RARE = """
TRANSPOSE SUB DIV SQRT RSQRT SQUARE SQUARED_DIFFERENCE SUM MAXIMUM MINIMUM ABS NEG EXP LOG POW PADV2
GATHER MIRROR_PAD SLICE STRIDED_SLICE SPLIT SPLIT_V PACK UNPACK TILE BROADCAST_TO SPACE_TO_DEPTH REDUCE_MAX
REDUCE_MIN GREATER GREATER_EQUAL LESS SELECT SELECT_V2 FLOOR
"""
# Operators whose outputs the tables count as activations; the rest is assumed fused into them.
_COUNTED = """
CONV_2D DEPTHWISE_CONV_2D FULLY_CONNECTED TRANSPOSE_CONV ADD CONCATENATION MAX_POOL_2D AVERAGE_POOL_2D MEAN
RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR
"""
# Above this share of the activations a graph is no longer of the kind that was published.
_MOST_RARE = 0.25
# Above this share of float products a graph is no longer of the kind that was published as int8.
_MOST_FLOAT = 0.1


@dataclass(frozen=True)
class Part:
    """A graph of the bundle, how often one appraisal runs it, and its size.

    ``size`` counts all values that are written and is what an estimate is made from: the more careful
    way. ``comparable`` counts the activations as the tables do and is what is compared with them.
    """

    graph: str
    times: int
    size: Size
    comparable: Size


@dataclass(frozen=True)
class Estimate:
    """What a group of published times says about a variant.

    ``refused`` gives the reason where there is no estimate. ``bracket`` are published networks of the
    group with at least as many MACs and activations as the whole appraisal.
    """

    variant: str
    group: Group
    fit: Fit
    parts: tuple[Part, ...]
    bracket: tuple[Published, ...]
    refused: str | None
    estimate_ms: float | None

    @property
    def claim_ms(self) -> float | None:
        """The time that is claimed."""
        return None if self.estimate_ms is None else CLAIM * self.estimate_ms

    @property
    def verdict(self) -> str:
        """Say whether the claim keeps the budget; an estimate between the two decides nothing."""
        if self.estimate_ms is None:
            return NO_EVIDENCE
        if CLAIM * self.estimate_ms < BUDGET_MS:
            return MET
        return NOT_MET if self.estimate_ms >= BUDGET_MS else NO_EVIDENCE


def size_of(model: TFLiteFile) -> Size:
    """Count a graph."""
    depthwise = model.macs[DEPTHWISE]
    return Size(
        dense_gmac=(model.macs.total() - depthwise) / 1e9,
        depthwise_gmac=depthwise / 1e9,
        activations_m=model.activations.total() / 1e6,
        parameters_m=model.parameters / 1e6,
    )


def comparable_size_of(model: TFLiteFile) -> Size:
    """Count a graph as the published networks were counted."""
    counted = sum(model.activations[name] for name in _COUNTED.split())
    return replace(size_of(model), activations_m=counted / 1e6)


def precision_of(model: TFLiteFile) -> str:
    """Tell which published precision a graph is to be compared with."""
    return INT8 if model.has_integer_convolution else FLOAT


def estimates(bundle: Bundle, variant: Variant) -> Iterator[Estimate]:
    """Compare a variant with every group of published times of its precision."""
    models = {name: read_tflite(file) for name, file in variant.files.items()}
    models |= {
        name: half
        for stage in bundle.spec.stages
        for name, half in zip(_halves_of(stage.name), models[stage.name].halves, strict=True)
    }
    ways = list(_ways(bundle.spec, models))
    precision, fits = _served_precision(bundle.spec, models), read_fits()
    for group in read_groups():
        if group.precision == precision:
            yield _estimate(variant.name, ways, models, group, fits[group.name])


def times_of_front(spec: PipelineSpec) -> dict[str, int]:
    """Return how often one rating runs each model of the front."""
    return {model.name: LOOKS.get(spec.front.kind, 1) for model in spec.front.models} if spec.front else {}


def _served_precision(spec: PipelineSpec, models: Mapping[str, TFLiteFile]) -> str:
    found = {precision_of(models[model.name]) for model in spec.served}
    return INT8 if INT8 in found else FLOAT


def _estimate(
    variant: str, ways: Sequence[tuple[Part, ...]], models: dict[str, TFLiteFile], group: Group, fit: Fit
) -> Estimate:
    """Estimate by the largest parts that are in range: what apps run, stages, or halves of stages in a row.

    Every part has the fixed cost of a network, so more of them are estimated to take longer.
    """
    refusals = [_refusal(way, models, group) for way in ways]
    chosen = refusals.index(None) if None in refusals else 0
    parts = ways[chosen]
    time = sum(part.times * fit.predict(part.size) for part in parts)
    return Estimate(
        variant=variant,
        group=group,
        fit=fit,
        parts=parts,
        bracket=tuple(_bracket(ways[0], group)),
        refused=refusals[chosen],
        estimate_ms=time if refusals[chosen] is None else None,
    )


def _ways(spec: PipelineSpec, models: dict[str, TFLiteFile]) -> Iterator[tuple[Part, ...]]:
    front = tuple(_part(models, name, times) for name, times in times_of_front(spec).items())
    served, stages = (tuple(model.name for model in group) for group in (spec.served, spec.stages))
    halves = tuple(half for stage in stages for half in _halves_of(stage))
    for graphs in dict.fromkeys((served, stages, halves)):
        yield *front, *(_part(models, graph, 1) for graph in graphs)


def _halves_of(stage: str) -> tuple[str, str]:
    return f"{stage}, first half", f"{stage}, second half"


def _part(models: dict[str, TFLiteFile], graph: str, times: int) -> Part:
    return Part(graph, times, size_of(models[graph]), comparable_size_of(models[graph]))


def _refusal(parts: Sequence[Part], models: dict[str, TFLiteFile], group: Group) -> str | None:
    """Say why the data do not cover the parts, or nothing when they do."""
    if group.precision == INT8 and (reason := _float_products(parts, models)):
        return reason
    for part in parts:
        reason = _strange_operators(models[part.graph]) or _beyond(part.comparable, group)
        if reason:
            return f"{part.graph}: {reason}"
    return None


def _float_products(parts: Sequence[Part], models: dict[str, TFLiteFile]) -> str | None:
    """Say how much of an appraisal the times of int8 networks would not count rightly."""
    of_each = [(part.times, models[part.graph]) for part in parts]
    every = sum(times * model.macs.total() for times, model in of_each)
    integer = sum(times * model.integer_macs for times, model in of_each)
    share = 1 - integer / max(every, 1)
    return (
        f"{share:.0%} of its products are float, the published networks are int8"
        if share > _MOST_FLOAT
        else None
    )


def _strange_operators(model: TFLiteFile) -> str | None:
    common, rare = _COMMON.split(), _RARE.split()
    unknown = sorted({operator.name for operator in model.running}.difference(common, rare))
    if unknown:
        return f"no published network has {', '.join(unknown)}"
    written = sum(count for name, count in model.activations.items() if name in rare)
    share = written / max(model.activations.total(), 1)
    if share > _MOST_RARE:
        return f"{share:.0%} of its values are written by operators that published networks hardly have"
    return None


def _beyond(size: Size, group: Group) -> str | None:
    limits = sizes_of(group.times).max(axis=0)
    for name, value, limit in zip(Size.__dataclass_fields__, size.values, limits, strict=True):
        if value > limit:
            return f"{name} is {value:.3g}, the published networks end at {limit:.3g}"
    return None


def _bracket(parts: Sequence[Part], group: Group) -> list[Published]:
    """Find the lightest published networks that are at least as heavy as the whole."""
    gmac = sum(part.times * part.comparable.gmac for part in parts)
    activations = sum(part.times * part.comparable.activations_m for part in parts)
    heavier = [
        published
        for published in group.times
        if published.kind != ATTENTION
        and published.size.gmac >= gmac
        and published.size.activations_m >= activations
    ]
    return sorted(heavier, key=lambda published: published.size.gmac)[:_BRACKET]


def chosen_variants(bundle: Bundle) -> list[Variant]:
    """Choose one TFLite variant of each precision: fp32 and fp16 have the same size."""
    found: dict[str, Variant] = {}
    for variant in bundle.variants:
        if variant.platform == _TFLITE:
            models = {model.name: read_tflite(variant.files[model.name]) for model in bundle.spec.served}
            found.setdefault(_served_precision(bundle.spec, models), variant)
    return list(found.values())


def make_estimate_report(bundle: Bundle, found: Sequence[Estimate]) -> dict[str, Any]:
    """Make the JSON of estimates; its ``kind`` keeps it apart from every measurement."""
    report = {
        "format": ESTIMATE_FORMAT,
        "kind": "estimate",
        "mien": version("mien"),
        "bundle": {"name": bundle.name, "manifest_sha256": sha256(bundle.path / MANIFEST)},
        "budget_ms": BUDGET_MS,
        "claim": f"{CLAIM:g} times the estimate",
        "estimates": [_record(estimate) for estimate in found],
    }
    plain: dict[str, Any] = json.loads(json_text(report))
    check_report(plain, ESTIMATE_SCHEMA)
    return plain


def _record(estimate: Estimate) -> dict[str, Any]:
    group = estimate.group
    names = ("phones", "device", "unit", "runtime", "precision", "source", "url")
    return {
        "variant": estimate.variant,
        **{name: getattr(group, name) for name in names},
        "parts": [asdict(part) for part in estimate.parts],
        "refused": estimate.refused,
        "estimate_ms": estimate.estimate_ms,
        "claim_ms": estimate.claim_ms,
        "verdict": estimate.verdict,
        "fit": asdict(estimate.fit),
        "bracket": [asdict(published) for published in estimate.bracket],
    }
