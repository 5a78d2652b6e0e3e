"""Figures of a page, drawn by matplotlib as SVG that stands inside it; the extra ``page`` brings it.

A unit of a drawing is a pixel of the page. Its colours are the page's, which is light, dark or printed.
"""

import warnings
from collections.abc import Sequence
from functools import singledispatch
from io import StringIO
from typing import Any
from xml.etree import ElementTree

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.ticker import MaxNLocator

from mien.mobile_reference.output.text import shown

from .charts import Chart, Dots, Graph, Scatter, Waterfall, cut

_WIDTH, _ROW, _AXIS, _PLOT, _SQUARE = 640, 24, 32, 180, 460
_BOX, _LINE, _SPACE, _PAD = 500, 16, 26, 8
_BANDS, _TEXT, _LABEL = 20, 12, 22
_SVG, _LINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}href"
_INK, _QUIET, _RULE, _SOFT = "#1d2229", "#59616c", "#d6dae0", "#f2f4f7"
_COLOURS = ("#2f6fa8", "#c2711a", "#3f7f35", "#8a5a86", "#7a5b49")
_OF_THE_PAGE = {_INK: "var(--ink)", _QUIET: "var(--quiet)", _RULE: "var(--line)", _SOFT: "var(--soft)"} | {
    colour: f"var(--c{place})" for place, colour in enumerate(_COLOURS)
}
_SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.size": _TEXT,
    "text.color": _INK,
    "axes.edgecolor": _QUIET,
    "axes.labelcolor": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.formatter.useoffset": False,
    **{f"{side}tick.color": _QUIET for side in "xy"},
    **{f"{side}tick.labelcolor": _INK for side in "xy"},
}


def draw(chart: Chart) -> Markup:
    """Return a chart as an ``svg`` element, whose label is its title."""
    with mpl.rc_context(), warnings.catch_warnings():
        mpl.rcdefaults()  # whatever matplotlibrc the user has
        mpl.rcParams.update(_SETTINGS | {"svg.hashsalt": repr(chart)})
        # matplotlib measures by a font that a browser need not have, and that lacks most scripts.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        file = StringIO()
        _drawn(chart).savefig(file, format="svg", transparent=True)
    root = ElementTree.fromstring(file.getvalue())  # noqa: S314 - matplotlib's own, with foreign text escaped
    if isinstance(chart, Scatter):
        _name_points(root, [name for name, _, _ in chart.points])
    return _inside_a_page(root, shown(chart.title))


@singledispatch
def _drawn(chart: Chart) -> Figure:
    raise TypeError(f"no drawing of {type(chart).__name__}")


@_drawn.register
def _waterfall(chart: Waterfall) -> Figure:
    figure = _sheet(_ROW * len(chart.values) + _AXIS)
    axes = figure.subplots()
    after = list(chart.values.values())
    before = [0.0, *after][: len(after)]
    steps = [late - early for early, late in zip(before, after, strict=True)]
    colours = [_COLOURS[1] if step >= 0 else _COLOURS[2] for step in steps]
    rows = range(len(steps))
    axes.axvline(0, color=_RULE)
    axes.barh(rows, steps, 0.66, left=before, color=colours)
    axes.set_yticks(rows, [cut(shown(name), _LABEL) for name in chart.values])
    axes.invert_yaxis()
    unit = f" {chart.unit}" if chart.unit else ""
    for row, step, total in zip(rows, steps, after, strict=True):
        text = f"{step:+.3g}, sum {total:.3g}{unit}"
        axes.text(1.02, row, text, va="center", transform=axes.get_yaxis_transform())
    return figure


@_drawn.register
def _dots(chart: Dots) -> Figure:
    figure = _sheet(_PLOT)
    low = min(chart.values)
    high = max(*chart.values, low + max(chart.span, 1e-9))
    axes, aside = figure.subplots(1, 2, sharey=True, width_ratios=(6, 1))
    axes.scatter(
        range(1, len(chart.values) + 1),
        chart.values,
        s=20,
        linewidth=0,
        c=[_COLOURS[group % len(_COLOURS)] for group in chart.groups],
    )
    _guide(axes, chart.guides, (high - low) * _TEXT / (_PLOT - _AXIS))
    axes.set_ylim(low - 0.05 * (high - low), high + 0.05 * (high - low))
    axes.set_xlim(0, len(chart.values) + 1)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if chart.spread:
        aside.hist(
            chart.values, _BANDS, range=(low, high), orientation="horizontal", color=_QUIET, rwidth=0.8
        )
    aside.set_axis_off()
    return figure


