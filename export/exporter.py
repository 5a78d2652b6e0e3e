"""The export: from a checkpoint and portraits to a bundle."""

import os
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np

from mien.mobile_reference.output.folder import OutputFolder
from mien.models.pipeline import Calibration, Pipeline, Sample, to_module
from mien.models.sources import open_pipeline

from .errors import ExportError
from .packing.packing import BUNDLE, CalibrationRecord, pack
from .packing.promises import broken_promises
from .packing.variant_selection import Judgement, judge, model_of
from .running.plan import (
    FAULTS,
    TFLITE_VARIANTS,
    Progress,
    Source,
    palette_job,
    plan,
    read_faults,
    round_weights,
    run_jobs,
    write_faults,
)
from .running.threads import one_thread
from .search.precision_search import PRECISION, Budget, find_precision
from .search.search import Outcome
from .tflite.precision import stored_assignment
from .tflite.samples import save_traces
from .variants import VARIANTS


@dataclass(frozen=True)
class ExportRequest:
    """What is exported: a ``source`` as ``open_pipeline`` takes it, and a folder of ``calibration`` inputs.

    None stands for what comes with the pipeline. ``precision`` is a file of assignments by variant, or the
    budget of a search for them.
    """

    source: Source
    calibration: Path | None
    output: Path
    precision: Path | Budget | None = None


@dataclass(frozen=True)
class ExportReport:
    """What an export took: seconds of time, and the peak memory of its largest converter in bytes.

    ``warnings`` say what weakens the calibration; ``found`` is what a search for precisions found, by
    variant.
    """

    seconds: float
    peak_memory: int
    warnings: tuple[str, ...]
    found: Mapping[str, Outcome]


@one_thread()
def export_bundle(request: ExportRequest, progress: Progress) -> ExportReport:
    """Make a bundle, or leave nothing.

    Raises:
        UsageError: the output folder holds something that is not a bundle as an export wrote it.
        ExportError: a conversion failed (``ConversionError``), or there are no precisions to begin with.
        ModelsError: the pipeline cannot be opened, or an input cannot be used.
    """
    start = time.monotonic()
    output = OutputFolder.at(request.output, BUNDLE)
    pipeline = open_pipeline(request.source)
    stored = _stored(request, pipeline)
    calibration = pipeline.inputs.calibration(pipeline, request.calibration)
    goldens = pipeline.inputs.golden(pipeline, None)
    with output.staged() as folder, tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        workers = os.cpu_count() or 1
        save_traces(calibration.samples, work / "traces")
        progress("rounding weights", 0, 1)
        round_weights(pipeline, work / "traces")
        found, precision = _precision(request, pipeline, stored, work / "traces", workers, progress)
        peak = run_jobs(plan(request.source, pipeline, work / "traces", work, precision), workers, progress)
        shutil.copy(precision, work / "ranges" / PRECISION)
        judged = _judged(request.source, work, pipeline, pipeline.inputs.judging(pipeline, goldens), progress)
        pack(folder, work, pipeline, goldens, _record(calibration, pipeline), judged)
        warnings = calibration.warnings + read_faults(work)
    return ExportReport(time.monotonic() - start, peak, warnings, found)


def _stored(request: ExportRequest, pipeline: Pipeline) -> Path:
    """Return the file of assignments that is begun with, found to have every variant."""
    given = request.precision if isinstance(request.precision, Path) else None
    stored = given or pipeline.precision
    if stored is None:
        raise ExportError(f"pipeline {pipeline.name} comes with no precisions; give --precision FILE")
    for variant in TFLITE_VARIANTS[1:]:
        stored_assignment(variant, stored)
    return stored


def _precision(
    request: ExportRequest, pipeline: Pipeline, stored: Path, traces: Path, workers: int, progress: Progress
) -> tuple[Mapping[str, Outcome], Path]:
    """Return what a search found, nothing without one, and the file of assignments."""
    if not isinstance(request.precision, Budget):
        return {}, stored
    budget = request.precision
    found = find_precision(request.source, pipeline, stored, traces, budget, workers, progress)
    return found, budget.work / PRECISION


def _judged(
    source: Source, work: Path, pipeline: Pipeline, samples: Sequence[Sample], progress: Progress
) -> list[Judgement]:
    """Rate every variant that was made, and make the palettes that pass."""
    broken = broken_promises(work, pipeline.spec)
    write_faults(sorted(broken.values()), work / FAULTS / "variants.json")
    made = [variant.name for variant in VARIANTS if variant.bits is None and variant.name not in broken]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        judged = list(pool.map(lambda variant: judge(work, variant, pipeline.spec, samples), made))
    return judged + _try_palettes(source, work, pipeline, samples, progress)


def _try_palettes(
    source: Source, work: Path, pipeline: Pipeline, samples: Sequence[Sample], progress: Progress
) -> list[Judgement]:
    """Make variants of ever smaller palettes until one fails its tolerance, which the next would too."""
    judged = []
    served = {model.name for model in pipeline.spec.served}
    for variant in (one.name for one in VARIANTS if one.bits is not None):
        jobs = {
            model.name: palette_job(variant, model.name, source, work / "traces", work)
            for model in pipeline.models
        }
        run_jobs([job for name, job in jobs.items() if name in served], 1, progress)
        if not all(model_of(work, variant, name).exists() for name in served):
            break  # it does not compute what the pipeline does
        judged.append(judge(work, variant, pipeline.spec, samples))
        if not judged[-1].passed:
            break
        run_jobs([job for name, job in jobs.items() if name not in served], os.cpu_count() or 1, progress)
    return judged


def _record(calibration: Calibration, pipeline: Pipeline) -> CalibrationRecord:
    """Say which inputs gave the ranges: by their values as modules are given them, and by their files."""
    state = sha256()
    for sample in calibration.samples:
        for name in pipeline.spec.inputs:
            value = to_module(sample.tensors[name], pipeline.spec.tensor(name))
            state.update(np.ascontiguousarray(value.numpy()).tobytes())
    return CalibrationRecord(len(calibration.samples), state.hexdigest(), calibration.files)
