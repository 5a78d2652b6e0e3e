"""``--precision auto``: from a checkpoint and calibration faces to the file of assignments.

The end-to-end model is searched; the stages get what it gets.
"""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path

import numpy as np

from mien.export.component import component
from mien.export.errors import ExportError
from mien.export.plan import ROUNDINGS, float_model
from mien.export.running.isolation import Limits, run_isolated
from mien.export.tflite.precision import stored_assignment, write_assignments
from mien.export.tflite.samples import load_samples
from mien.export.variants import ASSIGNED
from mien.mobile_reference.output.json_text import json_text
from mien.mobile_reference.report.steps import Progress
from mien.models.pipeline import Pipeline
from mien.models.sources import Source, open_pipeline

from .search import Outcome, explain, search_halves, search_precision
from .trials import SearchedModel

HALF_BUDGET = 0.03
"""Points that float16 weights may cost over the calibration faces: with 0.05 others erred by up to 0.123."""
PRECISION, TABLE = "precision.json", "search.json"


@dataclass(frozen=True)
class Budget:
    """What int8 may cost: the largest score error over the calibration faces, in points.

    ``work`` is the folder that keeps what was measured, so that a search that was stopped goes on.
    """

    points: float
    work: Path


def find_precision(
    source: Source,
    pipeline: Pipeline,
    stored: Path,
    traces: Path,
    budget: Budget,
    workers: int,
    progress: Progress,
    limits: Limits,
) -> Mapping[str, Outcome]:
    """Search the assignments of the variants below float32, and write them into the folder ``work``.

    Raises:
        ConversionError: the float model could not be made.
    """
    subject = _subject(source, pipeline, traces, budget.work, progress, limits)
    half, eight = ASSIGNED
    found = {
        half: search_halves(subject, HALF_BUDGET, stored_assignment(half, stored), workers, progress),
        eight: search_precision(subject, budget.points, stored_assignment(eight, stored), workers, progress),
    }
    assignments = {variant: outcome.assignment for variant, outcome in found.items()}
    write_assignments(assignments, budget.work / PRECISION)
    rows = {variant: explain(outcome) for variant, outcome in found.items()}
    (budget.work / TABLE).write_text(json_text(rows, indent=1) + "\n")
    return found


def _subject(
    source: Source, pipeline: Pipeline, traces: Path, work: Path, progress: Progress, limits: Limits
) -> SearchedModel:
    """Make the float model and watch its tensors, unless that was done in a search before.

    Raises:
        ExportError: the pipeline has no end-to-end model of one input.
    """
    whole = pipeline.end_to_end
    if whole is None or len(whole.inputs) != 1:
        raise ExportError(f"pipeline {pipeline.name} has no end-to-end model of one input to search with")
    inputs = np.stack([sample[whole.inputs[0]][0] for sample in load_samples(traces)])
    content = pipeline.weights + sha256(inputs.tobytes()).hexdigest()
    folder = work / sha256(content.encode()).hexdigest()[:16]
    subject = SearchedModel(
        source,
        whole.name,
        folder / "model.tflite",
        folder / "inputs.npy",
        folder / "histograms.json",
        folder / "roundings.safetensors",
        folder / "trials",
    )
    if not subject.histograms.exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        np.save(subject.faces, inputs)
        shutil.copy(traces / ROUNDINGS, subject.roundings)
        progress("converting to float32", 0, 1)
        job = partial(_watch, source, traces, subject)
        run_isolated(job, folder / "convert.log", limits, f"tflite {whole.name}")
    return subject


def _watch(source: Source, traces: Path, subject: SearchedModel) -> None:
    from mien.export.tflite.ranges import histograms, write_histograms
    from mien.export.tflite.reach import reach_of_model, reached

    samples, pipeline = load_samples(traces), open_pipeline(source)
    one = component(pipeline, subject.name)
    made = float_model(one, source, samples, subject.model.parent / "work")
    made.replace(subject.model)
    # The histograms come last: where they are, everything is.
    partial_file = subject.histograms.with_suffix(".partial")
    model, reach = subject.model.read_bytes(), reach_of_model(pipeline, subject.name)
    write_histograms(reached(histograms(one, model, samples), model, reach), partial_file)
    partial_file.replace(subject.histograms)
