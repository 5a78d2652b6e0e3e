"""What a search for precisions found, laid out for a terminal."""

from rich.box import SIMPLE
from rich.console import Group
from rich.table import Table

from .precision import BYTES, Precision
from .search import Outcome


def search_table(variant: str, outcome: Outcome) -> Group:
    """List every block: what it was given, and what the other choice costs and gains.

    Cost is the root mean square and the largest score error in points when this block alone is so
    quantised; gain the bytes that are saved and the share of all multiplications that dot products would do.
    """
    total = sum(trial.block.macs for trial in outcome.trials) or 1
    table = Table(title=f"{variant}: blocks in the order of gain for cost", box=SIMPLE, padding=(0, 1, 0, 0))
    for heading in ("block", "given", "tried", "cost", "worst", "- kB", "MAC %"):
        left = heading in ("block", "given", "tried")
        table.add_column(heading, justify="left" if left else "right", no_wrap=True)
    for trial in outcome.trials:
        saved = trial.block.weights * (BYTES[Precision.FLOAT32] - BYTES[trial.choice.precision])
        table.add_row(
            trial.block.name,
            str(outcome.assignment[trial.block.name].precision),
            str(trial.choice),
            f"{trial.cost:.3f}",
            f"{trial.worst:.3f}",
            f"{saved / 1e3:.1f}",
            f"{100 * trial.block.dense / total:.1f}",
        )
    summary = (
        f"{variant}: {outcome.bytes / 1e6:.2f} MB, {outcome.integer:.0%} of multiplications in int8, error "
        f"over the calibration faces: mean {outcome.mean:.3f}, worst {outcome.worst:.3f}, at most "
        f"{outcome.budget:g} points"
    )
    return Group(table, summary) if outcome.trials else Group(summary)
