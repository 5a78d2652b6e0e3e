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

from mien.mobile_reference.bundle.reader import APPRAISAL
from mien.models.appraisal.calibration_faces import CalibrationSet, gather
from mien.models.appraisal.checkpoint import Checkpoint, load_checkpoint
from mien.models.appraisal.portrait_checks import image_hash
from mien.models.appraisal.portraits import Portrait, read_image
from mien.models.appraisal.traces import trace

from .coreml.convert import PALETTES, VARIANTS
from .graphs import GRAPHS
from .packing.packing import CalibrationRecord, GoldenFace, check_output, pack, staged
from .packing.variant_selection import Judgement, JudgingFace, judge, judging_faces
from .running.plan import TFLITE_VARIANTS, Progress, palette_job, plan, read_faults, round_weights, run_jobs
from .running.threads import one_thread
from .search.precision_search import PRECISION, Budget, find_precision
from .search.search import Outcome
from .tflite.precision import STORED, stored_assignment
from .tflite.samples import save_traces


@dataclass(frozen=True)
class ExportRequest:
    """What is to be exported: a checkpoint, portraits that give the ranges, portraits to be golden.

    ``precision`` is a file of assignments by variant, or the budget of a search for them.
    """

    checkpoint: Path
    calibration: Sequence[Portrait]
    goldens: Sequence[Portrait]
    output: Path
    precision: Path | Budget = STORED


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
        ExportError: the output folder is not ours, or a conversion failed (``ConversionError``).
        CheckpointError: the checkpoint cannot be used.
        ImageSetError, NoFaceError: a portrait cannot be used.
    """
    start = time.monotonic()
    check_output(request.output)
    if isinstance(request.precision, Path):
        for variant in TFLITE_VARIANTS[1:]:
            stored_assignment(variant, request.precision)
    checkpoint = load_checkpoint(request.checkpoint)
    faces = gather(request.calibration, request.goldens, checkpoint, lambda done, total: None)
    goldens = [_golden(portrait, checkpoint) for portrait in request.goldens]
    with staged(request.output) as folder, tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        workers = os.cpu_count() or 1
        save_traces(faces.traces, work / "traces")
        progress("rounding weights", 0, 1)
        round_weights(request.checkpoint, work / "traces")
        found, precision = _precision(request, work / "traces", workers, progress)
        planned = plan(request.checkpoint, work / "traces", work, precision)
        peak = run_jobs(planned, workers, progress)
        shutil.copy(precision, work / "ranges" / PRECISION)
        judged = _judged(request.checkpoint, work, goldens, checkpoint, progress)
        pack(folder, work, checkpoint, goldens, _record(faces), judged)
        warnings = faces.warnings + read_faults(work)
    return ExportReport(time.monotonic() - start, peak, warnings, found)


def _precision(
    request: ExportRequest, traces: Path, workers: int, progress: Progress
) -> tuple[Mapping[str, Outcome], Path]:
    """Return what a search found, nothing without one, and the file of assignments."""
    if isinstance(request.precision, Path):
        return {}, request.precision
    budget = request.precision
    return find_precision(request.checkpoint, traces, budget, workers, progress), budget.work / PRECISION


def _judged(
    source: Path, work: Path, goldens: Sequence[GoldenFace], checkpoint: Checkpoint, progress: Progress
) -> list[Judgement]:
    """Rate every variant that was made, and make the palettes that pass."""
    faces = judging_faces([golden.trace for golden in goldens], checkpoint)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        judged = list(pool.map(lambda variant: judge(work, variant, faces), (*TFLITE_VARIANTS, *VARIANTS)))
    return judged + _try_palettes(source, work, faces, progress)


def _try_palettes(
    checkpoint: Path, work: Path, faces: Sequence[JudgingFace], progress: Progress
) -> list[Judgement]:
    """Make variants of ever smaller palettes until one fails its gate, which the next would too."""
    judged = []
    for variant in PALETTES:
        jobs = {graph.name: palette_job(variant, graph.name, checkpoint, work) for graph in GRAPHS}
        run_jobs([jobs.pop(APPRAISAL)], 1, progress)
        judged.append(judge(work, variant, faces))
        if not judged[-1].passed:
            break
        run_jobs(list(jobs.values()), os.cpu_count() or 1, progress)
    return judged


def _golden(portrait: Portrait, checkpoint: Checkpoint) -> GoldenFace:
    photo = read_image(portrait.image)
    return GoldenFace(portrait, photo.permute(1, 2, 0).contiguous().numpy(), trace(photo, checkpoint))


def _record(faces: CalibrationSet) -> CalibrationRecord:
    """Say which faces gave the ranges: by the pixels of the aligned faces, and by the photographs."""
    state = sha256()
    for one in faces.traces:
        state.update(one.tensors["face"].numpy().tobytes())
    images = tuple(sorted(image_hash(portrait) for portrait in faces.portraits))
    return CalibrationRecord(len(faces.traces), state.hexdigest(), images)
