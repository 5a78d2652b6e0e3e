"""Figures of a page, in the units of their drawing; ``templates/charts.html`` draws them as SVG."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

WIDTH, ROW, SPACE = 640, 24, 26
LEFT, PLOT, SIDE = 70, 480, 80
HEIGHT, PAD, BANDS = 120, 8, 20
TEXT = 12
COLOURS = 5
"""How many colours a page has for what shall be told apart; the style names them c0 to c4."""
_LONGEST = 46


@dataclass(frozen=True)
class Part:
    """A part of a bar, or of a plot's side: from ``x`` on so wide, in one of the colours."""

    label: str
    x: float
    width: float
    colour: int


@dataclass(frozen=True)
class Stack:
    """One bar made of parts, such as the time of each step."""

    title: str
    values: Mapping[str, float]
    unit: str

    @property
    def parts(self) -> Iterator[Part]:
        """Yield the parts from left to right."""
        total, left = max(sum(self.values.values()), 1e-9), 0.0
        for place, (name, value) in enumerate(self.values.items()):
            width = WIDTH * value / total
            yield Part(f"{name}: {value:.1f} {self.unit}", left, width, place % COLOURS)
            left += width


@dataclass(frozen=True)
class Step:
    """A row of a waterfall: what a stage added to a sum, and the sum after it."""

    label: str
    x: float
    width: float
    y: float
    grows: bool
    text: str


@dataclass(frozen=True)
class Waterfall:
    """How a sum builds up: ``values`` are the sums after each step; the first begins at 0."""

    title: str
    values: Mapping[str, float]

    @property
    def height(self) -> int:
        """How high the drawing is."""
        return ROW * len(self.values) + PAD

    @property
    def zero(self) -> float:
        """Where the sum is 0."""
        return self._x(0.0)

    @property
    def steps(self) -> Iterator[Step]:
        """Yield the rows from top to bottom."""
        before = 0.0
        for row, (name, after) in enumerate(self.values.items()):
            ends = sorted((self._x(before), self._x(after)))
            text = f"{after - before:+.3g}, sum {after:.3g}"
            yield Step(
                cut(name, 22), ends[0], max(ends[1] - ends[0], 1.0), row * ROW + 4, after >= before, text
            )
            before = after

    def _x(self, value: float) -> float:
        low, high = min(0.0, *self.values.values()), max(0.0, *self.values.values())
        return 150 + 300 * (value - low) / max(high - low, 1e-12)


@dataclass(frozen=True)
class Dots:
    """Values in their order, a colour for each group, between lines at some of them.

    ``guides`` are labels and where their lines stand: one that would touch another before it is left out.
    ``spread`` also draws how often each value is.
    """

    title: str
    values: Sequence[float]
    groups: Sequence[int]
    guides: Sequence[tuple[str, float]]
    span: float = 0.0
    spread: bool = True

    @property
    def height(self) -> int:
        """How high the drawing is."""
        return HEIGHT + 2 * PAD

    @property
    def low(self) -> float:
        """The value at the bottom."""
        return min(self.values)

    @property
    def high(self) -> float:
        """The value at the top."""
        return max(*self.values, self.low + max(self.span, 1e-9))

    @property
    def lines(self) -> list[tuple[str, float]]:
        """List the guides with their places."""
        found: list[tuple[str, float]] = []
        for label, value in self.guides:
            if all(abs(self.y(value) - other) >= TEXT for _, other in found):
                found.append((label, self.y(value)))
        return found

    def y(self, value: float) -> float:
        """Return how far below the top of the picture a value stands."""
        return PAD + HEIGHT * (self.high - value) / (self.high - self.low)

    @property
    def points(self) -> Iterator[tuple[float, float, int]]:
        """Yield each value as x, y and colour."""
        step = PLOT / len(self.values)
        for place, (value, group) in enumerate(zip(self.values, self.groups, strict=True)):
            yield LEFT + (place + 0.5) * step, self.y(value), group % COLOURS

    @property
    def bands(self) -> Iterator[tuple[float, float]]:
        """Yield, if asked for, where each band of the histogram stands and how long it is."""
        width = (self.high - self.low) / BANDS
        counts = Counter(min(int((value - self.low) / width), BANDS - 1) for value in self.values)
        for band, count in sorted(counts.items() if self.spread else ()):
            yield self.y(self.low + (band + 0.5) * width), SIDE * count / max(counts.values())


@dataclass(frozen=True)
class Scatter:
    """Named points (x, y) in a square of 0..100 by -100..100, with lines across at some values of y."""

    title: str
    points: Sequence[tuple[str, float, float]]
    guides: Sequence[tuple[str, float]]


@dataclass(frozen=True)
class Node:
    """A box of a graph: its title, the tensors that it makes, and the boxes that it reads from."""

    title: str
    makes: Sequence[str]
    reads: Sequence[int]
    dashed: bool = False


@dataclass(frozen=True)
class Box:
    """A node in its place."""

    node: Node
    y: int
    height: int


@dataclass(frozen=True)
class Graph:
    """Boxes one below the other, each reading from boxes above it."""

    title: str
    nodes: Sequence[Node] = field(default_factory=tuple)

    @property
    def boxes(self) -> list[Box]:
        """Place the boxes from top to bottom."""
        found, y = [], PAD
        for node in self.nodes:
            height = 26 + 16 * len(node.makes)
            found.append(Box(node, y, height))
            y += height + SPACE
        return found

    @property
    def height(self) -> int:
        """How high the drawing is."""
        last = self.boxes[-1]
        return last.y + last.height + PAD

    @property
    def arrows(self) -> Iterator[str]:
        """Yield each connection as the path of an SVG: to the next box straight, past others by the side."""
        boxes = self.boxes
        for place, box in enumerate(boxes):
            for source in box.node.reads:
                above = boxes[source]
                if source == place - 1:
                    yield f"M240 {above.y + above.height}V{box.y - 2}"
                else:
                    out = 520 + 16 * min(place - source, 6)
                    start, end = above.y + above.height / 2, box.y + box.height / 2
                    yield f"M502 {start:g}C{out} {start:g} {out} {end:g} 504 {end:g}"


Chart = Stack | Waterfall | Dots | Scatter | Graph


def cut(text: str, longest: int = _LONGEST) -> str:
    """Shorten a name that would leave its box."""
    return text if len(text) <= longest else text[: longest - 1] + "…"
