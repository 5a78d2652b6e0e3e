"""Options that several commands have in common."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from mien.mobile_reference.errors import UsageError


class FiniteRange(click.FloatRange):
    """A real number of a range. Click's own takes NaN, which lies in no range and would limit nothing."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the number, or say why it is none."""
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number.", param, ctx)
        return number


def renamed(name: str) -> Callable[[click.Context, click.Parameter, Path | None], None]:
    """Return the callback of an option of before, which refuses it with its ``name`` of now."""

    def refuse(_: click.Context, option: click.Parameter, given: Path | None) -> None:
        if given:
            raise UsageError(f"{option.opts[0]} is called {name}; give {name} {given}")

    return refuse


def examples(*lines: str) -> str:
    """Return the end of a command's help: lines that can be typed as they stand."""
    return "\b\nExamples:\n" + "\n".join(f"  mien {line}" for line in lines)
