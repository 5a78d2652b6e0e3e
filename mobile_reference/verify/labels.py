"""How well the float pipeline and every variant do by labels of the user's: what int8 costs.

A metric gives numbers for each input, whose sums over inputs make its figure. An interval is of 95 %, over
the inputs: Wilson's of a share, else percentiles of a seeded bootstrap. The change from float is of the same
inputs, so its interval is narrower than the two figures' own would say.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from rich.box import SIMPLE
from rich.console import Group
from rich.table import Table

from mien.mobile_reference.bundle.reader import Bundle
from mien.mobile_reference.errors import UsageError
from mien.mobile_reference.labels import LabelMetric, Values
from mien.mobile_reference.output.json_text import finite_or_none
from mien.mobile_reference.run.runner import BundleRunner

from .held_out import ReferenceFace, fitting

FLOAT = "float"
"""What the float pipeline is called beside the variants."""
RESAMPLES = 2000
_SEED = 7
_TAILS = (0.025, 0.975)
_NORMAL = 1.959963984540054  # of a standard normal distribution 95 % lie within so many deviations
Interval = tuple[float, float]


class Labelled(Protocol):
    """Inputs with labels that a float pipeline brings: the metric, the labels, and samples in their order."""

    @property
    def metric(self) -> LabelMetric: ...  # noqa: D102
    @property
    def labels(self) -> Sequence[Any]: ...  # noqa: D102
    @property
    def files(self) -> Sequence[str]: ...  # noqa: D102
    @property
    def samples(self) -> Callable[[], Iterator[ReferenceFace]]: ...  # noqa: D102


@dataclass(frozen=True)
class LabelFigure:
    """What one variant, or float, is worth, and how that differs from float, each with an interval."""

    name: str
    value: float
    interval: Interval
    change: float
    change_interval: Interval


@dataclass(frozen=True)
class LabelReport:
    """Figures by labels; of so many ``inputs`` those that gave the bundle its ranges are told."""

    metric: LabelMetric
    inputs: int
    gave_ranges: int
    figures: tuple[LabelFigure, ...]


def judge_labels(bundle: Bundle, labelled: Labelled, progress: Callable[[str], None]) -> LabelReport:
    """Judge the float pipeline and every variant by labels.

    Raises:
        UsageError: an app's models do not make the tensor that is judged, or an input is not of their shape.
    """
    metric = labelled.metric
    made = {name for model in bundle.spec.served for name in model.outputs}
    if metric.tensor not in made:
        raise UsageError(
            f"the bundle's models make {', '.join(sorted(made))}, {metric.title} needs {metric.tensor}; "
            "export the pipeline again"
        )
    tensor = bundle.spec.tensor(metric.tensor)
    runners = {variant.name: BundleRunner(bundle.in_full(), variant.name) for variant in bundle.variants}
    rows: dict[str, list[Values]] = {name: [] for name in (FLOAT, *runners)}
    for label, sample in zip(labelled.labels, fitting(bundle, labelled.samples()), strict=True):
        outputs = {FLOAT: sample.tensors[metric.tensor]}
        given = {name: sample.tensors[name] for name in bundle.spec.inputs}
        outputs |= {name: runner.rate(given)[metric.tensor] for name, runner in runners.items()}
        for name, output in outputs.items():
            rows[name].append(np.asarray(metric.measure(output, label, tensor), np.float64))
        progress(sample.name)
    tables = {name: np.stack(found) for name, found in rows.items()}
    known = set(bundle.manifest["provenance"]["calibration"].get("images", ()))
    return LabelReport(
        metric,
        len(labelled.labels),
        sum(one in known for one in labelled.files),
        tuple(_figure(metric, name, table, tables[FLOAT]) for name, table in tables.items()),
    )


def _figure(metric: LabelMetric, name: str, table: Values, exact: Values) -> LabelFigure:
    """Make a variant's figure of its numbers [N, M], and its change from those of float."""
    count = len(table)
    drawn = [_drawn_anew(rows) for rows in (table, exact)]
    value, before = (float(metric.figure(rows.sum(axis=0), count)) for rows in (table, exact))
    resampled, resampled_before = (metric.figure(sums, count) for sums in drawn)
    own = wilson(value, count) if metric.share else _quantiles(resampled)
    return LabelFigure(name, value, own, value - before, _quantiles(resampled - resampled_before))


def _drawn_anew(rows: Values) -> Values:
    """Sum rows [N, M] of as many inputs drawn with replacement, [RESAMPLES, M]; the same for every table."""
    rng = np.random.default_rng(_SEED)
    draws = (rng.integers(len(rows), size=len(rows)) for _ in range(RESAMPLES))
    return np.stack([np.bincount(draw, minlength=len(rows)) @ rows for draw in draws])


def _quantiles(values: Values) -> Interval:
    if not np.isfinite(values).all():
        return math.nan, math.nan
    low, high = np.quantile(values, _TAILS)
    return float(low), float(high)


def wilson(share: float, count: int) -> Interval:
    """Return the 95 % interval of a share of ``count`` inputs (Wilson, doi 10.2307/2276774)."""
    squared = _NORMAL**2 / count
    middle = (share + squared / 2) / (1 + squared)
    half = _NORMAL / (1 + squared) * math.sqrt(share * (1 - share) / count + squared / (4 * count))
    return max(0.0, middle - half), min(1.0, middle + half)


def labels_table(report: LabelReport) -> Group:
    """Lay the figures out, float first, a change with its interval; below stands what weakens them."""
    table = Table(
        title=f"{report.metric.title} over {report.inputs} labelled inputs, 95 % intervals",
        title_justify="left",
        box=SIMPLE,
        padding=(0, 1, 0, 0),
    )
    for heading in ("variant", report.metric.name, "from", "to", "against float", "from", "to"):
        table.add_column(heading, justify="left" if heading == "variant" else "right", no_wrap=True)
    for one in report.figures:
        change = (one.change, *one.change_interval) if one.name != FLOAT else ()
        cells = [_shown(value) for value in (one.value, *one.interval)]
        table.add_row(one.name, *cells, *(_shown(value, "+") for value in change))
    weak = f"{report.gave_ranges} of these inputs gave the bundle its ranges; int8 may cost others more"
    return Group(table, *([weak] if report.gave_ranges else []))


def labels_record(report: LabelReport) -> dict[str, Any]:
    """Return what a script reads; JSON has no NaN, so null stands for it."""
    own = "Wilson" if report.metric.share else "bootstrap"
    return {
        "metric": report.metric.name,
        "tensor": report.metric.tensor,
        "inputs": report.inputs,
        "gave_ranges": report.gave_ranges,
        "intervals": f"95 %, {own}; of changes bootstrap of inputs, {RESAMPLES} resamples, seed {_SEED}",
        "figures": [
            {
                "name": one.name,
                "value": finite_or_none(one.value),
                "interval": [finite_or_none(end) for end in one.interval],
                "change": finite_or_none(one.change),
                "change_interval": [finite_or_none(end) for end in one.change_interval],
            }
            for one in report.figures
        ],
    }


def _shown(value: float, sign: str = "") -> str:
    # Adding 0 makes a plain 0 of -0.
    return "NaN" if math.isnan(value) else f"{round(value, 4) + 0:{sign}.4g}"
