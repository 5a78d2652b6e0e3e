"""What was wanted of a figure, beside the figure that was found."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from .records import MET

MISSED, NO_FIGURE, NO_GOAL = "missed", "no figure", "no goal"


@dataclass(frozen=True)
class Goal:
    """A figure that should be at most ``limit``, both in ``unit``.

    ``found`` is None where there is no figure, ``limit`` where it is only to be known. ``basis`` says what it
    was made on.
    """

    what: str
    found: float | None
    limit: float | None
    unit: str
    basis: str

    @property
    def verdict(self) -> str:
        """Say whether the goal is kept, if there is one."""
        if self.found is None:
            return NO_FIGURE
        if self.limit is None:
            return NO_GOAL
        return MET if self.found <= self.limit else MISSED

    @property
    def line(self) -> str:
        """The goal, the verdict and the figure in one line."""
        goal = "" if self.limit is None else f"; goal {self.shown(self.limit)}, {self.verdict}"
        return f"{self.what}: {self.shown(self.found)}{goal}"

    def shown(self, value: float | None) -> str:
        """Write a value of the figure's unit."""
        if value is None:
            return "none"
        digits = 3 if abs(value) < 10 else 0 if abs(value) >= 1000 else 1
        return f"{value:,.{digits}f} {self.unit}".rstrip()

    def as_json(self) -> dict[str, Any]:
        """Return the fields and the verdict."""
        return asdict(self) | {"verdict": self.verdict}


def print_goals(goals: Iterable[Goal]) -> None:
    """Print one row for each goal."""
    table = Table(title="figures and goals; no phone was used")
    for heading in ("figure", "found", "at most", "verdict", "made on"):
        table.add_column(heading, justify="right" if heading in ("found", "at most") else "left")
    for goal in goals:
        table.add_row(goal.what, goal.shown(goal.found), goal.shown(goal.limit), goal.verdict, goal.basis)
    Console().print(table)
