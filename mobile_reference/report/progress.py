"""Progress of long work on standard error: bars on a terminal, and in a log a line now and then."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Column
from rich.text import Text

from .steps import Part

Report = Callable[[str, int, int, str], None]
"""Told the step's name, how much of how much is done, and a remark such as the loss."""
SECONDS_PER_LINE = 30.0
"""A log of hours stays readable, and whoever looks into it sees within half a minute that work goes on."""


class _CountColumn(MofNCompleteColumn):
    """How many parts are done, and of how many; nothing where nobody counts them."""

    def render(self, task: Task) -> Text:
        return Text() if task.total is None else super().render(task)


class _ClockColumn(TimeRemainingColumn):
    """How much time is left, or where nobody counts parts, how much has passed."""

    def render(self, task: Task) -> Text:
        if task.total is None:
            return Text(str(timedelta(seconds=int(task.elapsed or 0))))
        return Text.assemble(super().render(task), " left")


class _RateColumn(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(rate(task.finished_speed or task.speed))


def rate(speed: float | None) -> str:
    """Say how many steps a second does, or how long one takes that takes more; nothing if unknown."""
    if not speed:
        return ""
    return f"{speed:.1f}/s" if speed >= 1 else f"{1 / speed:.0f} s each"


@contextmanager
def bar_per_step() -> Iterator[Report]:
    """Show one bar for each step that is told of."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield log_lines()
        return
    columns = (
        TextColumn("{task.description:<24}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[remark]}"),
        _RateColumn(),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    with Progress(*columns, console=console) as bar:
        rows = {}

        def report(step: str, done: int, total: int, remark: str) -> None:
            if step not in rows:
                rows[step] = bar.add_task(step, remark=remark)
            bar.update(rows[step], completed=done, total=total, remark=remark)

        yield report


@contextmanager
def bar_of_parts(what: str) -> Iterator[Callable[[Part], None]]:
    """Show on a terminal what is under way, for how long, and where it is counted how much remains.

    In a log there is nothing.
    """
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis")),
        BarColumn(20),
        _CountColumn(),
        _RateColumn(),
        _ClockColumn(),
    )
    console = Console(stderr=True)
    with Progress(
        *columns, console=console, expand=True, transient=True, disable=not console.is_terminal
    ) as bar:
        row = bar.add_task(what, total=None)

        def show(part: Part) -> None:
            nonlocal row
            if part.total != bar.tasks[0].total:
                bar.remove_task(row)  # no count of parts would be given up otherwise
                row = bar.add_task(what, total=part.total)
            bar.update(row, description=f"{what} {part.text}", completed=part.done, refresh=True)

        yield show


@contextmanager
def one_bar(first: str) -> Iterator[Callable[[str, int, int], None]]:
    """Show one bar for all steps, titled by the last one that was told of, at the start by ``first``."""
    console = Console(stderr=True)
    if not console.is_terminal:
        line = log_lines()
        line(first, 0, 1, "")
        yield lambda title, done, total: line(title, done, total, "")
        return
    columns = (
        TextColumn("{task.description:<40}"),
        BarColumn(),
        MofNCompleteColumn(),
        _RateColumn(),
        TimeElapsedColumn(),
        TextColumn("remaining"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bar:
        row = bar.add_task(first, total=None)
        yield lambda title, done, total: bar.update(row, description=title, completed=done, total=total)


def log_lines(clock: Callable[[], float] = time.monotonic) -> Report:
    """Return what prints a line when a step is complete, and otherwise at most every ``SECONDS_PER_LINE``."""
    start, last = clock(), -math.inf

    def report(step: str, done: int, total: int, remark: str) -> None:
        nonlocal last
        now = clock()
        if done < total and now - last < SECONDS_PER_LINE:
            return
        last = now
        since = timedelta(seconds=int(now - start))
        click.echo(f"{since} {step} {done}/{total} {remark}".rstrip(), err=True)

    return report
