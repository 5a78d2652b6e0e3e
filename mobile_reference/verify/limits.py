"""What is said of a fidelity: figures against the limits of the manifest, as a record and a page."""

import base64
import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from html import escape
from typing import Any

import numpy as np
from PIL import Image

from mien.mobile_reference.bundle.reader import Bundle, size_of
from mien.mobile_reference.contract import CORRELATION, IOU, MEAN, RANK, PipelineSpec
from mien.mobile_reference.coreml import NOT_VALIDATED

from .held_out import FEW_FACES, Agreement, Fidelity, Flips, Likeness, VariantFidelity, rank_agreement
from .layers import DIVERGED

DIVERGENCE = f"PSNR dB of the first layer below {DIVERGED:g}"
CAVEAT = (
    "Anomalies are drawn, their severity is not human judgement; Core ML ran in mien's evaluator, "
    f"{NOT_VALIDATED}."
)
PAIR = " / "
"""Between the names of two variants that a figure is of."""
_STYLE = """
body { font: 15px/1.5 sans-serif; max-width: 70rem; margin: 2rem auto }
td, th { padding: .1rem .7rem; text-align: right }
img { max-width: 100% }
"""


@dataclass(frozen=True)
class Figure:
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


def _at_most(variant: str, name: str, value: float, limit: float | None, face: str = "") -> Figure:
    # A value that is not a number compares as false, and so never passes.
    return Figure(variant, name, value, limit, None if limit is None else value <= limit, face)


def _at_least(variant: str, name: str, value: float, limit: float | None) -> Figure:
    unknown = limit is None or math.isnan(value)
    return Figure(variant, name, value, limit, None if unknown else value >= (limit or 0))


def _mean(values: Sequence[float]) -> float:
    """Average what could be judged; not a number when nothing could."""
    judged = [value for value in values if not math.isnan(value)]
    return float(np.mean(judged)) if judged else math.nan


def _least(values: Sequence[float]) -> float:
    return min((value for value in values if not math.isnan(value)), default=math.nan)


def _worst(likeness: Sequence[Likeness]) -> Likeness:
    return max(likeness, key=lambda one: math.inf if math.isnan(one.points) else abs(one.points))


def figures(bundle: Bundle, fidelity: Fidelity) -> list[Figure]:
    """List every figure of every variant and of every pair of platforms."""
    found = [figure for variant in fidelity.variants for figure in _variant_figures(bundle, variant)]
    for repeat in fidelity.repeats:
        found.append(_at_most(repeat.variant, f"moved by {repeat.changed}", repeat.points, repeat.limit))
    for one in fidelity.divergences:
        found.append(Figure(one.variant, DIVERGENCE, one.decibels, face=one.layer or "no layer"))
    limit = bundle.manifest.get("agreement")
    for agreement in fidelity.agreements:
        found += _agreement_figures(agreement, limit, bundle.spec)
    return found


def _variant_figures(bundle: Bundle, found: VariantFidelity) -> Iterator[Figure]:
    variant, name, spec = bundle.variant(found.variant), found.variant, bundle.spec
    points = np.abs([one.points for one in found.likeness])
    worst = _worst(found.likeness)
    ranks = rank_agreement(found.scores) if len(found.scores) >= FEW_FACES else math.nan
    yield _at_most(name, "score error, mean", float(points.mean()), _limit(spec, MEAN, name))
    yield Figure(name, "score error, p95", float(np.quantile(points, 0.95)))
    yield _at_most(name, "score error, worst", abs(worst.points), variant.tolerance, worst.face)
    yield _at_least(name, "rank agreement (Spearman)", ranks, _limit(spec, RANK, name))
    yield from _map_figures(name, found.likeness, spec)
    for gate in spec.gates_by(IOU):
        yield from _flip_figures(name, gate.tensor, [one for one in found.flips if one.mask == gate.tensor])
    before = 0.0
    for place, stage in enumerate(spec.stages if found.waterfalls else ()):
        after = float(np.mean([one.points[place] for one in found.waterfalls]))
        yield Figure(name, f"mean error up to {stage.name}", after)
        yield Figure(name, f"of this by {stage.name}", after - before)
        before = after


def _limit(spec: PipelineSpec, metric: str, variant: str) -> float | None:
    """Return the limit that the rating has by a metric; none where nothing is asked."""
    gates = (gate for gate in spec.gates_by(metric) if gate.tensor == spec.rating.tensor)
    return next((gate.limit(variant) for gate in gates), None)


def _flip_figures(name: str, mask: str, flips: Sequence[Flips]) -> Iterator[Figure]:
    yield Figure(name, f"{mask} pixels near a half", sum(one.near for one in flips))
    yield Figure(name, "of all, crossed the half", sum(one.flipped for one in flips))
    costs = [one.points for one in flips if not math.isnan(one.points)]
    yield Figure(name, "cost of crossing, worst", max(costs, default=math.nan))


