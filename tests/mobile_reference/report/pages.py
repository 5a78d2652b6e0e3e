"""A page with every kind of block, and with markup wherever a name can stand."""

import numpy as np

from mien.mobile_reference.report.charts import Dots, Graph, Node, Scatter, Waterfall
from mien.mobile_reference.report.page import (
    Gallery,
    Page,
    Section,
    Table,
    Terms,
    Text,
    jpeg,
    png,
)

EVIL = "<script>alert('x')</script>&\"<img src=x onerror=alert(1)>"
GREY = np.full((16, 24, 3), 128, np.uint8)


def page_of(name: str = EVIL) -> Page:
    """Make a page in which ``name`` stands wherever a name can."""
    blocks = [
        Text(name, "note"),
        Table(name, (name, "n", "verdict"), [(name, "2", "passed"), ("b", "10", "FAILED"), ("c", "-", "")]),
        png(GREY, name, name),
        Gallery([jpeg(GREY, name, name)] * 3),
        Terms([(name, name)]),
        Waterfall(name, {name: 0.5, "b": -0.25, "c": 0.0}, "ms"),
        Dots(name, [1.0, 3.0, 2.0], [0, 1, 1], [(name, 1.0), ("p90", 1.01), ("most", 3.0)]),
        Scatter(name, [(name, 50.0, 10.0)], [(name, 0.0)], (name, name)),
        Graph(
            name, [Node(name, [name, "x"], []), Node("b", [name], [0]), Node("c", [], [0, 1], dashed=True)]
        ),
    ]
    return Page(name, name, [Text(name)], [Section(name, blocks, name)])
