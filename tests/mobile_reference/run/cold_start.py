"""The first rating beside what nothing can do without: ``python -m tests.mobile_reference.run.cold_start``.

In turns, each in a process of its own: ``mien appraise`` of one photograph by the bundle that ships, and a
script that imports numpy and LiteRT and runs the same two models once. Prints both medians and their ratio,
by the clock and in processor seconds; the goal is a ratio of at most 1.6.
"""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import click

from mien.mobile_reference.bundle.reader import face_front, open_bundle
from mien.mobile_reference.bundle.shipped import shipped_bundle
from tests.commands import PROGRAMS

GOAL = 1.6
_LEAST = """
import sys
import numpy as np
from ai_edge_litert.interpreter import Interpreter
for file in sys.argv[1:]:
    model = Interpreter(file, num_threads=1)
    model.allocate_tensors()
    for given in model.get_input_details():
        model.set_tensor(given["index"], np.zeros(given["shape"], given["dtype"]))
    model.invoke()
    [model.get_tensor(made["index"]) for made in model.get_output_details()]
"""


def _timed(command: Sequence[str]) -> tuple[float, float]:
    """Run a program; returns seconds by the clock, and processor seconds."""
    before, begun = os.times(), time.monotonic()
    subprocess.run(command, check=True, capture_output=True)
    clock, after = time.monotonic() - begun, os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return clock, used


@click.command()
@click.option("--rounds", default=15, show_default=True, type=click.IntRange(3))
def cold_start(rounds: int) -> None:
    """Time first ratings and the least that they need, in turns."""
    bundle = open_bundle(shipped_bundle())
    variant = bundle.most_exact
    models = [*face_front(bundle.spec).models, *bundle.spec.served]
    photograph = bundle.goldens[0].source or Path()
    rated = [str(PROGRAMS / "mien"), "appraise", "--json", str(photograph)]
    least = [sys.executable, "-c", _LEAST, *(str(variant.files[model.name]) for model in models)]
    times = [(_timed(rated), _timed(least)) for _ in range(rounds)]
    for place, name in enumerate(("clock", "processor")):
        ours, theirs = (statistics.median(pair[who][place] for pair in times) for who in (0, 1))
        click.echo(
            f"{name:<10} {ours:.3f} s / {theirs:.3f} s = {ours / theirs:.2f} (goal {GOAL}, {rounds} rounds)"
        )


if __name__ == "__main__":
    cold_start()
