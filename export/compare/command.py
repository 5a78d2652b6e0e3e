"""What ``mien export`` does beside exporting: it compares and sets up, and writes no bundle."""

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from mien.export.graphs import graph_named
from mien.export.running.plan import Progress
from mien.export.tflite.converters import litert_torch
from mien.export.tflite.samples import save_traces
from mien.mobile_reference.report.progress import one_bar
from mien.models.appraisal.calibration_faces import gather
from mien.models.appraisal.checkpoint import load_checkpoint
from mien.models.appraisal.portraits import Portrait

from .converters import FAILED, Attempt, compare_converters
from .quantisers import Quantised, compare_quantisers

ARM64 = "ARM64 M: million instructions of one run on an emulated processor, no time"
HOST = "ms are of one thread of this host, all in turns in one run; a host is no phone"


@dataclass(frozen=True)
class Subject:
    """What is compared: ``graphs`` of a checkpoint, portraits to calibrate by, and held-out ones."""

    checkpoint: Path
    calibration: Sequence[Portrait]
    graphs: Sequence[str]
    faces: Path


Found = Sequence[Attempt] | Sequence[Quantised]


def converters(subject: Subject, folder: Path, report: Progress) -> Sequence[Attempt]:
    """Compare the front ends."""
    graphs = [graph_named(name) for name in subject.graphs]
    return compare_converters(graphs, subject.checkpoint, folder, report)


def quantisers(subject: Subject, folder: Path, report: Progress) -> Sequence[Quantised]:
    """Compare the ways to int8."""
    return compare_quantisers(subject.checkpoint, subject.faces, folder, report)


def converter_table(attempts: Sequence[Attempt]) -> Table:
    """Draw what the front ends made, or why they made nothing."""
    title = "float32 TFLite by front end, each proven against PyTorch"
    table = _table(
        title, "graph", "front end", "", "CPU s", "MB", "TRANSPOSE", "other moves", "not XNNPACK", "ms"
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
        table.add_row(one.graph, one.front_end, one.state, *figures)
    return table


def quantiser_table(found: Sequence[Quantised]) -> Table:
    """Draw what the ways to int8 cost."""
    title = "the one graph in int8, score error in points of 100 over held-out faces"
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
        table.add_column(heading, justify="left" if heading in ("graph", "front end", "by", "") else "right")
    return table


@dataclass(frozen=True)
class Comparison:
    """One comparison: how it is made, and how it is drawn."""

    make: Callable[[Subject, Path, Progress], Found]
    draw: Callable[[Any], Table]


COMPARISONS: Mapping[str, Comparison] = {
    "converters": Comparison(converters, converter_table),
    "quantisers": Comparison(quantisers, quantiser_table),
}


def compare(name: str, subject: Subject, show: Callable[[Comparison, Found], None]) -> None:
    """Make the comparison ``name`` and show it; exit 1 if anything that is installed failed."""
    comparison = COMPARISONS[name]
    with one_bar("running the float pipeline") as report, tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        checkpoint = load_checkpoint(subject.checkpoint)
        faces = gather(subject.calibration, [], checkpoint, partial(report, "looked at portraits"))
        save_traces(faces.traces, folder / "traces")
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
    click.echo(json.dumps([asdict(one) for one in found], indent=1))


def set_up() -> None:
    """Make the environment of litert-torch."""
    with one_bar("setting up") as report:
        folder = litert_torch.set_up(lambda step: report(step, 0, 1))
    click.echo(f"{litert_torch.NAME}: {folder}")
