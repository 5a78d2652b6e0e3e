"""The second runner on a phone: LiteRT's own ``benchmark_model``, which the user has got from there.

It reaches what mien's runner cannot: a GPU or an NPU. It times one graph alone on random inputs and tells
sums, no single run; so there is no 90th percentile of an appraisal in it, no score, and no verdict.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from mien.benchmarks.errors import DeviceError
from mien.benchmarks.phone.adb import Answer
from mien.benchmarks.phone.session import FOLDER, Job, Session, thermal_notes
from mien.benchmarks.pipeline import models_of_app
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
_NUMBER = r"-?\d+(?:\.\d+)?(?:e[+-]?\d+)?"
_RUNS = re.compile(r"\bcount=\d+\b.*")
_FIELD = re.compile(rf"(\w+)=({_NUMBER})")
_ONCE = re.compile(rf"(Init|First inference): ({_NUMBER})")
_DELEGATED = re.compile(r"the model graph will (.+)")
_REFUSED, _PARTLY = "not be executed", "partially"
_AVERAGE = "avg"


class BenchmarkModelTarget:
    """Lets ``benchmark_model`` time the graphs of an appraisal on one unit of a phone.

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
            Job(f"{spec.variant} {graph}", f"{FOLDER}/{PROGRAM}", list(self._words(spec, graph)))
            for graph in graphs
        ]
        measured = self._session.measure(jobs, self._read)
        reported = tuple(_by_graph(graphs, [times for times, _ in measured.answers], self._unit))
        delegations = dict.fromkeys(text for _, text in measured.answers if text)
        return Result(
            target=f"{ANDROID}-{PROGRAM}-{self._unit}",
            variant=spec.variant,
            device=self.probe(),
            threads=spec.threads if self._unit == CPU else None,
            latency=None,
            parity=(),
            notes=(
                "random inputs, outputs not looked at: no evidence that the answers are right",
                *(f"the graph will {text}" for text in delegations),
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

    def _read(self, job: Job, answer: Answer) -> tuple[Mapping[str, float], str]:
        """Return the times of one process, and how much of the graph the unit took, as it says."""
        text = f"{answer.out}\n{answer.err}"
        if answer.code:
            raise DeviceError(
                f"{job.name}: {self._program.name} ended with {answer.code} on the phone: {answer.last}; "
                "look at its flags and libraries"
            )
        times = read_times(text)
        if _AVERAGE not in times:
            raise DeviceError(
                f"{job.name}: {self._program.name} printed no line 'count=... avg=...'; give LiteRT's program"
            )
        found = _DELEGATED.search(text)
        delegation = found[1].strip().rstrip(".") if found else ""
        if delegation.startswith(_REFUSED) and self._unit != CPU:
            raise DeviceError(f"{job.name}: the {self._unit} took nothing of the graph; it ran on the CPU")
        return times, delegation if _PARTLY in delegation else ""


def read_times(text: str) -> dict[str, float]:
    """Read what ``benchmark_model`` printed, in microseconds.

    The keys are its own, whichever it prints: ``count``, ``min``, ``max``, ``avg`` and ``std``, in newer
    releases ``median`` and ``p95``; ``Init`` and ``First inference`` come from its last line. Of several
    ``count=`` lines the last is the measurement, those before it are the warm-up.
    """
    lines = _RUNS.findall(text)
    times = {name: float(value) for name, value in _FIELD.findall(lines[-1])} if lines else {}
    return times | {name: float(value) for name, value in _ONCE.findall(text)}


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
