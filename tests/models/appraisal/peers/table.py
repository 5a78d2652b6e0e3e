"""Puts mien and its peers into one table, all judged by the code of ``mien evaluate``.

    python -m tests.models.appraisal.peers.table PORTRAITS WORK [--checkpoint CHECKPOINT]

The ratings of the peers are read from WORK; mien rates now. All are timed now, by turns, on one thread.
"""

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import torch
from torch import Tensor, nn

from mien.models.appraisal.checkpoint import REFERENCE, load_checkpoint
from mien.models.appraisal.evaluation.evaluate import Request, carry_out
from mien.models.appraisal.evaluation.evaluation import UNTOUCHED
from mien.models.appraisal.evaluation.evaluation_report import CAVEAT, Report
from mien.models.appraisal.evaluation.figures import AT_LEAST_STRONG, POOLED, Key
from mien.models.appraisal.evaluation.peers import FACES
from mien.models.appraisal.evaluation.statistics import Interval
from tests.markdown import markdown_table
from tests.models.appraisal.peers.models import PEERS
from tests.models.appraisal.peers.train import NOTES

MIEN = "mien"
ROUNDS = 15
FIGURES = (
    ("cleft, r", "pearson", "cleft", "", 3),
    ("all kinds, r", "pearson", POOLED, "", 3),
    ("cleft, Spearman", "spearman", "cleft", "", 3),
    ("all kinds, Spearman", "spearman", POOLED, "", 3),
    ("image AUROC at severity 0.25", "image_auroc", POOLED, "0.25", 3),
    ("at 0.5", "image_auroc", POOLED, "0.5", 3),
    ("at 0.75", "image_auroc", POOLED, "0.75", 3),
    ("at 1", "image_auroc", POOLED, "1", 3),
    ("at 0.5 and more", "image_auroc", POOLED, AT_LEAST_STRONG, 3),
    ("pixel AUROC, frame", "pixel_auroc", POOLED, "frame", 3),
    ("pixel AUROC, face region", "pixel_auroc", POOLED, "region", 3),
    ("PRO, frame", "pro", POOLED, "frame", 3),
    ("PRO, face region", "pro", POOLED, "region", 3),
    ("untouched, median score", "untouched_median", UNTOUCHED, "", 1),
    ("untouched, 5th percentile", "untouched_p5", UNTOUCHED, "", 1),
)
"""Heading, measure, kind, at what, and decimals."""
INTERVALS = (FIGURES[0], FIGURES[1], FIGURES[3], FIGURES[8], FIGURES[10])
Row = Sequence[str]


@dataclass(frozen=True)
class Cost:
    """Float32 weights and buffers in 10^6 bytes, and the median milliseconds from aligned face to score."""

    megabytes: float
    milliseconds: float


@dataclass(frozen=True)
class Column:
    """One rater's report, and what it costs."""

    title: str
    report: Report
    cost: Cost

    def value(self, measure: str, kind: str, at: str) -> Interval:
        """Return a figure of the final stage."""
        return self.report.values[Key(measure, self.report.final, kind, at)]


def rater_networks(work: Path, checkpoint: Path, names: Sequence[str]) -> dict[str, nn.Module]:
    """Load mien and the peers; each takes a face [1, 3, 256, 256] in 0..1."""
    found: dict[str, nn.Module] = {MIEN: _FromUnit(load_checkpoint(checkpoint).appraisal)}
    for name in names:
        found[name] = PEERS[name].make().model
        found[name].load_state_dict(torch.load(work / f"{name}.weights", weights_only=True))
    return {name: net.eval() for name, net in found.items()}


class _FromUnit(nn.Module):
    """Takes a face in 0..1 to a network that wants 0..255."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, face: Tensor) -> object:
        return self.net(face * 255)


@torch.inference_mode()
def costs(networks: Mapping[str, nn.Module], face: Tensor) -> dict[str, Cost]:
    """Time the networks by turns, so that a busy host is busy for all of them."""
    spent: dict[str, list[float]] = {name: [] for name in networks}
    for _ in range(ROUNDS + 1):
        for name, net in networks.items():
            started = time.perf_counter()
            net(face)
            spent[name].append(time.perf_counter() - started)
    return {
        name: Cost(
            sum(tensor.numel() * tensor.element_size() for tensor in net.state_dict().values()) / 1e6,
            1000 * float(np.median(spent[name][1:])),  # the first call warms up
        )
        for name, net in networks.items()
    }


def markdown(columns: Sequence[Column]) -> str:
    """Lay the raters out side by side, and then the intervals of some figures."""
    titles = [column.title for column in columns]
    rows = [
        (heading, *(f"{column.value(measure, kind, at).estimate:.{decimals}f}" for column in columns))
        for heading, measure, kind, at, decimals in FIGURES
    ]
    rows.append(("MB of weights", *(f"{column.cost.megabytes:.1f}" for column in columns)))
    rows.append(("ms for a face, one thread", *(f"{column.cost.milliseconds:.0f}" for column in columns)))
    headings = ["", *(heading for heading, *_ in INTERVALS)]
    spans = [
        (column.title, *(_span(column.value(measure, kind, at)) for _, measure, kind, at, _ in INTERVALS))
        for column in columns
    ]
    figures, intervals = markdown_table(["figure", *titles], rows), markdown_table(headings, spans)
    return f"{figures}\n\n95 % intervals over people:\n\n{intervals}"


def _span(value: Interval) -> str:
    return f"{value.low:.2f}..{value.high:.2f}"


def main() -> None:
    """Judge all raters and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("portraits", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--checkpoint", type=Path, default=REFERENCE)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    notes = {
        file.parent: json.loads(file.read_text("utf-8")) for file in sorted(asked.work.glob(f"*/{NOTES}"))
    }
    if not notes:
        parser.error(f"{asked.work} holds no ratings; run tests.models.appraisal.peers.train first")
    ordered = sorted(notes, key=lambda folder: (list(PEERS).index(notes[folder]["name"]), folder.name))
    networks = rater_networks(asked.work, asked.checkpoint, sorted({note["name"] for note in notes.values()}))
    face = torch.from_numpy(np.load(ordered[0] / FACES, mmap_mode="r")[0].copy())
    paid = costs(networks, face.permute(2, 0, 1)[None].float() / 255)
    columns = [Column(MIEN, _judge(asked.portraits, asked.checkpoint, None), paid[MIEN])]
    for folder in ordered:
        note = notes[folder]
        report = _judge(asked.portraits, asked.checkpoint, folder)
        columns.append(Column(f"{note['title']}, {note['area']}", report, paid[note["name"]]))
    click.echo(markdown(columns))
    click.echo("\nTraining: " + "; ".join(_training(notes[folder]) for folder in ordered[::2]) + ".")
    click.echo(CAVEAT)


def _judge(portraits: Path, checkpoint: Path, ratings: Path | None) -> Report:
    click.echo(f"judging {ratings or checkpoint}", err=True)
    return carry_out(Request(portraits, checkpoint, rated=ratings), lambda *_: None)[0]


def _training(note: Mapping[str, str | float]) -> str:
    return (
        f"{note['title']} {note['steps']} steps of batch {note['batch']}, "
        f"{note['seconds'] / 60:.0f} minutes of one processor"
    )


if __name__ == "__main__":
    main()
