"""Reports of ``mien bench`` as one HTML page."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any

from mien.benchmarks.errors import ReportError
from mien.benchmarks.estimates.evidence import class_verdicts
from mien.benchmarks.results.records import (
    BUDGET_MS,
    NO_EVIDENCE,
    Condition,
    Reported,
    Result,
    Stage,
    Work,
    is_estimate,
    read_result,
)
from mien.mobile_reference.report.charts import Dots, Waterfall
from mien.mobile_reference.report.page import Block, Page, Section, Table, Terms, Text, write_page

from .tables import REPORTED, counted, reported_cells, stage_title, threads_text, verdict_line

_MEANINGS = {
    "kind": (
        "What the result was made on. Results of different kinds are never put side by side: a host"
        " is not a phone, and an emulated processor has no time at all."
    ),
    "whole way": (
        "From the bytes of the encoded photograph, or the app's tensors where there is no front, to the "
        "result. Loading the models and the first run of each process are not in it."
    ),
    "all models": "The sum of the models that an app runs, where the front before them was not timed.",
    "graph ...": (
        "One model alone, fed by the models before it. Separate stages do the work of an end-to-end "
        "model again, so they are not part of the sum."
    ),
    "p50, p90, p99": (
        "The smallest time that 50, 90, 99 per cent of the runs did not exceed. The verdict is that"
        " of the p90."
    ),
    "MAD": "The median distance from the p50: half of the runs are nearer to it than that.",
    "claim": (
        "Three times an estimate. Met means that it is under the budget; not met, that the estimate "
        "itself is over it; no evidence is anything else."
    ),
    "instructions": (
        "ARM64 instructions of one run on one thread: a measure of work that repeats, not of time."
    ),
    "error": (
        "Of a gate: distance from the float pipeline, in the unit beside it. Of an emulated run: distance "
        "from the same model on the host, as a share of its largest value."
    ),
}


def make_page(reports: Sequence[Mapping[str, Any]]) -> str:
    """Make one page of reports that ``records.check_report`` accepts, of measurements and of estimates.

    Raises:
        ReportError: the reports are of different bundles.
    """
    bundles = {report["bundle"]["manifest_sha256"]: report["bundle"]["name"] for report in reports}
    if len(bundles) != 1:
        raise ReportError(f"the reports are of {len(bundles)} different bundles; give those of one")
    ((digest, bundle),) = bundles.items()
    measured = [report for report in reports if not is_estimate(report)]
    estimates = [entry for report in reports if is_estimate(report) for entry in report["estimates"]]
    results = [read_result(record) for report in measured for record in report["results"]]
    kinds = dict.fromkeys(result.device.kind for result in results)
    sections = [
        _verdicts(results, estimates),
        *(_result(result) for kind in kinds for result in results if result.device.kind == kind),
        *([_estimates(estimates)] if estimates else []),
        *([Section("How it was measured", list(map(_settings, measured)))] if measured else []),
        Section("What each number is", [Terms(list(_MEANINGS.items()))]),
    ]
    return write_page(Page("mien bench", bundle, [Text(f"bundle {bundle} ({digest[:12]})")], sections))


def _settings(report: Mapping[str, Any]) -> Text:
    settings = report["settings"]
    kinds = ", ".join(dict.fromkeys(record["kind"] for record in report["results"]))
    return Text(
        f"{kinds}: input {settings['input']}, {settings['blocks']} processes of {settings['runs']} "
        f"runs after {settings['warmup']} to warm up; mien {report['mien']}"
    )


def _verdicts(results: Sequence[Result], estimates: Sequence[Mapping[str, Any]]) -> Section:
    """List what is known about phones, at the top: it is what the page is for."""
    rows = [(v.phones, v.state, v.basis) for v in class_verdicts(results, estimates)]
    nothing = [("any phone", NO_EVIDENCE, "no phone was measured, nothing was estimated")]
    title = f"Under {BUDGET_MS:.0f} ms on a phone?"
    return Section(
        title, [Table("what is known of phones", ("phones", "verdict", "because"), rows or nothing)]
    )


def _estimates(entries: Sequence[Mapping[str, Any]]) -> Section:
    """List the estimates; there is not a phone behind them, so no bar is drawn."""
    rows = [
        (
            e["phones"],
            f"{e['unit']}, {e['precision']}",
            *("-" if e[key] is None else f"{e[key]:.1f}" for key in ("estimate_ms", "claim_ms")),
            f"{e['fit']['p90_error']:.0%}",
            e["verdict"],
        )
        for e in entries
    ]
    headings = ("phones", "unit, precision", "estimate, ms", "claim, ms", "error", "verdict")
    about = (
        "No phone was used: published times of other networks, by a fit; the error is that of nine in ten "
        "networks that the fit had not seen."
    )
    return Section("by published times", [Text(about), Table("estimates", headings, rows)], "estimate")


def _result(result: Result) -> Section:
    """Tell of one variant on one device; results of different kinds are never put side by side."""
    device = result.device
    about = f"{device.name}, {device.isa}, {counted(device.cores, 'core')}, {device.system}, {device.runtime}"
    blocks = [
        Text(about),
        Text(verdict_line(result), "strong"),
        *(Text(failure, "note") for failure in result.failures),
        *map(Text, result.notes),
        *_latency(result),
        *([_reported(result.reported)] if result.reported else []),
        *(_trace(result.conditions) if result.conditions else []),
        *map(_work, result.work),
        _parity(result),
    ]
    title = f"{result.variant} on {result.target}, {threads_text(result)}"
    return Section(title, blocks, device.kind)


def _latency(result: Result) -> Iterator[Block]:
    latency = result.latency
    if not latency:
        return
    steps = latency.chain[:-1]
    sums = accumulate(step.summary.p50 for step in steps)
    named = zip((stage_title(step).strip() for step in steps), sums, strict=True)
    yield Waterfall("median time of each step", dict(named), "ms")
    rows = [
        (stage_title(s), *(f"{getattr(s.summary, name):.2f}" for name in ("p50", "p90", "p99", "mad")))
        for s in latency.stages
    ]
    yield Table("times of the stages", ("stage, ms", "p50", "p90", "p99", "MAD"), rows)
    yield _distribution(latency.longest)
    yield Text(f"models loaded in {latency.load_ms[0]:.0f} ms, first run {latency.first_ms[0]:.0f} ms")


def _reported(entries: Sequence[Reported]) -> Table:
    rows = [(entry.graph, *reported_cells(entry)) for entry in entries]
    return Table("ms as the program reports", ("graph", "n", *REPORTED), rows)


def _distribution(stage: Stage) -> Dots:
    """Draw every run in its order, a colour for each process, and how often each time was."""
    times = [time for block in stage.blocks for time in block]
    numbers = [number for number, block in enumerate(stage.blocks) for _ in block]
    ends = [(f"{value:.1f} ms", value) for value in (max(times), min(times))]
    guides = [*ends, ("p50", stage.summary.p50), ("p90", stage.summary.p90)]
    caption = "every run in its order, a colour for each process; to the right how often each time was"
    return Dots(caption, times, numbers, guides)


def _trace(conditions: Sequence[Condition]) -> Iterator[Block]:
    """Draw the warmest sensor before and after every block, and list what else the phone said."""
    heat = [max(c.temperatures.values(), default=0.0) for c in conditions]
    guides = [(f"{value:.1f} C", value) for value in (max(heat), min(heat))]
    caption = "heat and clock: the warmest sensor before and after every block"
    # Below a span of five degrees the noise of a sensor would look like a trend.
    yield Dots(caption, heat, [c.block for c in conditions], guides, span=5, spread=False)
    rows = [
        (
            f"{c.block + 1} {c.when}",
            "unknown" if c.thermal_status is None else str(c.thermal_status),
            f"{value:.1f}" if c.temperatures else "unknown",
            f"{max(c.max_khz.values()) / 1e6:.2f}" if c.max_khz else "unknown",
            f"{max(c.current_khz.values()) / 1e6:.2f}" if c.current_khz else "unknown",
        )
        for value, c in zip(heat, conditions, strict=True)
    ]
    headings = ("block", "thermal status", "warmest, C", "most GHz allowed", "GHz now")
    yield Table("what the phone said", headings, rows)


def _work(work: Work) -> Table:
    rows = [
        (name, f"{share:.1%}", f"{share * work.instructions:,.0f}") for name, share in work.kernels.items()
    ]
    rows.append(("all", "100.0%", f"{work.instructions:,}"))
    return Table(f"instructions of {work.graph}", ("kernel", "share", "instructions"), rows)


def _parity(result: Result) -> Block:
    rows = [
        (p.name, f"{p.error:.3g}", f"{p.gate:g}", p.unit, "passed" if p.passed else "FAILED")
        for p in result.parity
    ]
    if not rows:
        return Text("nothing to compare with")
    return Table("distance from float", ("result", "error", "gate", "unit", "verdict"), rows)
