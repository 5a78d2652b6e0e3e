"""The first rating beside what nothing can do without: ``python -m tests.mobile_reference.run.cold_start``.

In turns, each in a process of its own: ``mien appraise`` of one photograph by the bundle that ships, and a
script that imports numpy and LiteRT and runs the same two models once. Prints both medians and their ratio,
by the clock and in processor seconds; the goal is a ratio of at most 1.6. Modules are compiled before, as pip
leaves them.
"""

import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

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


def _timed(command: Sequence[str], environment: Mapping[str, str]) -> tuple[float, float]:
    """Run a program; returns seconds by the clock, and processor seconds."""
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run(command, check=True, capture_output=True, env=environment)
    clock, after = time.monotonic() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
    return clock, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


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
    with TemporaryDirectory() as compiled:
        environment = os.environ | {"PYTHONPYCACHEPREFIX": compiled, "PYTHONDONTWRITEBYTECODE": ""}
        turns = ((_timed(rated, environment), _timed(least, environment)) for _ in range(1 + rounds))
        times = list(turns)[1:]  # the first compiles
    for place, name in enumerate(("clock", "processor")):
        ours, theirs = (statistics.median(pair[who][place] for pair in times) for who in (0, 1))
        click.echo(
            f"{name:<10} {ours:.3f} s / {theirs:.3f} s = {ours / theirs:.2f} (goal {GOAL}, {rounds} rounds)"
        )


if __name__ == "__main__":
    cold_start()
