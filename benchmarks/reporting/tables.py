"""Results as tables for a terminal of 80 columns."""

from collections.abc import Iterable, Iterator

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mien.benchmarks.emulation.profile import dearest
from mien.benchmarks.estimates.estimate import Estimate
from mien.benchmarks.estimates.fit import CLAIM
from mien.benchmarks.results.compare import MS, UNDECIDED, Change
from mien.benchmarks.results.records import (
    ANDROID,
    BUDGET_MS,
    DECODE,
    FRONT,
    GRAPH,
    INFERENCE,
    PIXELS,
    STEP,
    TOTAL,
    Reported,
    Result,
    Stage,
    Work,
)
from mien.benchmarks.results.stats import quantile

# What a stage is called in a table; the report keeps the short names.
_TITLES = {
    DECODE: "decode photograph",
    FRONT: "front",
    PIXELS: "pixel buffer",
    INFERENCE: "all models",
    TOTAL: "whole way",
}

_SHOWN = 5
REPORTED = ("Init", "avg", "median", "p95", "max")
"""Which figures of another program are shown; the report keeps them all."""
APPLE, APP = "apple-", "android-app-"
"""Begin the target of a result of Apple's runtime, or of an Android app; the compute units follow."""


def print_results(results: Iterable[Result]) -> None:
    """Print results of one kind: times where there are some, or what a program reports, else the work."""
    measured = list(results)
    if measured[0].latency:
        print_latency(measured)
    elif measured[0].reported:
        print_reported(measured)
    else:
        print_work(measured)


def print_latency(results: Iterable[Result]) -> None:
    """Print the times of results of one kind."""
    measured = list(results)
    first = measured[0]
    runs = first.latency.stages[0].summary.n if first.latency else 0
    table = Table(
        title=f"{first.device.kind}: ms of {runs} runs, {threads_text(first)}",
        caption=escape(f"{first.device.name}, {first.device.runtime}"),
    )
    for heading in ("variant", "stage", "p50", "p90", "p99"):
        table.add_column(heading, justify="left" if heading in ("variant", "stage") else "right")
    for result in measured:
        for row in _rows(result):
            table.add_row(*map(escape, row))
        table.add_section()
    Console().print(table)
    for result in measured:
        Console().print(verdict_line(result), highlight=False, markup=False)
    for note, variants in _notes(measured).items():
        Console().print(f"note ({', '.join(variants)}): {note}", highlight=False, markup=False)


def print_reported(results: Iterable[Result]) -> None:
    """Print the averages that a program of others reports."""
    measured = list(results)
    device = measured[0].device
    table = Table(
        title=f"{escape(measured[0].target)}: averages in ms as the program reports them",
        caption=f"{escape(device.name)}\nn processes, medians over them; each graph alone, so no verdict",
    )
    for heading in ("variant", "graph", "n", *REPORTED):
        table.add_column(heading, justify="left" if heading in ("variant", "graph") else "right")
    for result in measured:
        for entry in result.reported:
            table.add_row(*map(escape, (result.variant, entry.graph, *reported_cells(entry))))
    Console().print(table)
    for result in measured:
        Console().print(verdict_line(result), highlight=False, markup=False)
    for note, variants in _notes(measured).items():
        Console().print(f"note ({', '.join(variants)}): {note}", highlight=False, markup=False)


def reported_cells(entry: Reported) -> Iterator[str]:
    """Give the number of processes and the median of each figure over them in ms, empty where it has none."""
    yield str(len(entry.blocks))
    for name in REPORTED:
        values = [block[name] for block in entry.blocks if name in block]
        yield f"{quantile(values, 0.5) / 1000:.1f}" if values else ""


def print_work(results: Iterable[Result]) -> None:
    """Print instruction counts and parity of results without times."""
    measured = list(results)
    first = measured[0].device
    table = Table(
        title=f"{first.kind}: ARM64 instructions of one run, no time",
        caption="dot: share of int8 dot products; error: against the host, of the largest value;\n"
        "of full scale where int8 and float are mixed\n"
        f"{escape(first.system.split(',')[0])}, {escape(first.runtime)}; an emulator is not a phone",
    )
    for heading in ("processor", "variant", "graph", "instructions", "dot", "error"):
        table.add_column(heading, justify="left" if heading in ("processor", "variant", "graph") else "right")
    for result in measured:
        for row in _work_rows(result):
            table.add_row(*map(escape, row))
        table.add_section()
    Console().print(table)
    for result in measured:
        _print_kernels(result, result.work[-1])


def _work_rows(result: Result) -> Iterator[tuple[str, ...]]:
    for position, work in enumerate(result.work):
        names = (result.target.removeprefix("arm64-"), result.variant) if position == 0 else ("", "")
        errors = [parity.error for parity in result.parity if parity.name.startswith(f"{work.graph}: ")]
        dot = "" if work.dot_product is None else f"{work.dot_product:.0%}"
        worst = max(errors, default=0.0)
        yield (*names, work.graph, f"{work.instructions:,}", dot, f"{worst:.1e}" if worst else "exact")


def _print_kernels(result: Result, work: Work) -> None:
    Console().print(f"{result.target}, {result.variant}, {work.graph}:", highlight=False, markup=False)
    for name, share in list(work.kernels.items())[:_SHOWN]:
        Console().print(f"  {share:4.0%} {_short(name)[:70]}", highlight=False, markup=False)


