"""Photographs in one process, beside another checkout: ``python -m tests.mobile_reference.run.throughput``.

Both rate the same photographs in turns, a few and many; what the many take longer is theirs alone. Prints
the processor milliseconds of each photograph, and the ratio; the goal is at most 1.05. The former has no
early exit, so that the full path stands beside what a user gets.
"""

import os
import shutil
import statistics
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import click

from tests.commands import PROGRAMS, ROOT

GOAL = 1.05
_FEW, _MANY = 8, 48
_PATH = click.Path(exists=True, path_type=Path)


def _seconds(command: Sequence[str]) -> float:
    """Run a program; returns its processor seconds."""
    before = os.times()
    subprocess.run(command, check=True, capture_output=True)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def _of_each(program: Sequence[str], photographs: Sequence[str]) -> float:
    many, few = (_seconds([*program, *photographs[:count]]) for count in (_MANY, _FEW))
    return (many - few) / (_MANY - _FEW) * 1000


@click.command()
@click.argument("bundle", type=_PATH)
@click.argument("former", type=_PATH)
@click.argument("former_bundle", type=_PATH)
@click.option("--rounds", default=5, show_default=True, type=click.IntRange(3))
def throughput(bundle: Path, former: Path, former_bundle: Path, rounds: int) -> None:
    """Time BUNDLE here, and FORMER_BUNDLE by the mien of the checkout FORMER."""
    here = [str(PROGRAMS / "mien"), "appraise", "--json", "--jobs", "1", "--bundle", str(bundle)]
    there = [str(former / ".venv/bin/mien"), "appraise", "--json", "--bundle", str(former_bundle)]
    samples = sorted((ROOT / "models/appraisal/samples").glob("nobody-0*.jpg"))
    with tempfile.TemporaryDirectory() as folder:
        copies = [Path(folder) / f"{number}.jpg" for number in range(_MANY)]
        for number, copy in enumerate(copies):
            shutil.copy(samples[number % len(samples)], copy)
        photographs = list(map(str, copies))
        programs = {"this": here, "its full path": [*here, "--full-path"], "former": there}
        measured = [
            {who: _of_each(program, photographs) for who, program in programs.items()} for _ in range(rounds)
        ]
    took = {who: statistics.median(one[who] for one in measured) for who in programs}
    for who in ("this", "its full path"):
        ratio = f"{took[who]:.1f} ms / {took['former']:.1f} ms = {took[who] / took['former']:.2f}"
        click.echo(f"{who}: {ratio} (goal {GOAL}, {len(samples)} photographs, {rounds} rounds)")


if __name__ == "__main__":
    throughput()
