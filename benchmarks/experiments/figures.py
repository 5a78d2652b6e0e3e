"""The figures of the README: a bundle beside the float pipeline it was made from, in one run.

``python -m mien.benchmarks.experiments.figures BUNDLE`` needs the export extra, for the float pipeline.
"""

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import entry_points
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from mien.benchmarks.pipeline import first_given
from mien.mobile_reference.bundle.reader import Bundle, open_bundle, size_of
from mien.mobile_reference.commands.console import run
from mien.mobile_reference.errors import UsageError
from mien.mobile_reference.front.photograph import read_photograph
from mien.mobile_reference.output.json_text import json_text
from mien.mobile_reference.run.models import timed
from mien.mobile_reference.run.runner import Appraiser, BundleRunner

FLOAT = "PyTorch eager, float"


@dataclass(frozen=True)
class RatingTime:
    """One way to rate a face on this host, on one thread: medians in milliseconds, megabytes of the models.

    It is the full path: ``early_exit`` prints what faces cost that leave early.

    ``face_ms`` is the way from the aligned face to the score, ``photograph_ms`` from the encoded
    photograph. ``speedup`` is the float pipeline's time by that of a variant, from face to score.
    """

    name: str
    face_ms: float
    photograph_ms: float
    speedup: float
    megabytes: float | None


def figures(bundle: Bundle, runs: int) -> Iterator[RatingTime]:
    """Time every variant that runs here, and the float pipeline, by turns: a busy moment meets them all."""
    photograph, inputs = first_given(bundle).photograph, bundle.goldens[0].inputs()
    if photograph is None:
        raise UsageError(f"{bundle.path} has no golden photograph; give the appraisal's bundle")
    (entry,) = entry_points(group="mien.appraisers", name="checkpoint")
    ways: dict[str, Appraiser] = {FLOAT: entry.load()(None, 1)}
    ways |= {v.name: BundleRunner(bundle.in_full(), v.name) for v in bundle.variants if timed(v)}
    face_ms = _by_turns({name: partial(way.rate, inputs) for name, way in ways.items()}, runs)
    photograph_ms = _by_turns(
        {name: partial(_from_file, way, photograph) for name, way in ways.items()}, runs
    )
    for name in ways:
        size = None if name == FLOAT else _megabytes(bundle, name)
        speedup = face_ms[FLOAT] / face_ms[name]
        yield RatingTime(name, face_ms[name], photograph_ms[name], speedup, size)


def _megabytes(bundle: Bundle, variant: str) -> float:
    files = bundle.variant(variant).files
    return sum(size_of(files[model.name]) for model in bundle.spec.served) / 1e6


def _from_file(way: Appraiser, photograph: Path) -> None:
    way.appraise(read_photograph(photograph))


def _by_turns(ways: Mapping[str, Callable[[], object]], runs: int) -> dict[str, float]:
    """Return each way's median time in milliseconds; the first turn warms up and does not count."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for round_ in range(runs + 1):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            if round_:
                times[name].append((time.perf_counter() - start) * 1e3)
    return {name: statistics.median(spent) for name, spent in times.items()}


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--runs", default=30, show_default=True, type=click.IntRange(1))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
def main(bundle: Path, runs: int, as_json: bool) -> None:  # noqa: FBT001 - click passes flags so
    """Compare a bundle's variants with the float pipeline of the shipped checkpoint, on one thread."""
    found = list(figures(open_bundle(bundle), runs))
    if as_json:
        for figure in found:
            click.echo(json_text(asdict(figure)))
        return
    table = Table(title=f"host, one thread, medians of {runs} runs by turns; not a phone")
    for heading in ("", "face to score ms", "photograph to score ms", "speed-up", "end-to-end MB"):
        table.add_column(heading, justify="right" if heading else "left")
    for figure in found:
        size = f"{figure.megabytes:.2f}" if figure.megabytes else ""
        row = (f"{figure.face_ms:.1f}", f"{figure.photograph_ms:.1f}", f"{figure.speedup:.1f}")
        table.add_row(figure.name, *row, size)
    Console().print(table)


if __name__ == "__main__":
    run(main)
