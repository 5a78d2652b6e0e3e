"""The conversions of one export: one job for every graph and platform, each in a process of its own."""

import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from mien.export.errors import ConversionError
from mien.export.graphs import GRAPHS, Graph, graph_named
from mien.export.tflite.samples import BEFORE, hand_on, load_samples, received
from mien.mobile_reference.bundle.reader import APPRAISAL
from mien.models.appraisal.checkpoint import load_checkpoint

from .isolation import Limits, run_isolated
from .threads import one_thread

Route = Callable[[str, Path, Path, Path], None]
"""Converts the graph of a name: checkpoint, folder of traces, folder of results."""
Progress = Callable[[str, int, int], None]
"""Told what was finished, how many steps are done, and of how many."""
TFLITE_VARIANTS = ("tflite-fp32", "tflite-fp16", "tflite-int8")
FAULTS = "faults"
_HANDED_ON = "handed-on"
# In a folder of its own: beside the traces it would be taken for one.
ROUNDINGS = Path("rounded") / "weights.safetensors"
"""Where in a folder of traces the rounded weights lie."""


@dataclass(frozen=True)
class Job:
    """One conversion: ``work`` runs it in the current process, once the jobs titled ``after`` have ended."""

    title: str
    log: Path
    work: Callable[[], None]
    after: tuple[str, ...] = ()

    def run(self) -> int:
        """Run the conversion in a process of its own, and return its peak memory in bytes."""
        return run_isolated(self.work, self.log, Limits(), self.title).peak_memory


def plan(checkpoint: Path, traces: Path, folder: Path, precision: Path) -> list[Job]:
    """List the conversions of a checkpoint, each behind those whose results it needs.

    What they make lies under ``folder``/<variant>/. ``precision`` is a file of assignments by variant.
    """

    def job(route: str, graph: Graph, work: Route, *after: str) -> Job:
        title, log = f"{route} {graph.name}", folder / f"{route}-{graph.name}.log"
        return Job(title, log, partial(work, graph.name, checkpoint, traces, folder), after)

    jobs = []
    for graph in sorted(GRAPHS, key=lambda graph: graph.name != APPRAISAL):
        before = [f"tflite {BEFORE[graph.name]}"] if graph.name in BEFORE else []
        jobs.append(job("tflite", graph, partial(convert_tflite, precision), *before))
        jobs.append(job("coreml", graph, convert_coreml))
    eights = [graph for graph in GRAPHS if graph.int8]
    return jobs + [job("coreml-w8a8", g, convert_coreml_int8, f"tflite {g.name}") for g in eights]


def run_jobs(jobs: Sequence[Job], workers: int, progress: Progress) -> int:
    """Run conversions, ``workers`` at a time, and return the peak memory of the largest in bytes.

    A job stands behind those that it comes after, so that whoever waits for one waits for a running one.

    Raises:
        ConversionError: converters failed; raised after the others ended, and says what was lost.
    """
    lost: dict[str, ConversionError] = {}
    peaks = [0]
    running: dict[str, Future[int]] = {}
    with ThreadPoolExecutor(workers) as pool:
        for job in jobs:
            earlier = {title: running[title] for title in job.after}
            running[job.title] = pool.submit(_run_after, job, earlier)
        titles = {future: title for title, future in running.items()}
        for done, future in enumerate(as_completed(titles), start=1):
            try:
                peaks.append(future.result())
            except ConversionError as error:
                lost[titles[future]] = error
            else:
                progress(titles[future], done, len(jobs))
    if lost:
        reasons = "; ".join(str(lost[title]) for title in sorted(lost))
        raise ConversionError(f"{len(lost)} of {len(jobs)} conversions lost, no bundle is made: {reasons}")
    return max(peaks)


def _run_after(job: Job, earlier: Mapping[str, Future[int]]) -> int:
    for title, future in earlier.items():
        if future.exception():
            raise ConversionError(f"{job.title}: needs what {title} makes, which was lost")
    return job.run()


@one_thread()
def round_weights(checkpoint: Path, traces: Path) -> None:
    """Round the weights of the appraisal's net for the faces in the folder of traces, into that folder."""
    from mien.export.weights.gptq import round_convolutions, write_roundings

    faces = [torch.from_numpy(sample["face"]).permute(0, 3, 1, 2) for sample in load_samples(traces)]
    file = traces / ROUNDINGS
    file.parent.mkdir()
    write_roundings(round_convolutions(load_checkpoint(checkpoint).appraisal, faces), file)


def float_file(folder: Path, name: str) -> Path:
    """Say where the float32 TFLite model of a graph lies under the folder of an export's conversions."""
    return folder / "work" / name / f"{name}.tflite"


