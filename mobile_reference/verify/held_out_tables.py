"""Figures over held-out inputs laid out for a terminal of 80 columns."""

import math
from collections.abc import Iterable, Mapping, Sequence

from rich.box import SIMPLE
from rich.console import Group
from rich.table import Table

from .limits import JudgedFigure
from .stages import PAIR


def figure_tables(found: Sequence[JudgedFigure], faces: int) -> Group:
    """Lay the variants of each platform side by side, and every pair of platforms on a row."""
    alone = [figure for figure in found if PAIR not in figure.variant]
    pairs = [figure for figure in found if PAIR in figure.variant]
    tables = [
        _variants(f"{platform} over {faces} held-out inputs", platform, alone)
        for platform in dict.fromkeys(figure.variant.partition("-")[0] for figure in alone)
    ]
    if pairs:
        tables.append(_pairs(pairs))
    failed = any(figure.passed is False for figure in found)
    return Group(*tables, *(["* fails its limit"] if failed else []))


def _table(title: str) -> Table:
    return Table(title=title, title_justify="left", box=SIMPLE, padding=(0, 1, 0, 0))


def _variants(title: str, platform: str, found: Sequence[JudgedFigure]) -> Table:
    """A figure on a row and below it its limits, a variant in a column."""
    names = [name for name in dict.fromkeys(f.variant for f in found) if name.startswith(f"{platform}-")]
    table = _table(title)
    table.add_column("")
    for name in names:
        table.add_column(name.removeprefix(f"{platform}-"), justify="right", no_wrap=True)
    for row, cells in _grid((f.name, f.variant, f) for f in found).items():
        if cells.keys() & set(names):
            table.add_row(row, *(_value(cells.get(name)) for name in names))
            limits = [_limit(cells.get(name)) for name in names]
            if any(limits):
                table.add_row("  limit", *limits, style="dim")
    return table


def _pairs(found: Sequence[JudgedFigure]) -> Table:
    """A pair on a row, a figure in a column."""
    limits = dict.fromkeys(f"{f.name}: {f.limit:g}" for f in found if f.limit is not None)
    table = _table("TFLite and Core ML beside each other" + "".join(f"; limit of {text}" for text in limits))
    table.add_column("", no_wrap=True)
    names = list(dict.fromkeys(figure.name for figure in found))
    for name in names:
        table.add_column(name.replace("correlation", "corr."), justify="right")
    for pair, cells in _grid((f.variant, f.name, f) for f in found).items():
        table.add_row(pair.replace(PAIR, "\n"), *(_value(cells.get(name)) for name in names))
    return table


def _grid(found: Iterable[tuple[str, str, JudgedFigure]]) -> Mapping[str, Mapping[str, JudgedFigure]]:
    """Sort figures, each with its row and its column, into rows."""
    rows: dict[str, dict[str, JudgedFigure]] = {}
    for row, column, figure in found:
        rows.setdefault(row, {})[column] = figure
    return rows


def _value(figure: JudgedFigure | None) -> str:
    if figure is None or math.isnan(figure.value):
        return "-"
    # Tenths of a decibel and whole pixels say enough; points and shares need four places.
    places = 4 if abs(figure.value) < 10 else 1
    # Adding 0 makes a plain 0 of -0.
    text = f"{round(figure.value, places) + 0:.{places}f}".rstrip("0").rstrip(".")
    return text if figure.passed is not False else f"{text} *"


def _limit(figure: JudgedFigure | None) -> str:
    return "" if figure is None or figure.limit is None else f"{figure.limit:g}"