def _map_figures(name: str, likeness: Sequence[Likeness], spec: PipelineSpec) -> Iterator[Figure]:
    """List the figures of maps and masks, held to the limits of ``name`` where it is a variant's."""
    for gate in spec.gates_by(CORRELATION):
        correlations = [one.correlations[gate.tensor] for one in likeness]
        limit = gate.limit(name) if PAIR not in name else None
        yield _at_least(name, f"{gate.tensor} correlation, mean", _mean(correlations), limit)
        yield Figure(name, f"{gate.tensor} correlation, least", _least(correlations))
        decibels = [one.decibels[gate.tensor] for one in likeness]
        yield Figure(name, f"{gate.tensor} PSNR dB, least", _least(decibels))
    for gate in spec.gates_by(IOU):
        overlaps = [one.overlaps[gate.tensor] for one in likeness]
        limit = gate.limit(name) if PAIR not in name else None
        yield _at_least(name, f"{gate.tensor} IoU, mean", _mean(overlaps), limit)
        yield Figure(name, f"{gate.tensor} IoU, least", _least(overlaps))


def _agreement_figures(agreement: Agreement, limit: float | None, spec: PipelineSpec) -> Iterator[Figure]:
    name = PAIR.join(agreement.variants)
    worst = _worst(agreement.likeness)
    yield Figure(name, "scores apart, mean", float(np.abs([one.points for one in agreement.likeness]).mean()))
    yield _at_most(name, "scores apart, worst", abs(worst.points), limit, worst.face)
    yield from _map_figures(name, agreement.likeness, spec)


def failures(found: Sequence[Figure]) -> list[str]:
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


def _blame(variant: str, found: Sequence[Figure]) -> str:
    """Name the stage that adds most to the mean error, and the first layer that diverges."""
    costs = [f for f in found if f.variant == variant and f.name.startswith("of this by ")]
    layers = [f.face for f in found if f.variant == variant and f.name == DIVERGENCE and f.value < DIVERGED]
    blame = ""
    if costs:
        dearest = max(costs, key=lambda figure: figure.value)
        stage = dearest.name.removeprefix("of this by ")
        blame = f"; stage {stage} costs most, {dearest.value:.3f} points of the mean"
    return blame + "".join(f"; the first layer that diverges is {layer}" for layer in layers)


def choice_lines(bundle: Bundle) -> list[str]:
    """Say which variant the manifest recommends for each platform, and which were tried and left out."""
    lines = []
    for platform, name in bundle.manifest.get("choice", {}).items():
        files = bundle.variant(name).files
        megabytes = sum(size_of(files[model.name]) for model in bundle.spec.served) / 1e6
        lines.append(
            f"smallest of {platform} that kept to a third of its tolerance at export: "
            f"{name}, {megabytes:.2f} MB"
        )
    for entry in bundle.manifest.get("left_out", ()):
        points = entry["measured"]["points"]
        error = "a score that is not a number" if points is None else f"{points:.2f} points"
        lines.append(f"left out at export: {entry['name']}, {error}, its tolerance is {entry['tolerance']:g}")
    return lines


def fidelity_record(found: Sequence[Figure], faces: int) -> dict[str, Any]:
    """Return what a script reads; JSON has no NaN and no infinity, so null stands for both."""
    rows = [asdict(figure) | {"value": _finite(figure.value)} for figure in found]
    return {"faces": faces, "figures": rows, "note": CAVEAT}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _cells(figure: Figure) -> tuple[str, ...]:
    value = "-" if math.isnan(figure.value) else f"{figure.value:.4f}".rstrip("0").rstrip(".")
    limit = "" if figure.limit is None else f"{figure.limit:g}"
    verdict = {None: "", True: "passed", False: "FAILED"}[figure.passed]
    return figure.variant, figure.name, value, limit, verdict, figure.face


HEADINGS = ("variant", "figure", "value", "limit", "", "face or layer")


def fidelity_page(fidelity: Fidelity, found: Sequence[Figure], name: str) -> str:
    """Make one HTML page that needs nothing else: every figure, and the worst face of every variant."""
    rows = "".join(_row("td", _cells(figure)) for figure in found)
    pictures = "".join(map(_worst_picture, fidelity.variants))
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>mien verify: {escape(name)}'
        f"</title><style>{_STYLE}</style></head><body><h1>mien verify: {escape(name)}</h1>"
        f"<p>{escape(CAVEAT)}</p><h2>Worst faces</h2><p>What went in, and each view in "
        f"float and in the variant.</p>{pictures}<h2>Figures</h2><table>{_row('th', HEADINGS)}{rows}</table>"
        "</body></html>\n"
    )


def _worst_picture(found: VariantFidelity) -> str:
    """Name the worst face of a variant and show it, where the pipeline takes a picture."""
    worst = _worst(found.likeness)
    heading = (
        f"<h3>{escape(found.variant)}: worst face, {escape(worst.face)}, {abs(worst.points):.3f} points</h3>"
    )
    if not found.worst.size:
        return heading
    return (
        f'{heading}<img alt="what went in, and each view in float and in the variant" '
        f'src="data:image/png;base64,{_png(found.worst)}">'
    )


def _row(tag: str, cells: Sequence[str]) -> str:
    return "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>\n"


def _png(pixels: Any) -> str:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()
