"""Two reports side by side: is the second one slower, and can chance be ruled out?"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from mien.benchmarks.errors import ReportError

from .records import ANDROID_EMULATOR, STEP, TOTAL, Result, Stage, Work, read_result
from .stats import Interval, paired_ratio

MS, INSTRUCTIONS = "ms", "instructions"
SLOWER, FASTER, UNDECIDED = "more", "less", "no difference shown"
_SAME = ("input_sha256", "cpus")


@dataclass(frozen=True)
class Change:
    """How a figure changed. ``ratio`` is after / before; ``gated`` tells whether it can fail."""

    variant: str
    what: str
    unit: str
    before: float
    after: float
    ratio: Interval
    gated: bool

    @property
    def verdict(self) -> str:
        """Say what the interval shows: it excludes 1 on one side, or it does not."""
        if self.ratio.low > 1:
            return SLOWER
        return FASTER if self.ratio.high < 1 else UNDECIDED

    def regressed(self, thresholds: Mapping[str, float]) -> bool:
        """Tell whether the figure certainly grew, and by more than its unit's threshold (a share)."""
        return self.gated and self.verdict == SLOWER and self.ratio.estimate > 1 + thresholds[self.unit]


def compare(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[Change, ...]:
    """Compare what two reports both measured.

    Times are compared by a paired bootstrap of their processes and runs. Instruction counts repeat
    within 0.01 %, so their interval is a point.

    Raises:
        ReportError: the reports have no result or no figure in common, or were made on different
            devices, with other threads, processors or inputs.
    """
    first, second = _results(before), _results(after)
    shared = [key for key in first if key in second]
    if not shared:
        raise ReportError(
            f"the reports share no result: one has {_names(first)}, the other {_names(second)}; "
            "measure the same variants on the same target"
        )
    if any(first[key].latency for key in shared):
        _check_settings(before["settings"], after["settings"])
    found = tuple(change for key in shared for change in _changes(first[key], second[key]))
    if not found:
        raise ReportError(
            "the reports share neither single runs nor instruction counts, so no interval can be told; "
            "measure with mien's runner"
        )
    return found


def _check_settings(before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    for key in _SAME:
        if before[key] != after[key]:
            raise ReportError(
                f"the reports differ in {key} ({before[key]} and {after[key]}); measure both alike"
            )


def _results(report: Mapping[str, Any]) -> dict[tuple[str, str], Result]:
    results = [read_result(record) for record in report["results"]]
    return {(result.target, result.variant): result for result in results}


def _names(results: Mapping[tuple[str, str], Result]) -> str:
    return ", ".join(f"{target} {variant}" for target, variant in results)


def _changes(before: Result, after: Result) -> Iterator[Change]:
    for what, old, new in _identities(before, after):
        if old != new:
            raise ReportError(
                f"{before.variant}: the reports differ in {what} ({old} and {new}); measure both alike"
            )
    if before.latency and after.latency:
        later = {(stage.part, stage.name): stage for stage in after.latency.stages}
        for stage in before.latency.stages:
            if (stage.part, stage.name) in later:
                change = _time_change(before.variant, stage, later[stage.part, stage.name])
                yield replace(change, gated=change.gated and before.device.kind != ANDROID_EMULATOR)
    counted = {work.graph: work for work in after.work}
    for work in before.work:
        if work.graph in counted:
            yield _work_change(before.variant, work, counted[work.graph])


def _identities(before: Result, after: Result) -> Iterator[tuple[str, object, object]]:
    """List what must be equal; neither the host nor the emulator's release changes instruction counts."""
    yield "threads", before.threads, after.threads
    if before.latency:
        yield "device", before.device, after.device
    else:
        yield "processor", before.device.name, after.device.name
        yield "runtime", before.device.runtime, after.device.runtime


def _time_change(variant: str, before: Stage, after: Stage) -> Change:
    """Compare times, none of which may be other than a finite number: no ratio could be told of it.

    Raises:
        ReportError: a time is not a finite number, or the times are too short to tell a ratio.
    """
    times = [time for stage in (before, after) for block in stage.blocks for time in block]
    if not all(map(math.isfinite, times)):
        raise ReportError(f"{variant}: {before.title} has a time that is not a finite number; measure again")
    if not min(before.summary.p50, after.summary.p50) > 0:
        raise ReportError(f"{variant}: {before.title} took 0 ms, so no ratio can be told; measure again")
    return Change(
        variant=variant,
        what=before.title,
        unit=MS,
        before=before.summary.p50,
        after=after.summary.p50,
        ratio=paired_ratio(before.blocks, after.blocks),
        # One gate for each variant: many would raise false alarms together.
        gated=(before.part, before.name) == (STEP, TOTAL),
    )


def _work_change(variant: str, before: Work, after: Work) -> Change:
    ratio = after.instructions / before.instructions
    return Change(
        variant=variant,
        what=before.graph,
        unit=INSTRUCTIONS,
        before=before.instructions,
        after=after.instructions,
        ratio=Interval(ratio, ratio, ratio),
        gated=True,
    )
