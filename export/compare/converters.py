"""The front ends beside each other: what each makes of a graph, or why it makes nothing of it."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from mien.export.component import Component, component
from mien.export.errors import ConversionError
from mien.export.running.isolation import Usage, run_isolated
from mien.export.running.jobs import Progress
from mien.export.tflite.conversion import convert_float
from mien.export.tflite.converters import FRONT_ENDS, Convert, FrontEnd
from mien.export.tflite.interpreter import Runner
from mien.export.tflite.passes.deduplicate_buffers import share_constants
from mien.export.tflite.samples import load_samples
from mien.mobile_reference.tflite.flatbuffer import MOVES, operation_names
from mien.models.sources import Source, open_pipeline

from .timing import Inputs, interleaved_ms

WORKS = "works"
FAILED = "failed"
MISSING = "not installed"


@dataclass(frozen=True)
class MadeModel:
    """A float32 model that repeats PyTorch.

    ``bytes`` of the file; ``transposes``, and ``moves``, other operations that compute nothing;
    ``undelegated``: the operations that XNNPACK leaves to other kernels; ``ms`` on one thread of this host.
    """

    bytes: int
    transposes: int
    moves: int
    undelegated: tuple[str, ...]
    ms: float


@dataclass(frozen=True)
class Attempt:
    """One front end on one graph.

    ``state`` is one of works, failed and not installed; ``reason`` says why it does not work, or how to
    install it. What works has ``used`` some time and memory, the proof included, and made a ``model``.
    """

    graph: str
    front_end: str
    state: str
    reason: str = ""
    used: Usage | None = None
    model: MadeModel | None = None


def compare_converters(
    models: Sequence[Component],
    source: Source,
    folder: Path,
    progress: Progress,
    front_ends: Sequence[FrontEnd] = FRONT_ENDS,
) -> tuple[Attempt, ...]:
    """Let every front end convert every graph, one after the other, then time what works in turns.

    ``folder`` holds the float pipeline's ``traces`` (``jobs.save_traces``) and takes what is made.
    """
    total = len(models) * (len(front_ends) + 1)
    done = 0
    attempts: list[Attempt] = []
    for one in models:
        made = []
        for front_end in front_ends:
            made.append(_attempt(front_end, one, source, folder))
            done += 1
            progress(f"{front_end.name} {one.name}", done, total)
        attempts.extend(_measured(one, made, folder))
        done += 1
        progress(f"{one.name}: timed", done, total)
    return tuple(attempts)


def _work(folder: Path, graph: str, front_end: str) -> Path:
    return folder / graph / front_end


def _attempt(front_end: FrontEnd, one: Component, source: Source, folder: Path) -> Attempt:
    if not front_end.installed():
        return Attempt(one.name, front_end.name, MISSING, front_end.install)
    work = _work(folder, one.name, front_end.name)
    work.mkdir(parents=True)
    task = partial(_prove, front_end.convert, one.name, source, folder / "traces", work)
    try:
        used = run_isolated(task, work / "log", front_end.limits, f"{front_end.name} {one.name}")
    except ConversionError as error:
        return Attempt(one.name, front_end.name, FAILED, str(error))
    return Attempt(one.name, front_end.name, WORKS, used=used)


def _prove(convert: Convert, name: str, source: Source, traces: Path, work: Path) -> None:
    """Make ``work``/<graph>.tflite, proven, as an export would; runs in a process of its own."""
    one = component(open_pipeline(source), name)
    model = convert_float(convert, one, source, load_samples(traces), work)
    model.write_bytes(share_constants(model.read_bytes()))


def _measured(one: Component, attempts: Iterable[Attempt], folder: Path) -> Iterator[Attempt]:
    """Look into the models that work, and run them in turns."""
    attempts = list(attempts)
    sample = load_samples(folder / "traces")[0]
    inputs: Inputs = [sample[name] for name in one.inputs]
    files = {
        a.front_end: _work(folder, one.name, a.front_end) / f"{one.name}.tflite"
        for a in attempts
        if a.state == WORKS
    }
    runners = {name: Runner(file) for name, file in files.items()}
    times = interleaved_ms({name: (runner, inputs) for name, runner in runners.items()})
    for attempt in attempts:
        name = attempt.front_end
        yield (
            replace(attempt, model=_described(files[name], runners[name], times[name]))
            if name in files
            else attempt
        )


def _described(file: Path, runner: Runner, ms: float) -> MadeModel:
    model = file.read_bytes()
    counts = Counter(operation_names(model))
    transposes = counts["TRANSPOSE"]
    moves = sum(counts[name] for name in MOVES) - transposes
    return MadeModel(len(model), transposes, moves, runner.undelegated(), ms)
