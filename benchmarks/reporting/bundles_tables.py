"""A comparison of two bundles, for a terminal and as Markdown for a pull request."""

import math
from collections.abc import Iterable, Iterator, Sequence
from html import escape

from rich.box import SIMPLE
from rich.table import Table
from rich.text import Text

from mien.benchmarks.results.bundles import VariantChange
from mien.benchmarks.results.compare import MS, Change
from mien.mobile_reference.output.text import shown

HEADINGS = ("variant", "inputs", "mean shift", "largest", "crossings", "MB old", "MB new")
TIME_HEADINGS = ("variant", "what", "old", "new", "ratio", "verdict")
_LEFT = ("variant", "what", "old", "new", "verdict")


def cells(change: VariantChange, threshold: float | None) -> tuple[str, ...]:
    """Return a variant's row under ``HEADINGS``; a dash where nothing was asked."""
    mean = math.fsum(one.shift for one in change.judged) / len(change.judged)
    return (
        change.variant,
        str(len(change.judged)),
        _points(mean),
        _points(change.largest.shift),
        "-" if threshold is None else str(len(change.crossing(threshold))),
        f"{change.old_bytes / 1e6:.2f}",
        f"{change.new_bytes / 1e6:.2f}",
    )


def _points(shift: float) -> str:
    return f"{shift:.3f}" if math.isfinite(shift) else "one only"


def table(changes: Iterable[VariantChange], threshold: float | None) -> Table:
    """Lay a comparison out for a terminal."""
    made = Table(title="new against old, on the same inputs", box=SIMPLE, padding=(0, 1, 0, 0))
    for heading in HEADINGS:
        made.add_column(heading, justify="left" if heading in _LEFT else "right", no_wrap=True)
    for change in changes:
        made.add_row(*map(Text, cells(change, threshold)))
    return made


def markdown(
    changes: Sequence[VariantChange], threshold: float | None, times: Sequence[Change], lines: Sequence[str]
) -> str:
    """Lay a comparison out as Markdown: the variants, the times if there are some, and ``lines``."""
    parts = [_rows(HEADINGS, (cells(change, threshold) for change in changes))]
    if times:
        parts.append(_rows(TIME_HEADINGS, map(time_cells, times)))
    if lines:
        parts.append("\n".join(f"- {_text(line)}" for line in lines))
    return "\n\n".join(parts) + "\n"


def _rows(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    marks = ["---" if heading in _LEFT else "--:" for heading in headings]
    return "\n".join(_lines(headings, marks, rows))


def _lines(headings: Sequence[str], marks: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    for row in (headings, marks, *([_text(cell) for cell in row] for row in rows)):
        yield f"| {' | '.join(row)} |"


def _text(cell: str) -> str:
    r"""Return text that is neither HTML nor Markdown; names of files may hold anything."""
    return "".join(f"\\{c}" if c in r"\`*_[]|~" else c for c in escape(shown(cell), quote=False))


def time_cells(change: Change) -> tuple[str, ...]:
    """Return a row under ``TIME_HEADINGS``."""
    form = "{:.2f} ms" if change.unit == MS else "{:,.0f} instructions"
    old, new = form.format(change.before), form.format(change.after)
    return change.variant, change.what, old, new, f"{change.ratio.estimate:.3f}", change.verdict
