"""What `make demo` prints at its end: one table of a bundle's scores, parity and times.

``python -m mien.benchmarks.reporting.summary DEMO`` reads what the commands before it left in the folder
``DEMO``.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from mien.benchmarks.results.records import STEP, TOTAL, read_report
from mien.mobile_reference.bundle.reader import Variant, open_bundle, size_of
from mien.mobile_reference.commands.console import run
from mien.mobile_reference.contract import GateSpec

PARTS = ("bundle", "appraisals", "parity.json", "bench.json")


def parity_cells(variant: Variant, rating: GateSpec, results: list[Mapping[str, Any]]) -> tuple[str, str]:
    """Return the worst error by the first gate against its tolerance, and the verdict of all gates."""
    own = [result for result in results if result["variant"] == variant.name]
    errors = [r["error"] for r in own if (r["tensor"], r["metric"]) == (rating.tensor, rating.metric)]
    worst = math.nan if None in errors else max(errors)
    verdict = "FAILED" if any(result["passed"] is False for result in own) else "passed"
    return f"{worst:.3f} of {variant.tolerance:g}", verdict


def time_cell(variant: Variant, results: list[Mapping[str, Any]]) -> str:
    """Return median and 90th percentile from photograph to score, or why there is none."""
    for result in results:
        if result["variant"] == variant.name:
            steps = [s for s in result["latency"]["stages"] if (s["part"], s["name"]) == (STEP, TOTAL)]
            summary = steps[0]["summary"]
            return f"{summary['p50']:.0f} / {summary['p90']:.0f}"
    return "needs a Mac"


@click.command()
@click.argument("demo", type=click.Path(path_type=Path, exists=True))
def main(demo: Path) -> None:
    """Print one table of what lies in DEMO, and where it lies."""
    bundle = open_bundle(demo / "bundle")
    parity = json.loads((demo / "parity.json").read_text())["results"]
    times = read_report(demo / "bench.json")["results"]
    photographs = [
        json.loads(line) for line in (demo / "appraisals/appraisals.jsonl").read_text().splitlines()
    ]
    scores = ", ".join(
        f"{Path(p['photo']).stem.removeprefix('nobody-')} {p['score']:.0f}" for p in photographs
    )
    table = Table(title="the bundle against the float pipeline; times of this host, not of a phone")
    for heading in ("variant", "end-to-end MB", "worst score error", "parity", "ms p50 / p90"):
        table.add_column(heading, justify="left" if heading == "variant" else "right")
    for variant in bundle.variants:
        cells = (*parity_cells(variant, bundle.spec.rating, parity), time_cell(variant, times))
        size = sum(size_of(variant.files[model.name]) for model in bundle.spec.served)
        table.add_row(variant.name, f"{size / 1e6:.1f}", *cells)
    console = Console()
    console.print(table)
    console.print(f"scores of the samples, 100 is typical: {scores}")
    chosen = " and ".join(bundle.manifest.get("choice", {}).values())
    console.print(f"smallest that keep to a third of their gates: {chosen}")
    console.print("Core ML was executed by mien's evaluator; not validated on Apple hardware.")
    console.print("made: " + " ".join(str(demo / part) for part in PARTS))


if __name__ == "__main__":
    run(main)
