"""The command behind ``make mutants``; see docs/maintaining/mutants.md."""

import json
import sys
from functools import partial
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from tests.layers import LAYERS

from .campaign import Result, measure_coverage, place, report, run, sample
from .scratch import Scratch, ScratchError
from .sources import SOURCES, room_of

ROOT = Path(__file__).parent.parent.parent
FOLDER = ROOT / "build" / "mutants"


@click.command()
@click.option("--seed", default=1, show_default=True, help="Which sample is drawn.")
@click.option("--count", default=300, show_default=True, type=click.IntRange(min=1), help="How many mutants.")
@click.option(
    "--room", "rooms", multiple=True, type=click.Choice(list(SOURCES)), help="Only these (default: all)."
)
@click.option(
    "--layer",
    "layers",
    multiple=True,
    default=("unit",),
    show_default=True,
    type=click.Choice(list(LAYERS)),
    help="The layers of tests that are run.",
)
@click.option(
    "--tests",
    "paths",
    multiple=True,
    metavar="PATH",
    help="Only tests below these paths (default: all of the layers).",
)
@click.option("--json", "output", type=click.Path(path_type=Path), help="Also write the report to this file.")
def mutants(
    seed: int,
    count: int,
    rooms: tuple[str, ...],
    layers: tuple[str, ...],
    paths: tuple[str, ...],
    output: Path | None,
) -> None:
    """Put small faults into a copy of the product, one at a time, and count those that its tests notice.

    Results are kept in build/mutants: a run that was ended goes on where it was.
    """
    scratch = Scratch(ROOT, FOLDER)
    drawn = sample(scratch.tree, rooms, seed, count)
    coverage = measure_coverage(scratch, layers, paths, FOLDER)
    results = list(run(drawn, scratch, coverage, FOLDER / "results", partial(click.echo, err=True)))
    record = report(
        results,
        partial(room_of, scratch.tree),
        seed=seed,
        count=count,
        rooms_drawn=rooms or list(SOURCES),
        layers=layers,
        tests=paths or ["tests"],
    )
    (output or FOLDER / "report.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    _print(record, results)


def _print(record: dict[str, object], results: list[Result]) -> None:
    console = Console()
    for result in results:
        if result.status == "survived":
            old, new = (" ".join(text.split())[:60] for text in (result.mutant.old, result.mutant.new))
            console.print(
                f"survived {place(result.mutant)} {old} -> {new}",
                markup=False,
                highlight=False,
                soft_wrap=True,
            )
    table = Table("room", "mutants", "killed", "timed out", "survived", "rate")
    rooms: dict[str, dict[str, float]] = record["rooms"]  # type: ignore[assignment]
    for name, counts in (*rooms.items(), ("all", record["all"])):
        table.add_row(name, *map(str, counts.values()))  # type: ignore[union-attr, attr-defined]
    console.print(table)


def main() -> None:
    """Run the command; exit 2 where no result can be had, 130 if interrupted."""
    try:
        mutants.main(prog_name="python -m tests.mutants", standalone_mode=False)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except ScratchError as error:
        click.echo(f"mutants: {error}", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
