"""What is said of each photograph, and the processes that share photographs: a row each, in their order."""

import math
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from mien.mobile_reference.errors import ChildError
from mien.mobile_reference.front.photograph import Pixels, pixels_of
from mien.mobile_reference.front.quality import Finding, RefusedError
from mien.mobile_reference.output.text import shown
from mien.mobile_reference.run.child import Child, Limits, Tell
from mien.mobile_reference.run.runner import Rating

from .photographs import Photograph, Unit

LIMITS = Limits(memory=4 << 30)
"""Of the process that rates: the float pipeline in PyTorch takes the most."""


class Position(NamedTuple):
    """Where a photograph stands: the number of its unit, and how many of the unit come before it."""

    unit: int
    nth: float


_START, _END = -1, math.inf
"""The place in a unit that is being opened, and in one of which nothing more is read."""
_BEFORE_ALL = Position(-1, _END)


class Row(NamedTuple):
    """The record of a photograph, what was drawn of it, and what a score means.

    ``pictures`` are those for files, by their names; ``thumbnail`` is the small one of a page.
    """

    position: Position
    record: dict[str, Any]
    pictures: Mapping[str, bytes] = {}
    meaning: str = ""
    thumbnail: bytes = b""


class Rater(NamedTuple):
    """What rates a photograph, and the name of its variant."""

    variant: str
    rate: Callable[[Pixels], Rating]


class Drawing(NamedTuple):
    """What is drawn of a rating: pictures for files, and a small one for a page."""

    pictures: Callable[[Rating, str], Mapping[str, bytes]]
    thumbnail: Callable[[Rating], bytes]


OpenRater = Callable[[], Rater]
MakeRow = Callable[[Rater, Position, Photograph], Row]
"""Makes the row of a photograph with a rater, in the process that rates."""


def rated_row(draw: Drawing, rater: Rater, position: Position, photograph: Photograph) -> Row:
    """Rate a photograph; what cannot be rated says why."""
    try:
        with photograph.open() as stream:
            pixels = pixels_of(stream, photograph.name)
        rating = rater.rate(pixels)
    except Exception as error:
        # Typed errors of any room concern this one photograph; the rest are defects of mien.
        if not hasattr(error, "exit_code"):
            raise
        findings = error.findings if isinstance(error, RefusedError) else ()
        return Row(position, record_of(photograph.name, rater.variant, findings, error=str(error)))
    record = record_of(photograph.name, rater.variant, rating.prepared.findings, rating)
    meaning = rating.spec.tensor(rating.spec.rating.tensor).meaning
    return Row(position, record, draw.pictures(rating, photograph.stem), meaning, draw.thumbnail(rating))


def record_of(
    name: str,
    variant: str,
    findings: Sequence[Finding] = (),
    rating: Rating | None = None,
    error: str | None = None,
) -> dict[str, Any]:
    """Return the JSON object of a photograph."""
    return {
        "photo": name,
        "score": rating.score if rating else None,
        "variant": variant,
        "faces": rating.prepared.faces if rating else 0,
        "alignment": rating.prepared.alignment.tolist() if rating else None,
        "findings": [finding.record() for finding in findings],
        "error": error and shown(error),
    }


@dataclass(frozen=True)
class Portion:
    """The photographs of one process: number ``one`` of ``jobs`` that deal them out in turn."""

    units: tuple[Unit, ...]
    one: int = 0
    jobs: int = 1
    after: Position = _BEFORE_ALL
    """What comes up to here was rated before."""

    def __iter__(self) -> Iterator[tuple[Position, Photograph | None]]:
        """Yield what is to be rated with its position; none: the unit is going to be opened."""
        for unit in self.units:
            if Position(unit.number, _END) <= self.after:
                continue
            yield Position(unit.number, _START), None
            for nth, photograph in enumerate(unit.photographs()):
                position = Position(unit.number, nth)
                if _dealt_to(position, self.jobs) == self.one and position > self.after:
                    yield position, photograph

    def name(self, position: Position) -> str:
        """Return the name of the unit at a position."""
        return next(unit.name for unit in self.units if unit.number == position.unit)


class _Started(NamedTuple):
    """Told before a photograph is opened, and before a unit is: should the process die, what it died of."""

    position: Position
    name: str