def print_profile(results: Iterable[Result]) -> None:
    """Print the dearest kernels of each variant's last graph, and what each would cost in int8."""
    measured = list(results)
    for result in measured:
        alike = [one.work[-1] for one in measured if one.target == result.target]
        table = Table(
            title=f"{result.target}, {result.variant}: dearest kernels of {escape(result.work[-1].graph)}",
            caption="million instructions; in int8: the same products at what the int8 kernels counted here\n"
            "need for one, without the cost of quantising between them; -: no such kernel was counted",
        )
        for heading in ("kernel", "instructions", "share", "in int8"):
            table.add_column(heading, justify="left" if heading == "kernel" else "right")
        for kernel in dearest(result.work[-1], alike):
            share = kernel.instructions / result.work[-1].instructions
            int8 = "-" if kernel.in_int8 is None else f"{kernel.in_int8 / 1e6:.1f}"
            table.add_row(
                escape(_short(kernel.name)), f"{kernel.instructions / 1e6:.1f}", f"{share:.1%}", int8
            )
        Console().print(table)


def _short(kernel: str) -> str:
    return kernel.removeprefix("xnn_").replace("_ukernel", "")


def _notes(results: Iterable[Result]) -> dict[str, list[str]]:
    """Gather the variants that a note concerns."""
    found: dict[str, list[str]] = {}
    for result in results:
        for note in result.notes:
            found.setdefault(note, []).append(result.variant)
    return found


def _rows(result: Result) -> Iterator[tuple[str, ...]]:
    stages = result.latency.stages if result.latency else ()
    names = dict(enumerate((result.variant, units_of(result))))
    for position, stage in enumerate(stages):
        yield (names.get(position, ""), stage_title(stage), *_times(stage))


def units_of(result: Result) -> str:
    """Return the compute units that a target's name ends with, empty where it names none."""
    return next((result.target.removeprefix(p) for p in (APPLE, APP) if result.target.startswith(p)), "")


def threads_text(result: Result) -> str:
    """Say on how many threads a result was made."""
    return counted(result.threads, "thread") if result.threads else "threads of its own choice"


def counted(count: int, noun: str) -> str:
    """Say how many there are of something, such as ``2 cores``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def stage_title(stage: Stage) -> str:
    """Name a stage for a reader; the report keeps the short names."""
    if stage.part == GRAPH:
        return f"  {stage.title}"
    return _TITLES.get(stage.name, stage.name) if stage.part == STEP else stage.name


def _times(stage: Stage) -> tuple[str, str, str]:
    summary = stage.summary
    return f"{summary.p50:.2f}", f"{summary.p90:.2f}", f"{summary.p99:.2f}"


def verdict_line(result: Result) -> str:
    """Say in one line whether the budget was kept, and on what."""
    kind = result.device.kind
    if result.latency and not result.latency.whole:
        return (
            f"{result.variant} {units_of(result) or result.target}: {result.verdict} of the whole way; all "
            f"models p90 {result.latency.longest.summary.p90:.1f} ms on this {kind}"
        )
    if result.reported:
        return f"{result.variant}: {result.verdict} of the whole way: {result.target} times each graph alone"
    if result.p90_ms is None:
        return f"{result.variant}: {result.verdict} of time: {kind} has none"
    p90 = f"p90 {result.p90_ms:.1f} ms"
    line = f"{result.variant}: under {BUDGET_MS:.0f} ms {result.verdict} on this {kind} ({p90})"
    return line if kind == ANDROID else f"{line}; a {kind} is not a phone"


def print_changes(changes: Iterable[Change]) -> None:
    """Print a comparison of two reports."""
    table = Table(title="after / before, with its 95 % interval")
    for heading in ("variant", "what", "before", "after", "ratio", "interval", ""):
        table.add_column(heading, justify="left" if heading in ("variant", "what", "") else "right")
    for change in changes:
        table.add_row(*map(escape, _change_row(change)))
    Console().print(table)


def _change_row(change: Change) -> tuple[str, ...]:
    form = "{:.2f}" if change.unit == MS else "{:,.0f}"
    ratio = change.ratio
    return (
        change.variant,
        change.what,
        form.format(change.before),
        form.format(change.after),
        f"{ratio.estimate:.3f}",
        f"{ratio.low:.2f}-{ratio.high:.2f}" if change.unit == MS else "exact",
        change.verdict if change.verdict != UNDECIDED else "",
    )


def print_estimates(found: Iterable[Estimate]) -> None:
    """Print what published times say, one row for each class of phone and precision."""
    estimates = list(found)
    table = Table(
        title=f"estimate: no phone was used; ms of the networks alone; claim = {CLAIM:g} x estimate",
        caption="CPU: threads; p90: error of nine in ten networks that the fit had not seen",
    )
    for heading in ("phones", "unit", "precision", "estimate", "p90", "claim", f"< {BUDGET_MS:.0f} ms"):
        table.add_column(heading, justify="right" if heading in ("estimate", "p90", "claim") else "left")
    for estimate in estimates:
        table.add_row(*map(escape, _estimate_row(estimate)))
    Console().print(table)
    for estimate in estimates:
        _print_bracket(estimate)


def _estimate_row(estimate: Estimate) -> tuple[str, ...]:
    group = estimate.group
    numbers = [
        "-" if value is None else f"{value:.1f}" for value in (estimate.estimate_ms, estimate.claim_ms)
    ]
    p90 = f"{estimate.fit.p90_error:.0%}"
    unit = group.unit.removesuffix(" threads")
    return (group.phones, unit, group.precision, numbers[0], p90, numbers[1], estimate.verdict)


def _print_bracket(estimate: Estimate) -> None:
    """Print the heavier networks of the group, or why there is no estimate."""
    group = estimate.group
    heavier = ", ".join(f"{network.network} {network.ms:g} ms" for network in estimate.bracket)
    text = f"as heavy or heavier: {heavier or 'none published'} ({group.source})"
    if estimate.refused:
        text = f"not estimated, {estimate.refused}; {text}"
    Console().print(f"{group.device}, {group.unit}, {group.precision}: {text}", highlight=False)
