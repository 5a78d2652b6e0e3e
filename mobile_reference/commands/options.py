"""Options that several commands have in common."""

import math
from collections.abc import Callable, Mapping, Sequence
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


class SectionedCommand(click.Command):
    """A command whose help has its options under several headings, so that one finds what belongs together.

    ``sections`` has the options of each heading as they are typed, without dashes, in the order in which they
    are shown. The others come first, under "Options".
    """

    def __init__(self, *args: Any, sections: Mapping[str, Sequence[str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.sections = sections

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write every option once."""
        options = [p for p in self.get_params(ctx) if isinstance(p, click.Option)]
        records = {option.opts[-1].lstrip("-"): option.get_help_record(ctx) for option in options}
        grouped = {name for names in self.sections.values() for name in names}
        first = [name for name in records if name not in grouped]
        for heading, names in {"Options": first, **self.sections}.items():
            rows = [row for name in names if (row := records[name])]
            with formatter.section(heading):
                formatter.write_dl(rows)


def renamed(name: str) -> Callable[[click.Context, click.Parameter, Path | None], None]:
    """Return the callback of an option of before, which refuses it with its ``name`` of now."""

    def refuse(_: click.Context, option: click.Parameter, given: Path | None) -> None:
        if given:
            raise UsageError(f"{option.opts[0]} is called {name}; give {name} {given}")

    return refuse


def examples(*lines: str) -> str:
    """Return the end of a command's help: lines that can be typed as they stand."""
    return "\b\nExamples:\n" + "\n".join(f"  mien {line}" for line in lines)
