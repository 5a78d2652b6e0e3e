"""A comparison of two bundles, as a page."""

import math
from collections.abc import Iterator, Sequence

from mien.benchmarks.results.bundles import VariantChange
from mien.benchmarks.results.compare import Change
from mien.mobile_reference.bundle.reader import Bundle
from mien.mobile_reference.report.charts import Dots
from mien.mobile_reference.report.page import Block, Page, Section, Table, Text, write_page

from .bundles_tables import HEADINGS, TIME_HEADINGS, cells, time_cells

_INPUTS = ("input", "old", "new", "shift", "problem")


def compare_page(
    bundles: tuple[Bundle, Bundle],
    changes: Sequence[VariantChange],
    threshold: float | None,
    times: Sequence[Change],
    beyond: Sequence[str],
) -> str:
    """Make the page: what is ``beyond`` the limit, the variants, their inputs, and times of reports."""
    old, new = bundles
    lead = [Text(f"old: {old.path}, new: {new.path}"), *(Text(line, "note") for line in beyond)]
    rows = [cells(change, threshold) for change in changes]
    sections = [
        Section("Variants", [Table("new against old, on the same inputs", HEADINGS, rows)]),
        *(Section(change.variant, list(_inputs(change))) for change in changes),
    ]
    if times:
        shown = Table("of two reports", TIME_HEADINGS, list(map(time_cells, times)))
        sections.append(Section("Times", [shown]))
    return write_page(Page("mien compare", f"{old.name} and {new.name}", lead, sections))


def _inputs(change: VariantChange) -> Iterator[Block]:
    shifts = [one.shift for one in change.judged if math.isfinite(one.shift)]
    if shifts and not any(shifts):
        yield Text("no input has shifted")
    elif shifts:
        guides = [(f"{value:.3g}", value) for value in sorted({min(shifts), max(shifts)})]
        caption = "the shift of every input, in their order; to the right how often each is"
        yield Dots(caption, shifts, [0] * len(shifts), guides)
    rows = [
        (one.input, _number(one.old), _number(one.new), _number(one.shift), one.problem or "")
        for one in change.shifts
    ]
    yield Table(f"inputs of {change.variant}", _INPUTS, rows)


def _number(value: float | None) -> str:
    return "-" if value is None or not math.isfinite(value) else f"{value:.4f}"
