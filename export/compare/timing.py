"""How long models take beside each other on one thread of this host."""

import time
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from numpy.typing import NDArray

from mien.export.tflite.interpreter import Runner

_WARM_UP = 3
_ROUNDS = 21

Inputs = Sequence[NDArray[Any]]


def interleaved_ms(subjects: Mapping[str, tuple[Runner, Inputs]]) -> dict[str, float]:
    """Run all models in turn, round by round, and return the median of each in ms.

    Whatever else the machine does then falls on all of them alike.
    """
    times: dict[str, list[float]] = {name: [] for name in subjects}
    for number in range(_WARM_UP + _ROUNDS):
        for name, (runner, inputs) in subjects.items():
            start = time.perf_counter_ns()
            runner.run(inputs)
            if number >= _WARM_UP:
                times[name].append((time.perf_counter_ns() - start) / 1e6)
    return {name: median(taken) for name, taken in times.items()}
