"""What an export made, laid out for a terminal."""

from collections.abc import Mapping
from typing import Any

from rich.box import SIMPLE
from rich.table import Table

from mien.mobile_reference.contract import PipelineSpec
from mien.mobile_reference.metrics import METRICS, allowed

CHOSEN, LEFT_OUT = "take this one", "left out"


def variants_table(spec: PipelineSpec, manifest: Mapping[str, Any]) -> Table:
    """List every variant: what an app's models weigh, its largest error by the first gate, its share of int8.

    Marked is the variant of a platform that an app should take, and what was left out of the bundle.
    """
    gate = spec.rating
    error = f"{METRICS[gate.metric].label} of {gate.tensor}" if gate.metric in METRICS else gate.metric
    table = Table(title=f"{error}, worst of the golden inputs", box=SIMPLE, padding=(0, 1, 0, 0))
    for heading in ("variant", "MB", "error", "tolerance", "int8 %", ""):
        table.add_column(heading, justify="left" if heading in ("variant", "") else "right", no_wrap=True)
    chosen = set(manifest["choice"].values())
    for entry in manifest["variants"]:
        remark = CHOSEN if entry["name"] in chosen else ""
        table.add_row(*_cells(spec, entry), _share(entry["products_int8"]), remark)
    for entry in manifest["left_out"]:
        table.add_row(*_cells(spec, entry), "", LEFT_OUT)
    return table


def _cells(spec: PipelineSpec, entry: Mapping[str, Any]) -> tuple[str, str, str, str]:
    points, limit = entry["measured"]["points"], allowed(spec.rating, entry["name"])
    return (
        entry["name"],
        f"{entry['measured']['bytes'] / 1e6:.2f}",
        "NaN" if points is None else f"{points:.4g}",
        "" if limit is None else f"{limit:.4g}",
    )


def _share(products: float | None) -> str:
    return "" if products is None else f"{100 * products:.0f}"
