"""The process that measures on a host: one request on standard input, one answer on standard output.

Every block of a measurement is such a process of its own, so that neither the memory layout nor the
caches of one decide for all.
"""

import json
import math
import os
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.benchmarks.pipeline import Given, differences, first_given, front_models, models_behind
from mien.benchmarks.results.records import DECODE, FRONT, GRAPH, MODEL, STEP, sum_of
from mien.mobile_reference.bundle.reader import open_bundle
from mien.mobile_reference.contract import StageSpec
from mien.mobile_reference.errors import MienError
from mien.mobile_reference.front.photograph import read_photograph
from mien.mobile_reference.run.child import Limits, confine
from mien.mobile_reference.run.models import Arrays
from mien.mobile_reference.run.runner import BundleRunner

Times = dict[tuple[str, str], list[float]]
"""Times in ms by the part and the name of what was done."""


class StopWatch:
    """Collects times in ms by part and name."""

    def __init__(self) -> None:
        self.times: Times = {}

    def __call__[T](self, part: str, name: str, step: Callable[[], T]) -> T:
        """Do a step and keep its time."""
        start = time.perf_counter_ns()
        result = step()
        self.times.setdefault((part, name), []).append((time.perf_counter_ns() - start) / 1e6)
        return result


def measure(request: dict[str, Any]) -> dict[str, Any]:
    """Measure one block; the request's keys are those of ``host.HostTarget``."""
    if request["cpus"]:
        os.sched_setaffinity(0, request["cpus"])
    bundle = open_bundle(Path(request["bundle"]))
    photograph = request["photograph"]
    given = first_given(bundle, None if photograph is None else Path(photograph))
    once = StopWatch()
    runner = BundleRunner(bundle, request["variant"], request["threads"])
    once(STEP, "load", lambda: runner.load(models_behind(bundle.spec, given)))
    arrays = given.arrays
    outputs = once(STEP, "first", lambda: _whole_way(runner, given, arrays, StopWatch()))
    chain = _repeat(request, lambda watch: _whole_way(runner, given, arrays, watch))
    memory = _peak_memory()
    alone = [model for model in bundle.spec.models if model not in bundle.spec.served]
    runner.load(alone)
    inputs = arrays or runner.prepare(read_photograph(Path(photograph))).inputs
    known = _inputs_of_front(runner) | dict(inputs)
    graphs = _repeat(request, lambda watch: _run_in_turn(runner, alone, known, watch, GRAPH))
    return {
        "load": once.times[STEP, "load"][0],
        "first": once.times[STEP, "first"][0],
        "stages": [[*key, times] for key, times in (chain | graphs).items()],
        "peak_memory_bytes": memory,
        "differences": _finite(differences(given.golden, outputs)) if given.golden else None,
    }


def _finite(found: dict[str, float]) -> dict[str, float | None]:
    """Say null for what is not finite, for which JSON has no word."""
    return {name: value if math.isfinite(value) else None for name, value in found.items()}


def _repeat(request: dict[str, Any], step: Callable[[StopWatch], object]) -> Times:
    for _ in range(request["warmup"]):
        step(StopWatch())
    watch = StopWatch()
    for _ in range(request["runs"]):
        step(watch)
    return watch.times


def _whole_way(runner: BundleRunner, given: Given, arrays: Arrays, watch: StopWatch) -> Arrays:
    """Go from what is given, an encoded photograph or ``arrays``, to all outputs."""

    def chain() -> Arrays:
        inputs = arrays
        if path := given.photograph:
            photograph = watch(STEP, DECODE, lambda: read_photograph(path))
            inputs = watch(STEP, FRONT, lambda: runner.prepare(photograph).inputs)
        return _run_in_turn(runner, runner.spec.served, inputs, watch, MODEL)

    return watch(STEP, sum_of(given), chain)


def _run_in_turn(
    runner: BundleRunner, models: Sequence[StageSpec], known: Arrays, watch: StopWatch, part: str
) -> Arrays:
    """Run models in their order, each fed by those before it, and keep the time of each."""
    found = dict(known)
    for model in models:
        found |= watch(part, model.name, partial(runner.run, model, found))
    return found


def _inputs_of_front(runner: BundleRunner) -> dict[str, NDArray[Any]]:
    """Make black pictures for the models of the front, whose work does not depend on what they show."""
    names = tuple(name for model in front_models(runner.spec) for name in model.inputs)
    return {t.name: np.zeros(t.shape, t.dtype) for t in runner.spec.tensors_of(names)}


def _peak_memory() -> int:
    """Return the largest resident size of this process so far, in bytes; 0 where it is not known."""
    try:
        import resource
    except ImportError:  # Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def main() -> None:
    """Answer one request; an error that the user can mend is an answer too."""
    confine(Limits(seconds=0))
    try:
        answer = measure(json.load(sys.stdin))
    except MienError as error:
        answer = {"error": str(error)}
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
