"""What many photographs cost: by step, by their number, and on paper for as many as nobody has here.

``python -m mien.benchmarks.experiments.scale`` prints three tables with the bundle that ships, or another.
Times on a busy machine say nothing but by their ratio; growth with cores is printed by
``mien.benchmarks.experiments.speed``.
"""

import hashlib
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from rich.table import Table

from mien.mobile_reference.bundle.reader import Bundle, face_front, open_bundle
from mien.mobile_reference.bundle.shipped import shipped_bundle
from mien.mobile_reference.commands.console import run
from mien.mobile_reference.contract import StageSpec
from mien.mobile_reference.errors import UsageError
from mien.mobile_reference.front.photograph import open_photograph, read_photograph
from mien.mobile_reference.output.json_text import json_text
from mien.mobile_reference.rating.rows import record_of
from mien.mobile_reference.rating.shards import DIGEST
from mien.mobile_reference.run.models import Arrays
from mien.mobile_reference.run.runner import BundleRunner, Rating

from .speed import SIDES, photographs, taken_by

NOT_AN_IMAGE, NO_FACE = "not an image", "no face"
COUNTS = {NOT_AN_IMAGE: (100, 1_000, 10_000, 100_000), NO_FACE: (100, 1_000, 10_000)}
"""How many rows of a kind: without any model, and with the detector alone, so that it takes minutes."""
PAPER = (10**6, 10**9)
_HOUR, _DAY = 3600, 86_400
_PATH_BYTES = 650
"""Of memory for a path of 40 characters in the process that leads, as tracemalloc counts."""


@dataclass(frozen=True)
class Steps:
    """What one photograph costs in milliseconds of a core by step, and the bytes of its file and its row."""

    side: int
    ms: dict[str, float]
    file_bytes: int
    row_bytes: int

    @property
    def sum_ms(self) -> float:
        """All steps."""
        return sum(self.ms.values())


@dataclass(frozen=True)
class Run:
    """What ``rows`` rows of a kind into shards took: ``memory`` is the bytes of the largest process."""

    kind: str
    rows: int
    wall: float
    cpu: float
    memory: int


class _TimedRunner(BundleRunner):
    """Adds up the processor time of each model."""

    def __init__(self, bundle: Bundle, variant: str | None) -> None:
        super().__init__(bundle, variant)
        self.seconds: defaultdict[str, float] = defaultdict(float)

    def run(self, model: StageSpec, known: Arrays) -> dict[str, NDArray[Any]]:
        """Run one model, and count its time."""
        with _counted(self.seconds, model.name):
            return super().run(model, known)


@contextmanager
def _counted(seconds: defaultdict[str, float], step: str) -> Iterator[None]:
    start = time.process_time()
    yield
    seconds[step] += time.process_time() - start


def steps_of(bundle: Bundle, variant: str | None, file: Path, side: int, rounds: int) -> Steps:
    """Rate a photograph ``rounds`` times in this process, and return what each step took in the mean."""
    runner = _TimedRunner(bundle, variant)
    seconds: defaultdict[str, float] = defaultdict(float)
    runner.appraise(read_photograph(file))  # loads the models
    runner.seconds.clear()
    row = ""
    for _ in range(rounds):
        with _counted(seconds, "read and hash"), open_photograph(file) as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()  # type: ignore[arg-type]
        with _counted(seconds, "decode"):
            pixels = read_photograph(file)
        with _counted(seconds, "align and measure"):
            prepared = runner.prepare(pixels)
        rating = Rating(runner.spec, prepared, runner.rate(prepared.inputs))
        with _counted(seconds, "row"):
            record = record_of(str(file), runner.variant, prepared.findings, rating)
            row = json_text({**record, DIGEST: digest}) + "\n"
    for model in face_front(bundle.spec).models:
        seconds["align and measure"] -= runner.seconds[model.name]
    ms = {name: 1000 * taken / rounds for name, taken in {**seconds, **runner.seconds}.items()}
    return Steps(side, ms, file.stat().st_size, len(row))


