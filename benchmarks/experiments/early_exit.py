"""What an early exit saves: the share of faces that leave early, and what faces cost with it and without.

``python -m mien.benchmarks.experiments.early_exit BUNDLE --faces studio=FOLDER --faces everyday=LIST.txt``
rates every photograph both ways by turns, in processor time on one thread, and compares all outputs: it ends
with 1 where a bit is another.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import click
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from mien.mobile_reference.bundle.reader import Bundle, open_bundle
from mien.mobile_reference.commands.console import run
from mien.mobile_reference.contract import StageSpec
from mien.mobile_reference.errors import MienError, UsageError
from mien.mobile_reference.files import listed_paths
from mien.mobile_reference.front.photograph import read_photograph
from mien.mobile_reference.output.json_text import json_text
from mien.mobile_reference.run.models import Arrays
from mien.mobile_reference.run.runner import BundleRunner

LIST = ".txt"


@dataclass(frozen=True)
class Saving:
    """What a variant costs over a set of faces, from the aligned face to the score.

    Means of processor time in milliseconds: of ``full_ms`` every face on the full path, of ``left_ms`` and
    ``stayed_ms`` those that left early and the others, of ``mean_ms`` all with the early exit; none where
    there was no such face. ``refused`` photographs were not rated. ``differing`` faces had another bit.
    """

    faces: str
    variant: str
    rated: int
    refused: int
    left: int
    full_ms: float
    left_ms: float | None
    stayed_ms: float | None
    mean_ms: float
    differing: int


class WatchedRunner(BundleRunner):
    """Knows which models the last rating ran."""

    def __init__(self, bundle: Bundle, variant: str) -> None:
        super().__init__(bundle, variant)
        self.ran: set[str] = set()

    def run(self, model: StageSpec, known: Arrays) -> dict[str, NDArray[Any]]:
        """Note the model, and run it."""
        self.ran.add(model.name)
        return super().run(model, known)

    def rate(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        """Forget the models of the last rating, and rate."""
        self.ran = set()
        return super().rate(inputs)

    @property
    def left_early(self) -> bool:
        """Tell whether less was run than the full path has."""
        return not {model.name for model in self.spec.served} <= self.ran


def photographs(place: Path) -> list[Path]:
    """List the files of a folder, or those that a ``.txt`` file names, one a line.

    Raises:
        UsageError: there is none.
    """
    if place.suffix == LIST:
        return [Path(one) for one in listed_paths(place)]
    found = sorted(file for file in place.rglob("*") if file.is_file())
    if not found:
        raise UsageError(f"{place} has no photographs; give a folder of some, or a .txt file of their paths")
    return found


def saving(bundle: Bundle, variant: str, name: str, files: list[Path]) -> Saving:
    """Rate photographs with and without the early exit.

    Raises:
        UsageError: none of them can be rated.
    """
    early, full = WatchedRunner(bundle, variant), BundleRunner(bundle.in_full(), variant)
    spent: list[tuple[float, float, bool]] = []
    refused = differing = 0
    for file in files:
        try:
            prepared = early.prepare(read_photograph(file))
            prepared.check()
        except MienError:
            refused += 1
            continue
        if not spent:
            _warm_up((full, early), prepared.inputs)
        whole, whole_ms = _timed(partial(full.rate, prepared.inputs))
        some, some_ms = _timed(partial(early.rate, prepared.inputs))
        spent.append((whole_ms, some_ms, early.left_early))
        differing += any(whole[tensor].tobytes() != some[tensor].tobytes() for tensor in whole)
    if not spent:
        raise UsageError(f"none of the {len(files)} photographs of {name} can be rated")
    left = [some for _, some, gone in spent if gone]
    stayed = [some for _, some, gone in spent if not gone]
    return Saving(
        faces=name,
        variant=variant,
        rated=len(spent),
        refused=refused,
        left=len(left),
        full_ms=statistics.fmean(whole for whole, _, _ in spent),
        left_ms=statistics.fmean(left) if left else None,
        stayed_ms=statistics.fmean(stayed) if stayed else None,
        mean_ms=statistics.fmean(some for _, some, _ in spent),
        differing=differing,
    )


def _warm_up(runners: Sequence[BundleRunner], inputs: Arrays) -> None:
    """Load every model and run it once: the first run costs more."""
    for runner in runners:
        runner.finish(runner.rating_models, runner.finish(runner.spec.stages, inputs))


def _timed[T](step: Callable[[], T]) -> tuple[T, float]:
    start = time.process_time()
    made = step()
    return made, (time.process_time() - start) * 1e3


def _table(savings: Sequence[Saving]) -> Table:
    table = Table(title="from the aligned face to the score, CPU ms on one thread of this host; not a phone")
    for heading in (
        "faces",
        "variant",
        "rated",
        "left early",
        "full path",
        "left",
        "stayed",
        "mean",
        "saved",
    ):
        table.add_column(heading, justify="left" if heading in ("faces", "variant") else "right")
    for one in savings:
        times = (one.full_ms, one.left_ms, one.stayed_ms, one.mean_ms)
        table.add_row(
            one.faces,
            one.variant,
            str(one.rated),
            f"{one.left / one.rated:.0%}",
            *("" if spent is None else f"{spent:.1f}" for spent in times),
            f"{1 - one.mean_ms / one.full_ms:.0%}",
        )
    return table


def _sets(context: click.Context, parameter: click.Parameter, given: Sequence[str]) -> dict[str, Path]:
    """Read ``NAME=PLACE``."""
    parts = [one.partition("=") for one in given]
    if odd := next((one for one, (_, _, place) in zip(given, parts, strict=True) if not place), None):
        raise click.BadParameter(f"{odd} is not NAME=FOLDER or NAME=FILE.txt")
    return {name: Path(place) for name, _, place in parts}


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--faces", "sets", multiple=True, required=True, callback=_sets, metavar="NAME=PLACE", help="Photographs."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
def main(bundle: Path, sets: dict[str, Path], as_json: bool) -> None:  # noqa: FBT001 - click passes flags so
    """Rate photographs with and without the early exit of every variant of BUNDLE that has one."""
    opened = open_bundle(bundle)
    variants = [variant.name for variant in opened.variants if variant.early_exit]
    if not variants:
        raise UsageError(f"no variant of {bundle} leaves early; its manifest has early_exit of none")
    savings = [
        saving(opened, variant, name, photographs(place))
        for name, place in sets.items()
        for variant in variants
    ]
    if as_json:
        for one in savings:
            click.echo(json_text(asdict(one)))
    else:
        Console().print(_table(savings))
    differing = sum(one.differing for one in savings)
    if differing:
        click.echo(f"{differing} ratings differ from those of the full path", err=True)
        raise click.exceptions.Exit(1)


if __name__ == "__main__":
    run(main)
