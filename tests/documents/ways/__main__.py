"""``python -m tests.documents.ways export`` prints a checkpoint's way, ``appraise PHOTO`` a photograph's."""

import tempfile
from pathlib import Path

import click

from .way import STARTS, read_way, trace


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("command", type=click.Choice(list(STARTS)))
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def main(command: str, arguments: tuple[str, ...]) -> None:
    """Run a COMMAND of mien into a folder that goes, and print the way; ARGUMENTS are its own but for -o."""
    with tempfile.TemporaryDirectory() as name:
        output = ["-o", str(Path(name) / "made")]
        way = read_way(trace(command, [*arguments, *output], Path(name)), STARTS[command][1])
    for number, (module, tools) in enumerate(way.stops.items(), 1):
        click.echo(f"{number}. {module}" + (f", which asks {', '.join(tools)}" if tools else ""))
    climbs = ", ".join(f"{one} -> {other}" for one, other in way.climbs)
    click.echo(f"{len(way.stops)} modules, {len(way.climbs)} climbs: {climbs}")


if __name__ == "__main__":
    main()
