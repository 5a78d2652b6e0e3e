"""The second runner on a phone: LiteRT's own ``benchmark_model``, which the user has got from there.

It reaches what mien's runner cannot: a GPU or an NPU. It times one graph alone on random inputs and tells
sums, no single run; so there is no 90th percentile in it, no result to judge, and no verdict.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mien.benchmarks.errors import DeviceError
from mien.benchmarks.phone.session import FOLDER, PhoneCommand, Session, thermal_notes
from mien.benchmarks.pipeline import models_of_app
from mien.benchmarks.programs import Answer
from mien.benchmarks.results.records import (
    ANDROID,
    UNSTABLE,
    UNSTABLE_NOTE,
    BenchSpec,
    Device,
    Reported,
    Result,
)

from .android import tflite_variant

PROGRAM = "benchmark_model"
CPU = "cpu"
_HERE = "."
# The flags of each unit; the NPU's are of LiteRT's program, NNAPI's of TensorFlow Lite's older one.
UNITS: Mapping[str, tuple[str, ...]] = {
    CPU: (),
    "gpu": ("--use_gpu=true",),
    "npu": (
        "--use_npu=true",
        f"--dispatch_library_path={_HERE}",
        f"--compiler_plugin_library_path={_HERE}",
    ),
    "nnapi": ("--use_nnapi=true",),
}
UNKNOWN = "unknown"
"""The unit of times of which the program did not say what made them."""
# Who took nodes of the graph, as LiteRT and the delegates call themselves, by the unit that it is.
_DELEGATES: Mapping[str, re.Pattern[str]] = {
    "gpu": re.compile(r"gpu|opencl|opengl|vulkan|webgpu|litert_cl|litert_gl", re.IGNORECASE),
    "npu": re.compile(r"npu|dispatch|qnn|neuron|hexagon", re.IGNORECASE),
    "nnapi": re.compile(r"nnapi", re.IGNORECASE),
}
# A word is looked at from its beginning alone: a program may say one of a megabyte.
_NUMBER = r"\d+(?:\.\d+)?(?:e[+-]?\d+)?(?![\w.])"
_RUNS = re.compile(r"\bcount=\d+\b.*")
_FIELD = re.compile(rf"\b(\w+)=({_NUMBER})")
# One run, or runs that all took as long, are told by the last of them alone.
_ALL_SAME = re.compile(rf"\bcount=(?:1\s+curr=({_NUMBER})|\d+\s+curr=({_NUMBER})\(all same\))\s*$")
_ONCE = re.compile(rf"(Init|First inference): ({_NUMBER})")
# LiteRT 2 tells the same in milliseconds.
_ONCE_MS = re.compile(rf"(Model initialization|Warmup \(first\)):\s+({_NUMBER}) ms")
_MS_NAMES = {"Model initialization": "Init", "Warmup (first)": "First inference"}
_APPLIED = re.compile(r"applied (.{1,200}?) delegate, and the model graph will be (\w+) executed")
_REFUSED = re.compile(r"(?<!\S)(\S+) delegate is explicitly applied, the model graph will not be executed")
_REPLACED = re.compile(r"Replacing (\d+) out of (\d+) node\(s\) with delegate \(([^)]*)\)")
_NOT_LOADED = re.compile(r"\b(\w+) accelerator could not be loaded")
_AVERAGE = "avg"
_MOST_US = 1e12


@dataclass(frozen=True)
class Taken:
    """What a process says of who ran the graph: ``unit``, or ``UNKNOWN``, and how much of it."""

    unit: str
    note: str = ""


class BenchmarkModelTarget:
    """Lets ``benchmark_model`` time the graphs of an app on one unit of a phone.

    ``program`` lies in a folder with the libraries (``*.so``) that it needs for the unit; they go along.
    """

    def __init__(self, session: Session, program: Path, unit: str) -> None:
        self._session = session
        self._program = program
        self._unit = unit

    def probe(self) -> Device:
        """Describe the phone."""
        return replace(self._session.phone.device, runtime=f"{self._program.name} of the user")

    def run(self, spec: BenchSpec) -> Result:
        """Measure each graph in processes of its own, heat before and after.

        Raises:
            DeviceError: the program failed, hung, or does not report as ``benchmark_model`` does.
        """
        variant = tflite_variant(spec.bundle, spec.variant)
        names = [model.name for model in models_of_app(spec.bundle.spec)]
        files = {
            PROGRAM: [self._program, *sorted(self._program.parent.glob("*.so"))],
            spec.variant: [variant.files[name] for name in names],
        }
        self._session.install(spec.variant, files, [f"{PROGRAM}/{self._program.name}"])
        graphs = [name for name in names for _ in range(spec.blocks)]
        jobs = [
            PhoneCommand(f"{spec.variant} {graph}", f"{FOLDER}/{PROGRAM}", list(self._words(spec, graph)))
            for graph in graphs
        ]
        measured = self._session.measure(jobs, self._read)
        unit = _common_unit([taken for _, taken in measured.answers])
        reported = tuple(_by_graph(graphs, [times for times, _ in measured.answers], unit))
        said = dict.fromkeys(taken.note for _, taken in measured.answers if taken.note)
        return Result(
            target=f"{ANDROID}-{PROGRAM}-{unit}",
            variant=spec.variant,
            device=self.probe(),
            threads=spec.threads if self._unit == CPU else None,
            latency=None,
            parity=(),
            notes=(
                "random inputs, outputs not looked at: no evidence that the answers are right",
                *said,
                *thermal_notes(measured.trace),
                *_spread_notes(reported),
            ),
            conditions=measured.trace,
            missing=measured.missing,
            reported=reported,
        )

    def _words(self, spec: BenchSpec, graph: str) -> Iterator[str]:
        mode, model = self._session.mode, spec.bundle.variant(spec.variant).files[graph].name
        # Set for this command alone, by the shell; the second is where Qualcomm's NPU looks.
        yield from (f"LD_LIBRARY_PATH={_HERE}", f"ADSP_LIBRARY_PATH={_HERE}")
        yield f"./{self._program.name}"
        yield from (f"--graph=../{spec.variant}/{model}", f"--num_threads={spec.threads}")
        yield from (f"--warmup_runs={spec.warmup}", f"--num_runs={spec.runs}")
        # It ends itself then, so that nothing goes on running when the cable is pulled.
        yield from (f"--min_secs={mode.seconds}", f"--max_secs={mode.limit}")
        yield from UNITS[self._unit]

    def _read(self, job: PhoneCommand, answer: Answer) -> tuple[Mapping[str, float], Taken]:
        """Return the times of one process, and what it says of who ran the graph."""
        text = f"{answer.out}\n{answer.err}"
        if answer.code:
            raise DeviceError(
                f"{job.name}: {self._program.name} ended with {answer.code} on the phone: {answer.last}; "
                "look at its flags and libraries"
            )
        times = read_times(text)
        if not 0 < times.get(_AVERAGE, 0) <= _MOST_US:
            raise DeviceError(
                f"{job.name}: {self._program.name} printed no line 'count=... avg=...' with a time in it; "
                "give LiteRT's program"
            )
        taken = read_unit(text, self._unit)
        if taken is None:
            raise DeviceError(f"{job.name}: the {self._unit} took nothing of the graph; it ran on the CPU")
        return times, taken


def read_times(text: str) -> dict[str, float]:
    """Read what ``benchmark_model`` printed, in microseconds.

    The keys are its own, whichever it prints: ``count``, ``min``, ``max``, ``avg`` and ``std``, in newer
    releases ``median`` and ``p95``; ``Init`` and ``First inference`` come from its last line, or in
    milliseconds from the block of results of LiteRT 2. Of several ``count=`` lines the last is the
    measurement, those before it are the warm-up. A line of one run, or of equal ones, has ``curr`` alone,
    which then is each of the others. What is not a finite number of at least 0 is left out.
    """
    lines = _RUNS.findall(text)
    times = {name: float(value) for name, value in _FIELD.findall(lines[-1])} if lines else {}
    if lines and (same := _ALL_SAME.search(lines[-1])):
        times |= dict.fromkeys(("curr", "min", "max", _AVERAGE), float(same[1] or same[2]))
    times |= {_MS_NAMES[name]: 1000 * float(value) for name, value in _ONCE_MS.findall(text)}
    times |= {name: float(value) for name, value in _ONCE.findall(text)}
    return {name: value for name, value in times.items() if math.isfinite(value)}


def read_unit(text: str, unit: str) -> Taken | None:
    """Tell who ran the graph: the ``unit`` that was asked for, nobody knows, or None when it took nothing.

    A program that was asked for a GPU and finds none runs on the CPU and says so in a line among many, or not
    at all. So times are the unit's only where the program names a delegate of it and the nodes it took.
    """
    if unit == CPU:
        return Taken(CPU)
    own = _DELEGATES[unit]
    applied = [found for found in _APPLIED.finditer(text) if own.search(found[1])]
    replaced = [(int(found[1]), int(found[2]), found[3]) for found in _REPLACED.finditer(text)]
    taken = [(some, every) for some, every, who in replaced if own.search(who) and some]
    refused = any(own.search(found[1]) for found in _REFUSED.finditer(text))
    missing = any(own.search(found[1]) for found in _NOT_LOADED.finditer(text))
    if refused or (not taken and (missing or (replaced and not applied))):
        return None
    if taken:
        return Taken(unit, "; ".join(f"the {unit} took {some} of {every} nodes" for some, every in taken))
    if applied:
        how = applied[-1][2]
        return Taken(unit, "" if how == "completely" else f"the graph will be {how} executed by the delegate")
    return Taken(UNKNOWN, f"which unit ran is unknown: {unit} was asked for, and the program did not say")


def _common_unit(taken: Sequence[Taken]) -> str:
    """Return the unit that all processes had; unknown where it is so of one."""
    units = {one.unit for one in taken}
    return units.pop() if len(units) == 1 else UNKNOWN


def _by_graph(graphs: Sequence[str], times: Sequence[Mapping[str, float]], unit: str) -> Iterator[Reported]:
    """Gather the processes of each graph; the last graphs have none where the phone went away."""
    for graph in dict.fromkeys(graphs[: len(times)]):
        yield Reported(graph, unit, tuple(t for name, t in zip(graphs, times, strict=False) if name == graph))


def _spread_notes(reported: Sequence[Reported]) -> Iterator[str]:
    for entry in reported:
        averages = [block[_AVERAGE] for block in entry.blocks]
        spread = max(averages) / min(averages) - 1
        if spread > UNSTABLE:
            yield f"{UNSTABLE_NOTE}: {entry.graph}: averages of the processes differ by {spread:.0%}"
