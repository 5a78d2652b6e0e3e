"""The converters beside each other: what each makes of a graph, or why it makes nothing of it."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from mien.export.component import Component, component
from mien.export.errors import ConversionError
from mien.export.running.isolation import Usage, run_isolated
from mien.export.tflite.conversion import convert_float
from mien.export.tflite.converters import CONVERTERS, Convert, Converter
from mien.export.tflite.interpreter import Runner
from mien.export.tflite.passes.deduplicate_buffers import deduplicate_buffers
from mien.export.tflite.samples import load_samples
from mien.mobile_reference.report.steps import Progress
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
    """One converter on one graph.

    ``state`` is one of works, failed and not installed; ``reason`` says why it does not work, or how to
    install it. What works has ``used`` some time and memory, the proof included, and made a ``model``.
    """

    graph: str
    converter: str
    state: str
    reason: str = ""
    used: Usage | None = None
    model: MadeModel | None = None


def compare_converters(
    models: Sequence[Component],
    source: Source,
    folder: Path,
    progress: Progress,
    converters: Sequence[Converter] = CONVERTERS,
) -> tuple[Attempt, ...]:
    """Let every converter convert every graph, one after the other, then time what works in turns.

    ``folder`` holds the float pipeline's ``traces`` (``jobs.save_traces``) and takes what is made.
    """
    total = len(models) * (len(converters) + 1)
    done = 0
    attempts: list[Attempt] = []
    for one in models:
        made = []
        for converter in converters:
            made.append(_attempt(converter, one, source, folder))
            done += 1
            progress(f"{converter.name} {one.name}", done, total)
        attempts.extend(_measured(one, made, folder))
        done += 1
        progress(f"{one.name}: timed", done, total)
    return tuple(attempts)


def _work(folder: Path, graph: str, converter: str) -> Path:
    return folder / graph / converter


def _attempt(converter: Converter, one: Component, source: Source, folder: Path) -> Attempt:
    if not converter.installed():
        return Attempt(one.name, converter.name, MISSING, converter.install)
    work = _work(folder, one.name, converter.name)
    work.mkdir(parents=True)
    task = partial(_prove, converter.convert, one.name, source, folder / "traces", work)
    try:
        used = run_isolated(task, work / "log", converter.limits, f"{converter.name} {one.name}")
    except ConversionError as error:
        return Attempt(one.name, converter.name, FAILED, str(error))
    return Attempt(one.name, converter.name, WORKS, used=used)


def _prove(convert: Convert, name: str, source: Source, traces: Path, work: Path) -> None:
    """Make ``work``/<graph>.tflite, proven, as an export would; runs in a process of its own."""
    one = component(open_pipeline(source), name)
    model = convert_float(convert, one, source, load_samples(traces), work)
    model.write_bytes(deduplicate_buffers(model.read_bytes()))


def _measured(one: Component, attempts: Iterable[Attempt], folder: Path) -> Iterator[Attempt]:
    """Look into the models that work, and run them in turns."""
    attempts = list(attempts)
    sample = load_samples(folder / "traces")[0]
    inputs: Inputs = [sample[name] for name in one.inputs]
    files = {
        a.converter: _work(folder, one.name, a.converter) / f"{one.name}.tflite"
        for a in attempts
        if a.state == WORKS
    }
    runners = {name: Runner(file) for name, file in files.items()}
    times = interleaved_ms({name: (runner, inputs) for name, runner in runners.items()})
    for attempt in attempts:
        name = attempt.converter
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
