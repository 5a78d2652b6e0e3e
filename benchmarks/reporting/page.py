"""A report as one HTML page that needs nothing else: no script, no font, no network."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
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
    is_estimate,
    read_result,
)

from .tables import REPORTED, reported_cells, stage_title, threads_text, verdict_line

_WIDTH, _ROW = 640, 22
# A plot: its labels to the left, the dots, a histogram to the right.
_LEFT, _PLOT, _SIDE = 70, 480, 80
_HEIGHT, _PAD, _BANDS = 120, 8, 20
_COLOURS = ("#4878a8", "#e49444", "#6a9f58", "#a87c9f", "#967662")
_STYLE = """
body { font: 15px/1.5 sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
table { border-collapse: collapse; margin: 1rem 0 }
td, th { padding: .15rem .7rem; border-bottom: 1px solid #ddd }
th { text-align: left }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums }
.kind { background: #eee; padding: 0 .4rem }
dt { font-weight: bold }
"""
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
    name = escape(bundle)
    meanings = "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in _MEANINGS.items())
    sections = [
        f"<h1>mien bench: {name}</h1><p>bundle {name} ({digest[:12]})</p>",
        _verdicts(results, estimates),
        *(_kind(kind, [r for r in results if r.device.kind == kind]) for kind in kinds),
        _estimates(estimates) if estimates else "",
        "<h2>How it was measured</h2>" if measured else "",
        *(_settings(report) for report in measured),
        f"<h2>What each number is</h2><dl>{meanings}</dl>",
    ]
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>mien bench: {name}</title>'
        f"<style>{_STYLE}</style></head>\n<body>" + "\n".join(sections) + "</body></html>\n"
    )


def _settings(report: Mapping[str, Any]) -> str:
    settings = report["settings"]
    kinds = ", ".join(dict.fromkeys(record["kind"] for record in report["results"]))
    facts = (
        f"{kinds}: input {settings['input']}, {settings['blocks']} processes of {settings['runs']} "
        f"runs after {settings['warmup']} to warm up; mien {report['mien']}"
    )
    return f"<p>{escape(facts)}</p>"


def _verdicts(results: Sequence[Result], estimates: Sequence[Mapping[str, Any]]) -> str:
    """List what is known about phones, at the top: it is what the page is for."""
    rows = [(v.phones, v.state, v.basis) for v in class_verdicts(results, estimates)]
    nothing = [("any phone", NO_EVIDENCE, "no phone was measured, nothing was estimated")]
    return f"<h2>Under {BUDGET_MS:.0f} ms on a phone?</h2>" + _words(
        ("phones", "", "because"), rows or nothing
    )


def _estimates(entries: Sequence[Mapping[str, Any]]) -> str:
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
    return (
        '<h2><span class="kind">estimate</span></h2><p>No phone was used: published times of other networks, '
        "by a fit; the error is that of nine in ten networks that the fit had not seen.</p>"
        + _table(headings, rows)
    )


def _kind(kind: str, results: Sequence[Result]) -> str:
    device = results[0].device
    about = f"{device.name}, {device.isa}, {device.cores} core(s), {device.system}, {device.runtime}"
    parts = [f'<h2><span class="kind">{escape(kind)}</span></h2><p>{escape(about)}</p>']
    parts += [_result(result) for result in results]
    return "\n".join(parts)


def _result(result: Result) -> str:
    parts = [f"<h3>{escape(result.variant)} on {escape(result.target)}, {threads_text(result)}</h3>"]
    parts.append(f"<p><strong>{escape(verdict_line(result))}</strong></p>")
    parts += [f"<p>{escape(text)}</p>" for text in (*result.failures, *result.notes)]
    if result.latency:
        parts += [_bars(result), _times(result), _distribution(result.latency.longest)]
        parts.append(
            f"<p>models loaded in {result.latency.load_ms[0]:.0f} ms, first run "
            f"{result.latency.first_ms[0]:.0f} ms</p>"
        )
    if result.reported:
        parts.append(_reported(result.reported))
    if result.conditions:
        parts.append(_trace(result.conditions))
    parts += [_work(work.graph, work.instructions, work.kernels) for work in result.work]
    parts.append(_parity(result))
    return "\n".join(parts)


def _bars(result: Result) -> str:
    """Draw the medians of the steps of one run as one bar."""
    steps = result.latency.chain[:-1] if result.latency else ()
    total = sum(step.summary.p50 for step in steps)
    left, shapes = 0.0, []
    for step, colour in zip(steps, _COLOURS, strict=False):
        width = _WIDTH * step.summary.p50 / max(total, 1e-9)
        label = f"{stage_title(step).strip()}: {step.summary.p50:.1f} ms"
        shapes.append(
            f'<rect x="{left:.1f}" y="0" width="{width:.1f}" height="{_ROW}" fill="{colour}">'
            f"<title>{escape(label)}</title></rect>"
        )
        left += width
    legend = " ".join(
        f'<span style="color:{colour}">&#9632;</span> {escape(stage_title(step).strip())}'
        for step, colour in zip(steps, _COLOURS, strict=False)
    )
    return f"{_svg(_ROW, shapes, 'median time of each step')}<p>{legend}</p>"


def _times(result: Result) -> str:
    stages = result.latency.stages if result.latency else ()
    rows = [
        (stage_title(s), *(f"{getattr(s.summary, name):.2f}" for name in ("p50", "p90", "p99", "mad")))
        for s in stages
    ]
    return _table(("stage, ms", "p50", "p90", "p99", "MAD"), rows)


def _reported(entries: Sequence[Reported]) -> str:
    rows = [(entry.graph, *reported_cells(entry)) for entry in entries]
    return _table(("graph, ms as the program reports", "n", *REPORTED), rows)


@dataclass(frozen=True)
class _Scale:
    """The vertical scale of a plot: ``low`` at its bottom, ``high`` at its top."""

    low: float
    high: float

    def y(self, value: float) -> float:
        """Return how far below the top of the picture a value stands."""
        return _PAD + _HEIGHT * (self.high - value) / max(self.high - self.low, 1e-9)

    def guide(self, label: str, value: float) -> str:
        """Draw a line across the plot at a value, with its label to the left."""
        y = self.y(value)
        return (
            f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end" font-size="11">{escape(label)}</text>'
            f'<line x1="{_LEFT}" y1="{y:.1f}" x2="{_LEFT + _PLOT}" y2="{y:.1f}" stroke="#ccc"/>'
        )

    def dots(self, values: Sequence[float], blocks: Sequence[int]) -> Iterator[str]:
        """Draw values in their order, a colour for each block."""
        step = _PLOT / max(len(values), 1)
        for position, (value, block) in enumerate(zip(values, blocks, strict=True)):
            x, colour = _LEFT + (position + 0.5) * step, _COLOURS[block % len(_COLOURS)]
            yield f'<circle cx="{x:.1f}" cy="{self.y(value):.1f}" r="2.5" fill="{colour}"/>'

    def histogram(self, values: Sequence[float]) -> Iterator[str]:
        """Draw to the right of the plot how many values lie in each of its bands."""
        width = max(self.high - self.low, 1e-9) / _BANDS
        counts = Counter(min(int((value - self.low) / width), _BANDS - 1) for value in values)
        for band, count in sorted(counts.items()):
            y, length = self.y(self.low + (band + 0.5) * width), _SIDE * count / max(counts.values())
            x = _LEFT + _PLOT + 10
            ends = f'x1="{x}" y1="{y:.1f}" x2="{x + length:.1f}" y2="{y:.1f}"'
            yield f'<line {ends} stroke="#888" stroke-width="{_HEIGHT / _BANDS - 1:.1f}"/>'


def _distribution(stage: Stage) -> str:
    """Draw every run as a dot in its order, a colour for each process, and how often each time was."""
    times = [time for block in stage.blocks for time in block]
    numbers = [number for number, block in enumerate(stage.blocks) for _ in block]
    scale, summary = _Scale(min(times), max(times)), stage.summary
    guides = {"p50": summary.p50, "p90": summary.p90}
    shapes = [
        scale.guide(f"{scale.high:.1f} ms", scale.high),
        scale.guide(f"{scale.low:.1f} ms", scale.low),
        *(scale.guide(name, value) for name, value in guides.items()),
        *scale.dots(times, numbers),
        *scale.histogram(times),
    ]
    caption = "every run in its order, a colour for each process; to the right how often each time was"
    return f"{_svg(_HEIGHT + 2 * _PAD, shapes, caption)}<p>{caption}</p>"


def _trace(conditions: Sequence[Condition]) -> str:
    """Draw the warmest sensor before and after every block, and list what else the phone said."""
    heat = [max(c.temperatures.values(), default=0.0) for c in conditions]
    # Below a span of five degrees the noise of a sensor would look like a trend.
    scale = _Scale(min(heat), max(*heat, min(heat) + 5))
    shapes = [
        scale.guide(f"{scale.high:.1f} C", scale.high),
        scale.guide(f"{scale.low:.1f} C", scale.low),
        *scale.dots(heat, [c.block for c in conditions]),
    ]
    caption = "heat and clock: the warmest sensor before and after every block"
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
    return f"{_svg(_HEIGHT + 2 * _PAD, shapes, caption)}<p>{caption}</p>{_table(headings, rows)}"


def _work(graph: str, instructions: int, kernels: Mapping[str, float]) -> str:
    rows = [(name, f"{share:.1%}", f"{share * instructions:,.0f}") for name, share in kernels.items()]
    rows.append(("all", "100.0%", f"{instructions:,}"))
    return _table((f"{graph}: kernel", "share", "instructions"), rows)


def _parity(result: Result) -> str:
    rows = [
        (p.name, f"{p.error:.3g}", f"{p.gate:g}", p.unit, "passed" if p.passed else "FAILED")
        for p in result.parity
    ]
    return _table(("result", "error", "gate", "unit", ""), rows) if rows else "<p>nothing to compare with</p>"


def _svg(height: int, shapes: Sequence[str], title: str) -> str:
    return (
        f'<svg role="img" aria-label="{escape(title)}" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" '
        f'height="{height}">{"".join(shapes)}</svg>'
    )


def _words(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Make a table of words, which stand to the left."""
    return _table(headings, rows).replace(" class=n", "")


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return f"<table>{''.join(_table_rows(headings, rows))}</table>"


def _table_rows(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    for tag, cells in (("th", headings), *(("td", row) for row in rows)):
        inside = [
            f"<{tag}{'' if position == 0 else ' class=n'}>{escape(cell)}</{tag}>"
            for position, cell in enumerate(cells)
        ]
        yield f"<tr>{''.join(inside)}</tr>"
