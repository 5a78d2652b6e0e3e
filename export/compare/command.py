"""What ``mien export`` does beside exporting: it compares, and writes no bundle."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from mien.export.component import component
from mien.export.errors import ExportError
from mien.export.tflite.samples import save_traces
from mien.mobile_reference.output.json_text import json_text
from mien.mobile_reference.report.progress import one_bar
from mien.mobile_reference.report.steps import Progress
from mien.mobile_reference.run.child import calm
from mien.models.pipeline import RUNNING, Pipeline
from mien.models.sources import Source, as_origin

from .converters import FAILED, Attempt, compare_converters
from .quantisers import Quantised, compare_quantisers

QUANTISERS = "quantisers"
ARM64 = "ARM64 M: million instructions of one run on an emulated processor, no time"
HOST = "ms are of one thread of this host, all in turns in one run; a host is not a phone"


@dataclass(frozen=True)
class Compared:
    """What is compared: ``models`` of a pipeline, inputs to calibrate by, and held-out ones.

    ``source`` is where other processes open the ``pipeline``. No ``models`` mean the end-to-end one;
    ``calibration`` empty means the inputs that come with the pipeline. Quantisers alone need ``faces``.
    """

    source: Source
    pipeline: Pipeline
    calibration: Sequence[Path]
    models: Sequence[str]
    faces: Path | None


Found = Sequence[Attempt] | Sequence[Quantised]


def converters(subject: Compared, folder: Path, report: Progress) -> Sequence[Attempt]:
    """Compare the converters."""
    pipeline = subject.pipeline
    known = [model.name for model in pipeline.models]
    unknown = sorted(set(subject.models) - set(known))
    if unknown:
        raise ExportError(f"the pipeline has no model {unknown[0]}; it has {', '.join(known)}")
    chosen = subject.models or [model.name for model in pipeline.spec.served]
    models = [component(pipeline, name) for name in chosen]
    return compare_converters(models, subject.source, folder, report)


def quantisers(subject: Compared, folder: Path, report: Progress) -> Sequence[Quantised]:
    """Compare the ways to int8."""
    if subject.faces is None:
        raise ExportError("no held-out inputs to judge by; give a folder with --held-out")
    return compare_quantisers(subject.source, subject.pipeline, subject.faces, folder, report)


def converter_table(attempts: Sequence[Attempt]) -> Table:
    """Draw what the converters made, or why they made nothing."""
    title = "float32 TFLite by converter, each proven against PyTorch"
    table = _table(
        title, "graph", "converter", "", "CPU s", "MB", "TRANSPOSE", "other moves", "not XNNPACK", "ms"
    )
    for one in attempts:
        figures = ["-"] * 6
        if one.model and one.used:
            model = one.model
            counts = (model.transposes, model.moves, len(model.undelegated))
            figures = [
                f"{one.used.seconds:.0f}",
                f"{model.bytes / 1e6:.2f}",
                *map(str, counts),
                f"{model.ms:.1f}",
            ]
        table.add_row(one.graph, one.converter, one.state, *figures)
    return table


def quantiser_table(found: Sequence[Quantised]) -> Table:
    """Draw what the ways to int8 cost."""
    title = "the end-to-end model in int8, score error in points of 100 over held-out faces"
    table = _table(title, "by", "", "faces", "mean", "95 %", "worst", "MB", "ms", "ARM64 M")
    counts = [one.cost.arm64 for one in found if one.cost]
    reasons = dict.fromkeys(f"not counted: {arm64.reason}" for arm64 in counts if arm64.count is None)
    table.caption = "\n".join([ARM64, *reasons])
    for one in found:
        figures = ["-"] * 7
        if one.cost:
            cost = one.cost
            points = (f"{value:.3f}" for value in (cost.mean, cost.p95, cost.worst))
            millions = "-" if cost.arm64.count is None else f"{cost.arm64.count / 1e6:.1f}"
            figures = [str(cost.faces), *points, f"{cost.bytes / 1e6:.2f}", f"{cost.ms:.1f}", millions]
        table.add_row(one.route, one.state, *figures)
    return table


def _table(title: str, *headings: str) -> Table:
    table = Table(title=title)
    for heading in headings:
        table.add_column(heading, justify="left" if heading in ("graph", "converter", "by", "") else "right")
    return table


@dataclass(frozen=True)
class Comparison:
    """One comparison: how it is made, and how it is drawn."""

    make: Callable[[Compared, Path, Progress], Found]
    draw: Callable[[Any], Table]


COMPARISONS: Mapping[str, Comparison] = {
    "converters": Comparison(converters, converter_table),
    QUANTISERS: Comparison(quantisers, quantiser_table),
}


def compare(name: str, subject: Compared, show: Callable[[Comparison, Found], None]) -> None:
    """Make the comparison ``name`` and show it; exit 1 if anything that is installed failed."""
    comparison = COMPARISONS[name]
    with calm(), one_bar(RUNNING) as report, tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        gathered = subject.pipeline.inputs.gather(subject.pipeline, subject.calibration, ())
        save_traces(gathered.calibration.samples, folder / "traces")
        source = as_origin(subject.source).of(gathered.pipeline)
        subject = replace(subject, source=source, pipeline=gathered.pipeline)
        found = comparison.make(subject, folder, report)
    show(comparison, found)
    for one in found:
        if one.reason:
            click.echo(f"mien: {one.state}: {one.reason}", err=True)
    if any(one.state == FAILED for one in found):
        raise click.exceptions.Exit(1)


def show_table(comparison: Comparison, found: Found) -> None:
    """Print a table for people."""
    Console().print(comparison.draw(found))
    click.echo(HOST)


def show_json(comparison: Comparison, found: Found) -> None:
    """Print one JSON array."""
    click.echo(json_text([asdict(one) for one in found], indent=1))
