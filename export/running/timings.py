"""Where the time of an export goes: phases, in processor seconds and seconds of the clock."""

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.box import SIMPLE
from rich.table import Table

from .isolation import Usage

IMPORTS = "imports of the converters"


@dataclass(frozen=True)
class Phase:
    """One part of an export.

    ``processor`` seconds are those of all threads and of the processes that worked for the phase; ``clock``
    seconds are those that passed. A conversion is ``inside`` the phase that began it: other conversions ran
    beside it, and its seconds are counted in the phase's already.
    """

    name: str
    processor: float
    clock: float
    inside: bool = False


class Stopwatch:
    """Measures phases that follow each other, the first from when the watch is made."""

    def __init__(self) -> None:
        self._phases: list[Phase] = []
        self._processor, self._clock = _now()
        self._imports = 0.0

    def lap(self, name: str, conversions: Mapping[str, Usage] | None = None) -> None:
        """End a phase, in which ``conversions`` ran in processes of their own, by title."""
        ran = conversions or {}
        processor, clock = _now()
        worked = sum(usage.seconds for usage in ran.values())
        self._phases.append(Phase(name, processor - self._processor + worked, clock - self._clock))
        self._phases += [
            Phase(title, usage.seconds, usage.clock, inside=True) for title, usage in ran.items()
        ]
        self._imports = max([self._imports, *(usage.imports for usage in ran.values())])
        self._processor, self._clock = processor, clock

    def phases(self) -> tuple[Phase, ...]:
        """Return what was measured, and last the imports, which all converters share."""
        return (*self._phases, Phase(IMPORTS, self._imports, 0.0))


def timings_table(phases: Sequence[Phase], yardstick: Mapping[str, Usage]) -> Table:
    """List the phases of an export, and beside their sum what the converters alone used."""
    table = Table(title="where the time went", box=SIMPLE, padding=(0, 1, 0, 0))
    table.add_column("phase", no_wrap=True)
    for heading in ("CPU s", "wall s"):
        table.add_column(heading, justify="right", no_wrap=True)
    for phase in phases:
        table.add_row(*_row("  " * phase.inside + phase.name, phase.processor, phase.clock))
    once = [phase for phase in phases if not phase.inside]
    worked, least = sum(one.processor for one in once), sum(one.seconds for one in yardstick.values())
    table.add_row(*_row("sum", worked, sum(one.clock for one in once)), end_section=True)
    for title, usage in yardstick.items():
        table.add_row(*_row(f"yardstick: {title}", usage.seconds, usage.clock))
    table.add_row("sum by yardstick", f"{worked / least:.1f} x", "")
    return table


def _row(name: str, processor: float, clock: float) -> tuple[str, str, str]:
    return name, f"{processor:.1f}", f"{clock:.1f}" if clock else ""


def _now() -> tuple[float, float]:
    """Return the processor seconds of this process and of those that it waited for, and the clock's."""
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system, time.monotonic()