def float_model(name: str, checkpoint: Path, samples: Sequence[Mapping[str, Any]], work: Path) -> Path:
    """Convert a graph to float32 TFLite in the folder ``work``, and check it against the traces."""
    from mien.export.tflite.conversion import convert_float
    from mien.export.tflite.converters import DEFAULT

    graph = graph_named(name)
    work.mkdir(parents=True)
    return convert_float(DEFAULT.convert, graph, checkpoint, samples, work)


def convert_tflite(precision: Path, name: str, checkpoint: Path, traces: Path, folder: Path) -> None:
    """Make the three TFLite variants of a graph, the float one checked against the traces.

    The folder of traces holds the rounded weights too. A stage leaves in ``folder`` what its int8 model
    makes, for the ranges of the next one.
    """
    from mien.export.tflite import quantise as tflite
    from mien.export.tflite.blocks import find_blocks
    from mien.export.tflite.passes.deduplicate_buffers import share_constants
    from mien.export.tflite.precision import stored_assignment, strangers
    from mien.export.tflite.ranges import write_ranges
    from mien.export.weights.gptq import read_roundings

    graph, samples = graph_named(name), load_samples(traces)
    model = float_model(name, checkpoint, samples, float_file(folder, name).parent)
    rounded = read_roundings(traces / ROUNDINGS)
    half, eight = (stored_assignment(variant, precision) for variant in TFLITE_VARIANTS[1:])
    behind = received(name, samples, folder / _HANDED_ON)
    found = tflite.seen_by_converted(graph, model, eight, rounded, samples, behind)
    made = (
        share_constants(model.read_bytes()),
        tflite.quantise(model, half, found, rounded),
        tflite.quantise(model, eight, found, rounded),
    )
    write_ranges(tflite.chosen_ranges(model, eight, found), folder / "ranges" / f"{name}.json")
    faults = tflite.faults_of(model, eight, found)
    if name == APPRAISAL:  # which has every block; the stages have some
        faults += strangers(find_blocks(model.read_bytes()), eight)
    write_faults(faults, folder / FAULTS / f"{name}.json")
    for variant, content in zip(TFLITE_VARIANTS, made, strict=True):
        target = folder / variant / f"{name}.tflite"
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(content)
        tflite.check_contract(graph, target)
    if name in BEFORE.values():
        hand_on(graph, made[-1], behind, folder / _HANDED_ON)


def write_faults(faults: Sequence[str], file: Path) -> None:
    """Write what is to be said of a graph's ranges."""
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(list(faults)))


def read_faults(folder: Path) -> tuple[str, ...]:
    """Read what the conversions had to say of ranges, graph by graph."""
    files = sorted((folder / FAULTS).glob("*.json"))
    return tuple(f"{file.stem}: {fault}" for file in files for fault in json.loads(file.read_text()))


def convert_coreml(name: str, checkpoint: Path, traces: Path, folder: Path) -> None:
    """Make the Core ML variants of a graph whose activations are float."""
    from mien.export.coreml.convert import to_coreml
    from mien.export.weights.gptq import read_roundings

    roundings = read_roundings(traces / ROUNDINGS)
    to_coreml(graph_named(name), load_checkpoint(checkpoint), roundings, folder)


def convert_coreml_int8(name: str, checkpoint: Path, traces: Path, folder: Path) -> None:
    """Make the Core ML variant of a graph whose activations are int8, with the ranges that TFLite has."""
    from mien.export.coreml.convert import to_int8
    from mien.export.tflite.convolutions import convolution_ranges
    from mien.export.tflite.ranges import read_ranges
    from mien.export.weights.gptq import read_roundings

    model = float_file(folder, name).read_bytes()
    ranges = convolution_ranges(model, read_ranges(folder / "ranges" / f"{name}.json"))
    roundings = read_roundings(traces / ROUNDINGS)
    to_int8(graph_named(name), load_checkpoint(checkpoint), roundings, ranges, folder)


def palette_job(variant: str, name: str, checkpoint: Path, folder: Path) -> Job:
    """Return the conversion of one graph to a variant whose weights are palettes."""
    work = partial(convert_palettes, variant, name, checkpoint, folder)
    return Job(f"{variant} {name}", folder / f"{variant}-{name}.log", work)


def convert_palettes(variant: str, name: str, checkpoint: Path, folder: Path) -> None:
    """Make a Core ML variant of a graph from its float16 one."""
    from mien.export.coreml.convert import to_palettes

    to_palettes(graph_named(name), load_checkpoint(checkpoint), variant, folder)
