"""What rating costs: photographs a minute by size and processes, and how cost grows with their number.

``python -m mien.benchmarks.experiments.speed BUNDLE --before CHECKOUT`` runs the commands of this
installation and of another checkout of mien by turns, each with its own environment and bundle (``make demo``
has made both). Times on a busy machine say nothing but by their ratio.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import click
from PIL import Image
from rich.console import Console
from rich.table import Table

from mien.mobile_reference.bundle.reader import Bundle, open_bundle
from mien.mobile_reference.commands.console import run
from mien.mobile_reference.errors import UsageError
from mien.mobile_reference.front.photograph import read_photograph
from mien.mobile_reference.output.json_text import json_text
from mien.mobile_reference.run.threads import usable_cores

from .early_exit import WatchedRunner

NOW, BEFORE = "now", "before"
# 1 and 9 megapixels: a portrait as it is shared, and as a phone takes it.
SIDES = (1000, 3000)


@dataclass(frozen=True)
class Way:
    """A command that rates photographs: what it is called, its program and options, and its bundle."""

    name: str
    command: tuple[str, ...]


@dataclass(frozen=True)
class Cost:
    """What a call took: medians of ``wall`` and ``cpu`` seconds, and the bytes of its largest process."""

    way: str
    photographs: int
    side: int
    wall: float
    cpu: float
    memory: int

    @property
    def per_minute(self) -> float:
        """Photographs a minute, the start included."""
        return 60 * self.photographs / self.wall


def photographs(portrait: Path, side: int, count: int, folder: Path) -> tuple[Path, ...]:
    """Write ``count`` JPEG portraits of ``side`` x ``side`` pixels: one, under names of their own."""
    folder.mkdir(parents=True, exist_ok=True)
    first = folder / "0.jpg"
    picture = Image.open(portrait).convert("RGB").resize((side, side), Image.Resampling.BICUBIC)
    picture.save(first, quality=90)
    files = [first]
    for number in range(1, count):
        files.append(folder / f"{number}.jpg")
        os.link(first, files[-1])
    return tuple(files)


def measure(ways: Sequence[Way], files: Sequence[Path], side: int, rounds: int) -> Iterator[Cost]:
    """Run all ways by turns, so that a busy moment meets them all, and yield what each took."""
    taken: dict[str, list[tuple[float, float, int]]] = {way.name: [] for way in ways}
    for _ in range(rounds):
        for way in ways:
            taken[way.name].append(taken_by([*way.command, *map(str, files)]))
    for way in ways:
        walls, cpus, memories = zip(*taken[way.name], strict=True)
        yield Cost(
            way.name, len(files), side, statistics.median(walls), statistics.median(cpus), max(memories)
        )


def taken_by(command: Sequence[str], expected: int = 0) -> tuple[float, float, int]:
    """Run a command; return seconds of the clock and of processors, and the largest process in bytes.

    Raises:
        UsageError: its exit code is not the ``expected`` one.
    """
    start = time.monotonic()
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=said)  # noqa: S603 - our own
        _, status, usage = os.wait4(process.pid, 0)
        if os.waitstatus_to_exitcode(status) != expected:
            said.seek(0)
            words = said.read().decode(errors="replace").strip()[-300:]
            raise UsageError(f"{' '.join(command[:6])} ... ended with {status}: {words}")
    # Linux counts in kilobytes.
    return time.monotonic() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss << 10


def ways_of(bundle: Path, before: Path | None, variant: str) -> tuple[Way, ...]:
    """Return how this installation rates, by one process and by one for each core, and another checkout."""
    here = (sys.executable, "-m", "mien", "appraise", "--bundle", str(bundle), "--variant", variant, "--json")
    cores = usable_cores()
    found = [
        Way(f"{NOW}, {jobs} process{'es' * (jobs > 1)}", (*here, "--jobs", str(jobs)))
        for jobs in sorted({1, cores})
    ]
    if before is not None:
        program, made = before / ".venv" / "bin" / "mien", before / "build" / "demo" / "bundle"
        if not program.exists() or not made.is_dir():
            raise UsageError(f"{before} has no environment and bundle; run 'make demo' there first")
        found.append(
            Way(BEFORE, (str(program), "appraise", "--bundle", str(made), "--variant", variant, "--json"))
        )
    return tuple(found)


def _table(costs: Sequence[Cost], variant: str, rounds: int) -> Table:
    table = Table(title=f"mien appraise, {variant}: medians of {rounds} rounds by turns; not a phone")
    for heading in ("", "photographs", "side", "s", "CPU s", "CPU ms each", "a minute", "MB"):
        table.add_column(heading, justify="right" if heading else "left")
    for cost in costs:
        table.add_row(
            cost.way,
            str(cost.photographs),
            str(cost.side),
            f"{cost.wall:.2f}",
            f"{cost.cpu:.2f}",
            f"{1000 * cost.cpu / cost.photographs:.1f}",
            f"{cost.per_minute:.0f}",
            f"{cost.memory / 1e6:.0f}",
        )
    return table


def _early_exit_said(bundle: Bundle, variant: str, portrait: Path) -> str:
    """Say whether the portrait takes the full path: its cost is not that of a face that leaves early."""
    runner = WatchedRunner(bundle, variant)
    runner.appraise(read_photograph(portrait))
    return f"the portrait {'leaves early' if runner.left_early else 'takes the full path'}"


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--before", type=click.Path(path_type=Path), help="Another checkout, where 'make demo' was run."
)
@click.option("--variant", default="tflite-fp16", show_default=True)
@click.option("--photographs", "counts", default=(1, 100), show_default=True, multiple=True, type=int)
@click.option(
    "--side", "sides", default=SIDES, show_default=True, multiple=True, type=click.IntRange(64, 10_000)
)
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(1))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
def main(
    bundle: Path,
    before: Path | None,
    variant: str,
    counts: tuple[int, ...],
    sides: tuple[int, ...],
    rounds: int,
    as_json: bool,  # noqa: FBT001 - click passes flags so
) -> None:
    """Time 'mien appraise' on JPEG portraits of 1 and 9 megapixels, and beside another checkout.

    All are one portrait, that of the first golden input; it leaves early where the variant may and its mask
    is empty, and the table says so.
    """
    opened, ways = open_bundle(bundle), ways_of(bundle, before, variant)
    portrait = next((golden.source for golden in opened.goldens if golden.source), None)
    if portrait is None:
        raise UsageError(f"{bundle} has no golden photograph; give the appraisal's bundle")
    with tempfile.TemporaryDirectory() as folder:
        costs = [
            cost
            for side in sides
            for count in counts
            for cost in measure(
                ways, photographs(portrait, side, count, Path(folder) / f"{side}-{count}"), side, rounds
            )
        ]
    if as_json:
        for cost in costs:
            click.echo(json_text(asdict(cost) | {"per_minute": cost.per_minute}))
    else:
        Console().print(_table(costs, variant, rounds))
        click.echo(_early_exit_said(opened, variant, portrait))


if __name__ == "__main__":
    run(main)
