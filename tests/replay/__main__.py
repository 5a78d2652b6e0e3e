"""The command behind ``make replay``; see docs/maintaining/replay.md."""

import sys
from pathlib import Path

import click
from rich.console import Console

from mien.mobile_reference.errors import MienError, UsageError
from mien.mobile_reference.files import default_cache

from . import sides
from .report import as_json, compare_sides, terminal


@click.command()
@click.option("--against", metavar="REV", help="Commit to compare with (default: what landed last).")
@click.option(
    "--portraits",
    type=click.Path(path_type=Path),
    help="Folder of portraits that both sides rate (default: the samples that ship with mien).",
)
@click.option(
    "--cache",
    type=click.Path(path_type=Path),
    help="Where the results of commits are kept (default: replay in the user's cache of mien).",
)
@click.option("--json", "as_json_", is_flag=True, help="Print the findings as one JSON object.")
def replay(against: str | None, portraits: Path | None, cache: Path | None, as_json_: bool) -> None:  # noqa: FBT001 - click passes flags so
    """Export this working tree and a commit; exit 0 if both make the same product, 1 if not, 2 if one fails.

    A commit is exported with its own lock, environment and command lines, and its result is kept by its
    hash.
    """
    rated = sides.Portraits(portraits.absolute()) if portraits else sides.sample_portraits()
    if not rated.photographs:
        raise UsageError(f"{rated.folder} holds no .jpg or .png; give a folder of portraits")
    commit = sides.find_commit(against)
    old = sides.make_commit(commit, rated, (cache or default_cache() / "replay").absolute())
    new = sides.make_own(rated)
    found = compare_sides(old, new)
    report = sides.OWN / "report.json"
    report.write_text(as_json(found) + "\n", encoding="utf-8")
    if as_json_:
        click.echo(as_json(found))
    else:
        Console().print(terminal(found, report.relative_to(sides.ROOT)))
    sys.exit(0 if found.equal else 1)


def main() -> None:
    """Run the command and turn errors into exit codes, as the command line of mien does."""
    try:
        replay.main(prog_name="python -m tests.replay", standalone_mode=False)
    except click.Abort:
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except MienError as error:
        click.echo(f"replay: {error}", err=True)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
