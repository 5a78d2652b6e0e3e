"""The target ``host``: this machine, through LiteRT's CPU kernels, one process a block."""

import json
import math
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mien.benchmarks.errors import TargetError
from mien.benchmarks.pipeline import unit_of
from mien.benchmarks.results.records import (
    HOST,
    BenchSpec,
    Device,
    Latency,
    Parity,
    Result,
    Stage,
    stability_notes,
)

_TIME_LIMIT_S = 900
_BUSY = 0.5


class HostTarget:
    """Measures on this machine. ``progress`` hears of every process that is started."""

    def __init__(self, progress: Callable[[str], None]) -> None:
        self._progress = progress

    def probe(self) -> Device:
        """Describe this machine."""
        return Device(
            kind=HOST,
            name=_processor(),
            isa=platform.machine(),
            cores=os.cpu_count() or 1,
            system=f"{platform.system()} {platform.release()}",
            runtime=f"ai-edge-litert {version('ai-edge-litert')}",
        )

    def run(self, spec: BenchSpec) -> Result:
        """Measure a variant.

        Raises:
            TargetError: the measuring process failed or took too long.
        """
        notes = _load_notes()
        answers = list(self._blocks(spec))
        stages = tuple(_stages(answers))
        latency = Latency(
            stages=stages,
            load_ms=tuple(answer["load"] for answer in answers),
            first_ms=tuple(answer["first"] for answer in answers),
            peak_memory_bytes=max(answer["peak_memory_bytes"] for answer in answers),
        )
        return Result(
            target=HOST,
            variant=spec.variant,
            device=self.probe(),
            threads=spec.threads,
            latency=latency,
            parity=tuple(score_parity(spec, [answer["rating"] for answer in answers])),
            notes=(*notes, *stability_notes(stages)),
        )

    def _blocks(self, spec: BenchSpec) -> Iterator[dict[str, Any]]:
        for block in range(spec.blocks):
            self._progress(f"{spec.variant}: process {block + 1} of {spec.blocks}")
            yield _ask(
                {
                    "bundle": str(spec.bundle.path),
                    "variant": spec.variant,
                    "photograph": str(spec.photograph),
                    "threads": spec.threads,
                    "warmup": spec.warmup,
                    "runs": spec.runs,
                    "cpus": list(spec.cpus),
                }
            )


def score_parity(spec: BenchSpec, scores: list[float]) -> Iterator[Parity]:
    """Compare the scores of the measured runs with the float score, where the photograph has one."""
    rating = spec.bundle.spec.tensor(spec.bundle.spec.rating.tensor)
    for golden in spec.bundle.goldens:
        if golden.source == spec.photograph:
            # Not max alone, which loses a score that is not a number behind one that is.
            errors = [abs(score - golden.rating) for score in scores]
            error = max(errors) if all(map(math.isfinite, errors)) else math.inf
            tolerance = spec.bundle.variant(spec.variant).tolerance
            yield Parity(f"{rating.name} of {golden.name}", error, tolerance, unit_of(rating))


def _ask(request: Mapping[str, Any]) -> dict[str, Any]:
    """Run one measuring process."""
    # -P keeps the folder that the user happens to be in off the import path.
    command = [sys.executable, "-P", "-m", f"{__package__}.worker"]
    try:
        done = subprocess.run(  # noqa: S603 - our own module
            command,
            input=json.dumps(request),
            capture_output=True,
            text=True,
            timeout=_TIME_LIMIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise TargetError(
            f"the measuring process did not finish within {_TIME_LIMIT_S} s; give fewer --runs"
        ) from error
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise TargetError(
            f"the measuring process ended with {done.returncode}: {last}; run 'mien verify' first"
        )
    answer: dict[str, Any] = json.loads(done.stdout)
    if "error" in answer:
        raise TargetError(answer["error"])
    return answer


def _stages(answers: list[dict[str, Any]]) -> Iterator[Stage]:
    for part in ("chain", "graph"):
        for name in answers[0][part]:
            yield Stage(part, name, tuple(tuple(answer[part][name]) for answer in answers))


def _load_notes() -> tuple[str, ...]:
    """Say when others use the machine: their work is in the times."""
    if not hasattr(os, "getloadavg"):
        return ()
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    if load <= _BUSY * cores:
        return ()
    return (f"busy before the first run: load {load:.1f} on {cores} cores",)


def _processor() -> str:
    """Name the processor as the system does."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(errors="replace").splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
