"""The command ``mien compare OLD NEW``."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import count
from pathlib import Path

import click
from rich.console import Console

from mien.mobile_reference.bundle.reader import Bundle, open_bundle
from mien.mobile_reference.commands.options import FiniteRange, examples
from mien.mobile_reference.errors import ChildError, UsageError
from mien.mobile_reference.output.json_text import json_text
from mien.mobile_reference.output.text import path_text, say, shown
from mien.mobile_reference.report.charts import page_of_charts
from mien.mobile_reference.report.progress import bar_of_parts
from mien.mobile_reference.report.steps import Part
from mien.mobile_reference.run.child import Child, Limits, Tell

from .reporting.bundles_tables import markdown, table
from .reporting.tables import print_changes
from .results.bundles import (
    Shift,
    VariantChange,
    check_alike,
    compare_variant,
    compared_variants,
    inputs_of,
    record,
)
from .results.compare import Change
from .results.compare import compare as compare_reports
from .results.records import read_report

# Not "readable": click would end the call for one photograph of many, before the first row.
_PATH = click.Path(path_type=Path, readable=False)


@click.command(
    epilog=examples("compare old new --max-shift 0.5", "compare old new photo.jpg --threshold 50 --markdown")
)
@click.argument("old", type=_PATH)
@click.argument("new", type=_PATH)
@click.argument("photographs", nargs=-1, type=_PATH, metavar="[PHOTO]...")
@click.option("--variant", "variants", multiple=True, help="Compare this variant only; may be repeated.")
@click.option("--max-shift", type=FiniteRange(min=0), help="Exit 1 beyond it.")
@click.option("--threshold", type=FiniteRange(), help="Count the scores that cross it.")
@click.option("--times", nargs=2, type=_PATH, help="Two reports of 'mien bench -o', of OLD and of NEW.")
@click.option("--page", type=_PATH, help="Also write an HTML page.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--markdown", "as_markdown", is_flag=True, help="Print tables for a pull request.")
def compare(
    old: Path,
    new: Path,
    photographs: tuple[Path, ...],
    variants: tuple[str, ...],
    max_shift: float | None,
    threshold: float | None,
    times: tuple[Path, Path] | None,
    page: Path | None,
    as_json: bool,  # noqa: FBT001 - click passes flags so
    as_markdown: bool,  # noqa: FBT001
) -> None:
    """Compare two bundles: what they say of the same photographs, and what they weigh.

    Without a PHOTO the golden inputs of OLD are put to both. A shift is the difference by the pipeline's
    first gate: for the built-in appraisal, points of score. An input that only one bundle rates is beyond
    every --max-shift. Times are told, and never fail.
    """
    if as_json and as_markdown:
        raise UsageError("--json and --markdown were both given; give one of them")
    file = page_of_charts(page)
    before, after = open_bundle(old), open_bundle(new)
    check_alike(before, after)
    timed = compare_reports(*map(read_report, times)) if times else ()
    names = compared_variants(before, after, variants)
    changes = _compared(before, after, names, photographs)
    lines = [] if max_shift is None else list(_beyond(changes, max_shift))
    if file:
        from .reporting.bundles_page import compare_page

        file.write(compare_page((before, after), changes, threshold, timed, lines))
    if as_json:
        found = {
            "old": path_text(old),
            "new": path_text(new),
            "max_shift": max_shift,
            "threshold": threshold,
            "passed": None if max_shift is None else not lines,
            "variants": list(record(changes, threshold, max_shift)),
            "times": [asdict(change) | {"verdict": change.verdict} for change in timed],
        }
        click.echo(json_text(found, indent=1))
    elif as_markdown:
        click.echo(markdown(changes, threshold, timed, lines), nl=False)
    else:
        _print(changes, threshold, timed)
    for line in lines:
        say(line)
    if lines:
        raise click.exceptions.Exit(1)


def _compared(
    old: Bundle, new: Bundle, names: Sequence[str], photographs: Sequence[Path]
) -> list[VariantChange]:
    """Run both bundles in a process of its own."""
    inputs = inputs_of(old, new, photographs)

    def work(tell: Tell) -> list[VariantChange]:
        done, total = count(1), len(names) * len(inputs)

        def progress(text: str) -> None:
            tell(Part(text, next(done), total))

        return [compare_variant(old, new, name, inputs, progress) for name in names]

    child, last = Child(work, Limits()), Part("nothing")
    with bar_of_parts("comparing") as show:
        try:
            for last in child:
                show(last)
        except ChildError as error:
            raise ChildError(f"{error}, last done: {last.text}; export the damaged bundle again") from error
    return child.result


def _beyond(changes: Sequence[VariantChange], most: float) -> Iterator[str]:
    for change in changes:
        for one in change.beyond(most):
            moved = f"{one.input} moves by {one.shift:.4g}, at most {most:g} is allowed"
            yield f"{change.variant}: {_unlike(one) or moved}"


def _unlike(shift: Shift) -> str:
    """Say why an input has no shift that could be told; nothing where it has."""
    if not shift.problem:
        return ""
    return f"{'only one' if math.isinf(shift.shift) else 'no'} bundle rates {shift.input}: {shift.problem}"


def _print(changes: Sequence[VariantChange], threshold: float | None, times: Sequence[Change]) -> None:
    Console().print(table(changes, threshold))
    for change in changes:
        if change.largest.shift:
            click.echo(f"{change.variant}: {shown(change.largest.input)} moves most")
        for line in filter(None, map(_unlike, change.shifts)):
            click.echo(f"{change.variant}: {shown(line)}")
    if times:
        print_changes(times)