@_drawn.register
def _scatter(chart: Scatter) -> Figure:
    figure = _sheet(_SQUARE)
    axes = figure.subplots()
    axes.scatter([x for _, x, _ in chart.points], [y for _, _, y in chart.points], s=28, c=_COLOURS[0])
    axes.set(xlim=(0, 100), ylim=(-100, 100), xlabel=shown(chart.axes[0]), ylabel=shown(chart.axes[1]))
    levels = [value for _, value in chart.guides]
    for level in levels:
        axes.axhline(level, color=_QUIET, linestyle="--", linewidth=1, zorder=0)
    labels = [cut(shown(label), _LABEL) for label, _ in chart.guides]
    axes.secondary_yaxis("right").set_yticks(levels, labels)
    return figure


@_drawn.register
def _graph(chart: Graph) -> Figure:
    heights = [26 + _LINE * len(node.makes) for node in chart.nodes]
    tops = [_PAD + sum(heights[:place]) + _SPACE * place for place in range(len(heights))]
    height = tops[-1] + heights[-1] + _PAD
    figure = Figure((_WIDTH / 72, height / 72), dpi=72)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, _WIDTH), ylim=(height, 0))
    axes.set_axis_off()
    for place, (node, top, tall) in enumerate(zip(chart.nodes, tops, heights, strict=True)):
        box = FancyBboxPatch(
            (6, top + 4),
            _BOX - 8,
            tall - 8,
            boxstyle="round,pad=4",
            facecolor=_SOFT,
            edgecolor=_QUIET,
            linestyle="--" if node.dashed else "-",
        )
        axes.add_patch(box)
        axes.text(14, top + 18, shown(node.title), weight="bold")
        for line, tensor in enumerate(node.makes, 1):
            axes.text(14, top + 18 + _LINE * line, shown(tensor))
        for source in node.reads:
            axes.add_patch(_arrow(source, place, tops, heights))
    return figure


def _arrow(source: int, reader: int, tops: Sequence[int], heights: Sequence[int]) -> FancyArrowPatch:
    """Connect a box with one that reads from it: the next one straight, another past those between."""
    ends = tuple((_BOX + 2.0, tops[place] + heights[place] / 2) for place in (source, reader))
    bend = -min(reader - source, 6) / 10
    if source == reader - 1:
        ends, bend = ((240.0, tops[source] + heights[source]), (240.0, tops[reader])), 0.0
    return FancyArrowPatch(
        *ends,
        arrowstyle="-|>",
        connectionstyle=f"arc3,rad={bend}",
        mutation_scale=10,
        color=_QUIET,
        shrinkA=0,
        shrinkB=1,
    )


def _sheet(height: int) -> Figure:
    return Figure((_WIDTH / 72, height / 72), dpi=72, layout="constrained")


def _guide(axes: Axes, guides: Sequence[tuple[str, float]], apart: float) -> None:
    """Draw lines and their labels, but for one that would lie on another before it."""
    kept: dict[float, str] = {}
    for label, value in guides:
        if all(abs(value - other) >= apart for other in kept):
            kept[value] = cut(shown(label), _LABEL)
            axes.axhline(value, color=_RULE, zorder=0)
    axes.set_yticks(list(kept), list(kept.values()))


def _name_points(root: ElementTree.Element, names: Sequence[str]) -> None:
    """Let a pointer that rests on a point tell its name."""
    points = [
        one for one in root.iter(f"{_SVG}use") if one.get("style", "").startswith(f"fill: {_COLOURS[0]}")
    ]
    for point, name in zip(points, names, strict=True):
        ElementTree.SubElement(point, "title").text = shown(name)


def _inside_a_page(root: ElementTree.Element, label: str) -> Markup:
    """Make a drawing part of a page, which gives it colours and fonts and refuses styles of elements."""
    for parent in list(root.iter()):
        parent.tag = parent.tag.removeprefix(_SVG)
        for child in list(parent):
            if child.tag == f"{_SVG}style" or child.tag.endswith("metadata"):
                parent.remove(child)
        if parent.tag == "g":
            parent.attrib.pop("id", None)
        if not (parent.text or "").strip():
            parent.text = None
        parent.tail = None
        if link := parent.attrib.pop(_LINK, None):
            parent.set("href", link)
        for name, value in _declared(parent.attrib.pop("style", "")):
            parent.set(name, _OF_THE_PAGE.get(value, value))
    width, height = root.attrib["viewBox"].split()[2:]
    root.attrib |= {"role": "img", "aria-label": label, "width": width, "height": height}
    return Markup(ElementTree.tostring(root, encoding="unicode"))  # noqa: S704 - all text is escaped


def _declared(style: str) -> list[tuple[str, str]]:
    found = [one.partition(":") for one in style.split(";") if one]
    return [(k.strip(), v.strip()) for k, _, v in found if k.strip() not in ("font-family", "font-size")]
