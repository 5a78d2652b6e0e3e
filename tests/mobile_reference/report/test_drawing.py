"""Charts: what was given is drawn where it belongs, in the colours of the page."""

import re
import warnings
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import matplotlib as mpl
import pytest

from mien.mobile_reference.report.charts import Chart, Dots, Graph, Node, Scatter, Waterfall
from mien.mobile_reference.report.drawing import draw

GRAPH = Graph("graph", [Node("a", ["x", "y"], []), Node("b", [], [0]), Node("c", [], [0, 1], dashed=True)])
CHARTS: list[Chart] = [
    Waterfall("fall", {"a": 0.5, "b": -0.25}, "ms"),
    Dots("dots", [3.0, 1.0, 2.0], [0, 1, 6], [("most", 3.0)]),
    Scatter("scatter", [("a", 50.0, 10.0)], [("0.0", 0.0)], ("x", "y")),
    GRAPH,
]


def drawn(chart: Chart) -> Element:
    return ElementTree.fromstring(draw(chart))  # noqa: S314 - of ours


def texts(root: Element) -> list[str]:
    return [one.text or "" for one in root.iter("text")]


def span(path: Element, axis: int) -> tuple[float, float]:
    """From where to where a path reaches along x (0) or y (1)."""
    numbers = [float(one) for one in re.findall(r"-?[\d.]+", path.attrib["d"])][axis::2]
    return min(numbers), max(numbers)


def bars(root: Element) -> list[Element]:
    return [one for one in root.iter("path") if one.get("fill") in ("var(--c1)", "var(--c2)")]


def heads(root: Element) -> list[Element]:
    return [one for one in root.iter("path") if one.get("fill") == "var(--quiet)"]


def boxes(root: Element) -> list[Element]:
    return [one for one in root.iter("path") if one.get("fill") == "var(--soft)"]


@pytest.mark.parametrize("chart", CHARTS, ids=lambda chart: chart.title)
def test_a_chart_has_the_page_s_colours_and_names_nothing_outside(chart: Chart):
    text, root = draw(chart), drawn(chart)
    assert root.attrib["aria-label"] == chart.title
    assert root.attrib["role"] == "img"
    assert not re.search(r"https?:|xmlns|style|metadata", text)
    given = {one.attrib[name] for one in root.iter() for name in ("fill", "stroke") if name in one.attrib}
    assert all(colour == "none" or colour.startswith("var(--") for colour in given)
    names = [one.attrib["id"] for one in root.iter() if "id" in one.attrib]
    assert len(names) == len(set(names))
    assert {use.attrib["href"].removeprefix("#") for use in root.iter("use")} <= set(names)


@pytest.mark.parametrize("chart", CHARTS, ids=lambda chart: chart.title)
def test_a_chart_is_the_same_bytes_whatever_the_user_has_set(chart: Chart):
    before = draw(chart)
    with mpl.rc_context({"axes.grid": True, "font.size": 20, "svg.fonttype": "path"}):
        assert draw(chart) == before
        assert mpl.rcParams["font.size"] == 20


def test_charts_on_one_page_name_their_shapes_apart():
    one, other = (drawn(Dots("dots", [3.0, 1.0], [0, 0], [("most", level)])) for level in (3.0, 1.0))
    shapes = [{e.attrib["id"] for e in root.iter() if "id" in e.attrib} for root in (one, other)]
    assert not shapes[0] & shapes[1]


def test_a_waterfall_begins_each_step_where_the_last_one_ended():
    root = drawn(Waterfall("", {"a": 0.5, "b": -0.25, "c": 0.25}, "ms"))
    first, second, third = (span(bar, 0) for bar in bars(root))
    assert second[1] == pytest.approx(first[1])
    assert third[0] == pytest.approx(second[0])
    assert third[1] - third[0] == pytest.approx((second[1] - second[0]) * 2 / 3)
    assert [bar.attrib["fill"][-3:-1] for bar in bars(root)] == ["c1", "c2", "c1"]
    assert "-0.75, sum -0.25 ms" in texts(root)
    assert "+3.8e-06, sum 3.8e-06" in texts(drawn(Waterfall("", {"a": 3.8e-6})))


def test_steps_stand_from_top_to_bottom():
    tops = [span(bar, 1)[0] for bar in bars(drawn(Waterfall("", {"a": 1.0, "b": 2.0, "c": 3.0})))]
    assert tops == sorted(tops)


def test_every_value_is_a_dot_in_the_colour_of_its_group():
    root = drawn(Dots("", [3.0, 1.0, 2.0], [0, 1, 6], []))
    dots = [one for one in root.iter("use") if one.get("fill", "").startswith("var(--c")]
    assert [dot.attrib["fill"] for dot in dots] == ["var(--c0)", "var(--c1)", "var(--c1)"]
    heights = [float(dot.attrib["y"]) for dot in dots]
    assert heights[0] < heights[2] < heights[1]
    assert float(dots[0].attrib["x"]) < float(dots[1].attrib["x"]) < float(dots[2].attrib["x"])


def test_labels_of_a_plot_do_not_lie_on_each_other():
    guides = [("most", 10.0), ("least", 0.0), ("p90", 9.9), ("p50", 5.0)]
    shown = texts(drawn(Dots("", [0.0, 10.0], [0, 0], guides)))
    assert {"most", "least", "p50"} < set(shown)
    assert "p90" not in shown
    assert "all" in texts(drawn(Dots("", [3.0], [0], [("all", 3.0)])))  # one value has no span


def test_how_often_each_value_is_stands_beside_the_dots_where_asked_for():
    chart = Dots("", [1.0, 1.0, 2.0], [0, 0, 0], [])
    wide = [span(bar, 0) for bar in heads(drawn(chart))]
    assert max(high - low for low, high in wide) == pytest.approx(2 * min(h - x for x, h in wide if h > x))
    assert not heads(drawn(Dots("", [1.0, 1.0, 2.0], [0, 0, 0], [], spread=False)))


def test_a_point_tells_its_name_where_it_stands():
    root = drawn(Scatter("", [("a", 0.0, -100.0), ("b", 100.0, 100.0)], [("-3.0", -3.0)], ("mean", "less")))
    named = {use[0].text: use for use in root.iter("use") if len(use)}
    assert set(named) == {"a", "b"}
    assert float(named["a"].attrib["x"]) < float(named["b"].attrib["x"])
    assert float(named["a"].attrib["y"]) > float(named["b"].attrib["y"])
    assert {"-3.0", "mean", "less"} < set(texts(root))


def test_a_graph_draws_every_connection_once_and_boxes_from_top_to_bottom():
    root = drawn(GRAPH)
    assert len(heads(root)) == 3
    tops = [span(box, 1)[0] for box in boxes(root)]
    assert tops == sorted(tops)
    assert texts(root) == ["a", "x", "y", "b", "c"]
    assert [bool(box.get("stroke-dasharray")) for box in boxes(root)] == [False, False, True]


@pytest.mark.parametrize("name", ['<b>$x_1$</b> & "c"', "漢字", "a\x1b[31m\u202eb", "\udce9", "x" * 300])
def test_any_name_is_text(name: str):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for chart in (
            Waterfall(name, {name: 1.0}),
            Dots(name, [1.0, 2.0], [0, 0], [(name, 1.0)]),
            Scatter(name, [(name, 1.0, 1.0)], [(name, 0.0)], (name, name)),
            Graph(name, [Node(name, [name], [])]),
        ):
            root = drawn(chart)
            assert not {"b", "script"} & {one.tag for one in root.iter()}
            draw(chart).encode("utf-8")
    assert drawn(GRAPH).find(".//text") is not None
