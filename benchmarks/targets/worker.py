"""The process that measures on a host: one request on standard input, one answer on standard output.

Every block of a measurement is such a process of its own, so that neither the memory layout nor the
caches of one decide for all.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.benchmarks.results.records import TOTAL
from mien.mobile_reference.bundle.reader import APPRAISAL, GRAPHS, Bundle, Variant, open_bundle
from mien.mobile_reference.errors import MienError
from mien.mobile_reference.front.photograph import read_photograph
from mien.mobile_reference.run.models import load_graph
from mien.mobile_reference.run.runner import BundleAppraiser

Times = dict[str, list[float]]
Arrays = dict[str, NDArray[Any]]


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
    appraiser = once("load", lambda: BundleAppraiser(bundle, request["variant"], request["threads"]))
    photograph = Path(request["photograph"])
    score = once("first", lambda: _appraise(appraiser, photograph, StopWatch()))
    chain = _repeat(request, lambda watch: _appraise(appraiser, photograph, watch))
    memory = _peak_memory()
    stages = _Stages(bundle, bundle.variant(request["variant"]), request["threads"])
    face = appraiser.align(read_photograph(photograph)).pixels
    return {
        "load": once.times["load"][0],
        "first": once.times["first"][0],
        "chain": chain,
        "graph": _repeat(request, lambda watch: stages.run(face, watch)),
        "peak_memory_bytes": memory,
        "score": score,
    }


def _repeat(request: dict[str, Any], step: Callable[[StopWatch], object]) -> Times:
    for _ in range(request["warmup"]):
        step(StopWatch())
    watch = StopWatch()
    for _ in range(request["runs"]):
        step(watch)
    return watch.times


def _appraise(appraiser: BundleAppraiser, path: Path, watch: StopWatch) -> float:
    """Go from the encoded photograph to the score."""

    def chain() -> float:
        photograph = watch("decode", lambda: read_photograph(path))
        face = watch("align", lambda: appraiser.align(photograph).pixels)
        return float(watch("appraisal", lambda: appraiser.rate(face))["score"][0])

    return watch(TOTAL, chain)


class _Stages:
    """The separate graphs of a variant, those that it has."""

    def __init__(self, bundle: Bundle, variant: Variant, threads: int) -> None:
        names = [name for name in GRAPHS if name in variant.files and name != APPRAISAL]
        self._specs = bundle.graphs
        self._graphs = {name: load_graph(bundle, variant, name, threads) for name in names}
        size = bundle.alignment.detector_size
        self._picture = np.zeros((1, size, size, 3), np.uint8)

    def run(self, face: NDArray[np.uint8], watch: StopWatch) -> None:
        """Run each graph once, fed by those before it."""
        known: Arrays = {"face": face[None], "picture": self._picture}
        for name, inputs in self._ready(known):
            known |= watch(name, lambda name=name, inputs=inputs: self._graphs[name](inputs))  # type: ignore[misc]

    def _ready(self, known: Arrays) -> Iterator[tuple[str, Arrays]]:
        for name in self._graphs:
            yield name, {tensor.name: known[tensor.name] for tensor in self._specs[name].inputs}


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
    try:
        answer = measure(json.load(sys.stdin))
    except MienError as error:
        answer = {"error": str(error)}
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
