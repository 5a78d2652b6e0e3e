"""Options that several commands have in common."""

from collections.abc import Callable
from pathlib import Path

import click

from mien.mobile_reference.errors import UsageError


def renamed(name: str) -> Callable[[click.Context, click.Parameter, Path | None], None]:
    """Return the callback of an option of before, which refuses it with its ``name`` of now."""

    def refuse(_: click.Context, option: click.Parameter, given: Path | None) -> None:
        if given:
            raise UsageError(f"{option.opts[0]} is called {name}; give {name} {given}")

    return refuse


def examples(*lines: str) -> str:
    """Return the end of a command's help: lines that can be typed as they stand."""
    return "\b\nExamples:\n" + "\n".join(f"  mien {line}" for line in lines)