def run_of(bundle: Path, kind: str, rows: int, folder: Path) -> Run:
    """Rate one small file so many times, into shards, by a process for each core."""
    picture, names = folder / "small.jpg", folder / "names.txt"
    Image.new("RGB", (64, 64), "grey").save(picture)
    if kind == NOT_AN_IMAGE:
        picture.write_bytes(b"nothing of the kind")
    names.write_text(f"{picture}\n" * rows)
    command = [sys.executable, "-m", "mien", "appraise", "--bundle", str(bundle), "--from", str(names)]
    taken = taken_by([*command, "--shards", str(folder / f"{kind}-{rows}")], expected=UsageError.exit_code)
    return Run(kind, rows, *taken)


def paper_of(photographs: int, steps: Steps) -> dict[str, float]:
    """Return what so many photographs like that of ``steps`` cost, if each costs the same."""
    core_seconds = photographs * steps.sum_ms / 1000
    return {
        "photographs": photographs,
        "core_hours": core_seconds / _HOUR,
        "cores_for_a_day": core_seconds / _DAY,
        "photograph_bytes": photographs * steps.file_bytes,
        "row_bytes": photographs * steps.row_bytes,
        "path_bytes": photographs * _PATH_BYTES,
    }


def _tables(steps: Sequence[Steps], runs: Sequence[Run]) -> Iterator[Table]:
    names = list(steps[0].ms)
    yield _table(
        "one photograph, milliseconds of a core by step",
        ("step", *(f"{one.side} x {one.side}" for one in steps)),
        [(name, *(f"{one.ms[name]:.2f}" for one in steps)) for name in names]
        + [("sum", *(f"{one.sum_ms:.2f}" for one in steps))],
    )
    yield _table(
        "rows into shards, a process for each core",
        ("each is", "rows", "wall s", "CPU s", "CPU ms a row", "largest process MB"),
        [
            (
                one.kind,
                f"{one.rows}",
                f"{one.wall:.1f}",
                f"{one.cpu:.1f}",
                f"{1000 * one.cpu / one.rows:.2f}",
                f"{one.memory / 1e6:.0f}",
            )
            for one in runs
        ],
    )
    papers = [(one.side, paper_of(count, one)) for one in steps for count in PAPER]
    yield _table(
        "on paper",
        ("photographs", "side", "core hours", "cores for a day", "photographs GB", "rows GB", "paths GB"),
        [
            (
                f"{paper['photographs']:.0e}",
                f"{side}",
                f"{paper['core_hours']:.0f}",
                f"{paper['cores_for_a_day']:.1f}",
                *(f"{paper[f'{kind}_bytes'] / 1e9:.1f}" for kind in ("photograph", "row", "path")),
            )
            for side, paper in papers
        ],
    )


def _table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(title=title)
    for name in columns:
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(*row)
    return table


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path), required=False)
@click.option("--variant", help="Variant of the bundle (default: float32, or the first).")
@click.option(
    "--most", default=max(COUNTS[NOT_AN_IMAGE]), show_default=True, type=click.IntRange(1), help="Of rows."
)
@click.option("--rounds", default=20, show_default=True, type=click.IntRange(1))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def main(
    bundle: Path | None,
    variant: str | None,
    most: int,
    rounds: int,
    as_json: bool,  # noqa: FBT001 - click passes flags so
) -> None:
    """Print what photographs cost by step, by their number, and on paper."""
    place = bundle or shipped_bundle()
    opened = open_bundle(place)
    portrait = next((golden.source for golden in opened.goldens if golden.source), None)
    if portrait is None:
        raise UsageError(f"{place} has no golden photograph; give the appraisal's bundle")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = {side: photographs(portrait, side, 1, folder / str(side))[0] for side in SIDES}
        steps = [steps_of(opened, variant, file, side, rounds) for side, file in files.items()]
        runs = [
            run_of(place, kind, count, folder)
            for kind, counts in COUNTS.items()
            for count in counts
            if count <= most
        ]
    if as_json:
        paper = [{"side": one.side, **paper_of(count, one)} for one in steps for count in PAPER]
        measured = {"steps": [asdict(one) for one in steps], "runs": [asdict(one) for one in runs]}
        click.echo(json_text({**measured, "paper": paper}))
        return
    console = Console(width=120)
    for table in _tables(steps, runs):
        console.print(table)


if __name__ == "__main__":
    run(main)
