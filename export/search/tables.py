"""What a search for precisions found, laid out for a terminal."""

from collections.abc import Iterator, Sequence

from rich.box import SIMPLE
from rich.console import Group
from rich.table import Table

from mien.export.tflite.precision import BYTES, Precision

from .search import Outcome, Trial


def search_table(variant: str, outcome: Outcome) -> Group:
    """List every block: what it was given, and what the other choice costs and gains.

    Cost is the root mean square and the largest score error in points when this block alone is so
    quantised; gain the bytes that are saved and the share of all multiplications that dot products would do.
    Of what gains nothing it says no more than what it would cost.
    """
    gainful = [trial for trial in outcome.trials if trial.gain > 0]
    total = sum({trial.block.name: trial.block.macs for trial in outcome.trials}.values()) or 1
    table = Table(title=f"{variant}: blocks in the order of gain for cost", box=SIMPLE, padding=(0, 1, 0, 0))
    for heading in ("block", "given", "tried", "cost", "worst", "- kB", "MAC %"):
        left = heading in ("block", "given", "tried")
        table.add_column(heading, justify="left" if left else "right", no_wrap=True)
    for trial in gainful:
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
    useless = _useless([trial for trial in outcome.trials if trial.gain <= 0])
    return Group(table, *useless, summary) if outcome.trials else Group(summary)


def _useless(trials: Sequence[Trial]) -> Iterator[str]:
    """Say by choice what it would cost where it gains nothing."""
    for choice in dict.fromkeys(trial.choice for trial in trials):
        costs = [trial.cost for trial in trials if trial.choice == choice]
        yield (
            f"{choice}: {len(costs)} blocks tried cost at most {max(costs):.3f} points each, and none gains: "
            "they would take longer than in float32"
        )