class Share:
    """Photographs that a child process rates, beginning now; iterate for their rows.

    What cannot be rated says why. A photograph by which the child dies has a row too, and a new child rates
    the rest. One that was killed from outside, as by a system without memory, is replaced once before that.
    """

    def __init__(self, open_rater: OpenRater, portion: Portion, make_row: MakeRow) -> None:
        self._open_rater, self._make_row = open_rater, make_row
        self._killed_at: Position | None = None
        self._left: Portion | None = portion
        self._begin(portion)

    def __iter__(self) -> Iterator[Row]:
        yield from self._rows()
        while self._left:
            self._begin(self._left)
            yield from self._rows()

    def _begin(self, portion: Portion) -> None:
        open_rater, make_row = self._open_rater, self._make_row
        self._child: Child[None] = Child(lambda tell: _rate(open_rater, portion, make_row, tell), LIMITS)

    def _rows(self) -> Iterator[Row]:
        """Yield the rows of one child, to its end; what is left then is for another."""
        assert self._left is not None  # noqa: S101
        portion, self._left = self._left, None
        started: _Started | None = None
        last, variant = portion.after, ""
        try:
            for message in self._child:
                if isinstance(message, str):
                    variant = message
                elif isinstance(message, _Started):
                    started = message
                else:
                    last, started = message.position, None
                    yield message
        except ChildError as error:
            at = started.position if started else last
            if self._child.was_killed and at != self._killed_at:
                self._killed_at, self._left = at, replace(portion, after=last)
                return
            if not variant:
                raise ChildError(
                    f"{error} while it opened the models; they are damaged, export again"
                ) from error
            # Between two photographs it was the shard that could not be read.
            end = at if started and at.nth >= 0 else Position(at.unit, _END)
            self._left = replace(portion, after=end)
            remedy = "its models or the photograph are damaged, export again or leave it out"
            name = started.name if started else portion.name(at)
            yield Row(end, record_of(name, variant, error=f"{error}; {remedy}"))

    def end(self) -> None:
        """End the child."""
        self._child.end()


def _rate(open_rater: OpenRater, portion: Portion, make_row: MakeRow, tell: Tell) -> None:
    """Tell the variant when its models are loaded, then a row for every photograph."""
    rater = open_rater()
    tell(rater.variant)
    for position, photograph in portion:
        tell(_Started(position, photograph.name if photograph else portion.name(position)))
        if photograph:
            tell(make_row(rater, position, photograph))


def shared_rows(open_rater: OpenRater, units: Sequence[Unit], make_row: MakeRow, jobs: int) -> Generator[Row]:
    """Rate units by so many processes, which begin now, and yield the rows in the order of the photographs.

    Args:
        open_rater: Opens what rates, in each process.
        units: What is rated.
        make_row: Makes the row of one photograph.
        jobs: How many processes share the photographs.

    Raises:
        ChildError: a process died while it opened the models.
    """
    shares = [Share(open_rater, Portion(tuple(units), one, jobs), make_row) for one in range(jobs)]
    return _merged(shares)


def _merged(shares: Sequence[Share]) -> Generator[Row]:
    """Put the rows of shares in order; each is out as soon as it is known to be the next."""
    streams = [iter(share) for share in shares]
    heads: dict[int, Row | None] = {}

    def head(one: int) -> Row | None:
        if one not in heads:
            heads[one] = next(streams[one], None)
        return heads[one]

    expected = Position(0, 0)
    try:
        while True:
            one = _dealt_to(expected, len(shares))
            row = head(one)
            if row is None or row.position != expected:  # a unit has ended, or a process has died
                left = {row.position: other for other in range(len(shares)) if (row := head(other))}
                if not left:
                    return
                expected, one = min(left.items())
            yield heads.pop(one)  # type: ignore[misc]  # it is not None
            unit, nth = expected
            expected = Position(unit + 1, 0) if nth == _END else Position(unit, nth + 1)
    finally:
        for share in shares:
            share.end()


def _dealt_to(position: Position, jobs: int) -> int:
    """Return the number of the process that rates what stands there."""
    return int(position.unit + position.nth) % jobs
