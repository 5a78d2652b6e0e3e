"""The target ``host``: this machine, through LiteRT's CPU kernels, one process a block."""

import json
import math
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mien.benchmarks.errors import TargetError
from mien.benchmarks.pipeline import judged_limits, unit_of, unjudged_note, worst
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
from mien.mobile_reference.output.text import shown
from mien.mobile_reference.report.steps import Part
from mien.mobile_reference.run.child import how_ended

_TIME_LIMIT_S = 900
_BUSY = 0.5


class HostTarget:
    """Measures on this machine. ``progress`` hears of every process that is started."""

    def __init__(self, progress: Callable[[Part], None]) -> None:
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
            parity=tuple(gate_parity(spec, [_read_differences(answer) for answer in answers])),
            notes=(*notes, *unjudged_notes(spec), *stability_notes(stages)),
        )

    def _blocks(self, spec: BenchSpec) -> Iterator[dict[str, Any]]:
        for block in range(spec.blocks):
            text = f"{spec.variant}: process {block + 1} of {spec.blocks}"
            self._progress(Part(text, block, spec.blocks))
            yield _ask(
                {
                    "bundle": str(spec.bundle.path),
                    "variant": spec.variant,
                    "photograph": spec.given.photograph and str(spec.given.photograph),
                    "threads": spec.threads,
                    "warmup": spec.warmup,
                    "runs": spec.runs,
                    "cpus": list(spec.cpus),
                }
            )


def gate_parity(spec: BenchSpec, found: Sequence[Mapping[str, float]]) -> Iterator[Parity]:
    """Hold the gates to what the measured runs gave, where the input has float values.

    Args:
        spec: What was measured.
        found: For each run the largest difference of its tensors, as ``pipeline.differences`` says.
    """
    pipeline, golden = spec.bundle.spec, spec.given.golden
    if golden is None:
        return
    for name, limit in judged_limits(pipeline, spec.variant).items():
        tensor = pipeline.tensor(name)
        error = worst([differences.get(tensor.name, math.inf) for differences in found])
        yield Parity(f"{tensor.name} of {golden.name}", error, limit, unit_of(tensor))


def unjudged_notes(spec: BenchSpec) -> Iterator[str]:
    """Say what no measured run was held to."""
    if spec.given.golden:
        yield from unjudged_note(spec.bundle.spec, spec.variant)
    else:
        yield "nothing was judged: the float pipeline has not seen this photograph"


def _read_differences(answer: Mapping[str, Any]) -> dict[str, float]:
    found = answer["differences"] or {}
    return {name: math.inf if value is None else value for name, value in found.items()}


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
        last = shown((done.stderr.strip().splitlines() or ["it said nothing"])[-1])
        how = how_ended(done.returncode)
        raise TargetError(f"the measuring process was ended by {how}: {last}; run 'mien verify' first")
    answer: dict[str, Any] = json.loads(done.stdout)
    if "error" in answer:
        raise TargetError(answer["error"])
    return answer


def _stages(answers: list[dict[str, Any]]) -> Iterator[Stage]:
    times = [{(part, name): tuple(runs) for part, name, runs in answer["stages"]} for answer in answers]
    for part, name in times[0]:
        yield Stage(part, name, tuple(block[part, name] for block in times))


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
