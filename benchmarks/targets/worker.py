"""The process that measures on a host: one request on standard input, one answer on standard output.

Every block of a measurement is such a process of its own, so that neither the memory layout nor the
caches of one decide for all.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.benchmarks.pipeline import front_models, models_of_app
from mien.benchmarks.results.records import TOTAL
from mien.mobile_reference.bundle.reader import open_bundle
from mien.mobile_reference.contract import StageSpec
from mien.mobile_reference.errors import MienError
from mien.mobile_reference.front.photograph import read_photograph
from mien.mobile_reference.run.child import Limits, confine
from mien.mobile_reference.run.models import Arrays
from mien.mobile_reference.run.runner import BundleRunner, rating_of

Times = dict[str, list[float]]


class StopWatch:
    """Collects times in ms by name."""

    def __init__(self) -> None:
        self.times: Times = {}

    def __call__[T](self, name: str, step: Callable[[], T]) -> T:
        """Run a step and keep its time."""
        start = time.perf_counter_ns()
        result = step()
        self.times.setdefault(name, []).append((time.perf_counter_ns() - start) / 1e6)
        return result


def measure(request: dict[str, Any]) -> dict[str, Any]:
    """Measure one block; the request's keys are those of ``host.HostTarget``."""
    if request["cpus"]:
        os.sched_setaffinity(0, request["cpus"])
    bundle = open_bundle(Path(request["bundle"]))
    once = StopWatch()
    runner = BundleRunner(bundle, request["variant"], request["threads"])
    once("load", lambda: runner.load(models_of_app(bundle.spec)))
    photograph = Path(request["photograph"])
    rating = once("first", lambda: _appraise(runner, photograph, StopWatch()))
    chain = _repeat(request, lambda watch: _appraise(runner, photograph, watch))
    memory = _peak_memory()
    alone = [model for model in bundle.spec.models if model not in bundle.spec.served]
    runner.load(alone)
    known = _inputs_of_front(runner) | dict(runner.prepare(read_photograph(photograph)).inputs)
    return {
        "load": once.times["load"][0],
        "first": once.times["first"][0],
        "chain": chain,
        "graph": _repeat(request, lambda watch: _finish(runner, alone, known, watch)),
        "peak_memory_bytes": memory,
        "rating": rating,
    }


def _repeat(request: dict[str, Any], step: Callable[[StopWatch], object]) -> Times:
    for _ in range(request["warmup"]):
        step(StopWatch())
    watch = StopWatch()
    for _ in range(request["runs"]):
        step(watch)
    return watch.times


def _appraise(runner: BundleRunner, path: Path, watch: StopWatch) -> float:
    """Go from the encoded photograph to the rating."""

    def chain() -> float:
        photograph = watch("decode", lambda: read_photograph(path))
        inputs = watch("align", lambda: runner.prepare(photograph).inputs)
        return rating_of(runner.spec, _finish(runner, runner.spec.served, inputs, watch))

    return watch(TOTAL, chain)


def _finish(runner: BundleRunner, models: Sequence[StageSpec], known: Arrays, watch: StopWatch) -> Arrays:
    """Run models in their order, each fed by those before it, and keep the time of each."""
    found = dict(known)
    for model in models:
        found |= watch(model.name, partial(runner.run, model, found))
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
