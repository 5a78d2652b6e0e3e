"""What the charts of a page show; ``drawing`` draws them."""

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mien.mobile_reference.output.file import OutputFile

_LONGEST = 46


@dataclass(frozen=True)
class Waterfall:
    """How a sum builds up: ``values`` are the sums after each step, in ``unit``; the first begins at 0."""

    title: str
    values: Mapping[str, float]
    unit: str = ""


@dataclass(frozen=True)
class Dots:
    """Values in their order, a colour for each group, between lines at some of them.

    ``guides`` are labels and where their lines stand: one that would touch another before it is left out.
    ``span`` is how far the axis goes at least. ``spread`` also draws how often each value is.
    """

    title: str
    values: Sequence[float]
    groups: Sequence[int]
    guides: Sequence[tuple[str, float]]
    span: float = 0.0
    spread: bool = True


@dataclass(frozen=True)
class Scatter:
    """Named points (x, y) in a square of 0..100 by -100..100, with lines across at some values of y.

    ``axes`` say what x and y are.
    """

    title: str
    points: Sequence[tuple[str, float, float]]
    guides: Sequence[tuple[str, float]]
    axes: tuple[str, str]


@dataclass(frozen=True)
class Node:
    """A box of a graph: its title, the tensors that it makes, and the boxes that it reads from."""

    title: str
    makes: Sequence[str]
    reads: Sequence[int]
    dashed: bool = False


@dataclass(frozen=True)
class Graph:
    """Boxes one below the other, each reading from boxes above it."""

    title: str
    nodes: Sequence[Node]


Chart = Waterfall | Dots | Scatter | Graph


def cut(text: str, longest: int = _LONGEST) -> str:
    """Shorten a name that would leave its box."""
    return text if len(text) <= longest else text[: longest - 1] + "…"


def page_of_charts(path: Path | None) -> OutputFile | None:
    """Find out, before minutes are spent on it, whether a page with charts can be drawn and written.

    Raises:
        ModuleNotFoundError: the extra ``page`` is not installed.
        UsageError: the path leads nowhere that can be written; see ``OutputFile.at``.
    """
    if path is None:
        return None
    importlib.import_module(".drawing", __package__)
    return OutputFile.at(path)
