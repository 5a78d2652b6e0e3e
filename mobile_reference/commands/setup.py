"""The command ``mien setup``."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from mien.mobile_reference.errors import UsageError
from mien.mobile_reference.files import default_cache
from mien.mobile_reference.output.json_text import json_text
from mien.mobile_reference.report.progress import bar_of_parts
from mien.mobile_reference.report.steps import Part
from mien.mobile_reference.setups import Setup, setups

from .options import examples


@click.command(epilog=examples("setup", "setup arm64"))
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option(
    "--cache", type=click.Path(path_type=Path), help="Where it is kept (default: the user's cache folder)."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def setup(
    names: tuple[str, ...],
    cache: Path | None,
    as_json: bool,  # noqa: FBT001 - click passes flags so
) -> None:
    """Fetch or build what NAME needs beside mien, once; without NAME, list what there is.

    What is set up already stays as it is.
    """
    folder = cache or default_cache()
    known = {one.name: one for one in setups()}
    for name in names:
        if name not in known:
            raise UsageError(f"there is no set-up {name!r}; choose from {', '.join(known)}")
    with bar_of_parts("setting up") as show:
        for number, name in enumerate(names, 1):
            begun = f"{number} of {len(names)}: " if len(names) > 1 else ""
            known[name].make(folder, partial(_show, show, begun))
    found = [known[name] for name in names] or list(known.values())
    if as_json:
        click.echo(json_text({"setups": [_row(one, folder) for one in found]}, indent=1))
    else:
        Console().print(_table(found, folder))


def _show(show: Callable[[Part], None], begun: str, text: str) -> None:
    show(Part(f"{begun}{text}"))


def _row(one: Setup, folder: Path) -> dict[str, object]:
    return {"name": one.name, "ready": one.is_ready(folder), "serves": one.serves, "size": one.size}


def _table(found: Sequence[Setup], folder: Path) -> Table:
    table = Table("", "", "needed to", "fetches", box=None, pad_edge=False)
    for one in found:
        state = "ready" if one.is_ready(folder) else f"mien setup {one.name}"
        table.add_row(one.name, state, one.serves, one.size)
    return table
