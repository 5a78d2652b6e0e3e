"""The export: from a checkpoint and portraits to a bundle."""

import os
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from mien.calibration.images import Portrait, read_image
from mien.calibration.traces import Trace, check_calibration_faces, trace
from mien.mobile_reference.bundle import APPRAISAL
from mien.models.checkpoint import Checkpoint, load_checkpoint

from .choice import Judgement, JudgingFace, judge, judging_faces
from .coreml import PALETTES, VARIANTS
from .graphs import GRAPHS
from .jobs import TFLITE_VARIANTS, Progress, palette_job, plan, run_jobs, save_traces
from .packing import CalibrationRecord, GoldenFace, check_output, pack, staged


@dataclass(frozen=True)
class ExportRequest:
    """What is to be exported: a checkpoint, portraits that give the ranges, portraits to be golden."""

    checkpoint: Path
    calibration: Sequence[Portrait]
    goldens: Sequence[Portrait]
    output: Path


@dataclass(frozen=True)
class ExportReport:
    """What an export took: seconds of time, and the peak memory of its largest converter in bytes."""

    seconds: float
    peak_memory: int


def export_bundle(request: ExportRequest, progress: Progress) -> ExportReport:
    """Make a bundle, or leave nothing.

    Raises:
        ExportError: the output folder is not ours, or a conversion failed (``ConversionError``).
        CheckpointError: the checkpoint cannot be used.
        ImageSetError, NoFaceError: a portrait cannot be used.
    """
    start = time.monotonic()
    check_output(request.output)
    checkpoint = load_checkpoint(request.checkpoint)
    traces = [trace(read_image(portrait.image), checkpoint) for portrait in request.calibration]
    check_calibration_faces(traces)
    goldens = [_golden(portrait, checkpoint) for portrait in request.goldens]
    with staged(request.output) as folder, tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        save_traces(traces, work / "traces")
        peak = run_jobs(plan(request.checkpoint, work / "traces", work), os.cpu_count() or 1, progress)
        faces = judging_faces([golden.trace for golden in goldens], checkpoint)
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            made = pool.map(lambda variant: judge(work, variant, faces), (*TFLITE_VARIANTS, *VARIANTS))
            judged = list(made)
        judged += _try_palettes(request.checkpoint, work, faces, progress)
        pack(folder, work, checkpoint, goldens, CalibrationRecord(len(traces), _hash(traces)), judged)
    return ExportReport(time.monotonic() - start, peak)


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


def _hash(traces: Sequence[Trace]) -> str:
    """Hash the aligned faces in their order."""
    state = sha256()
    for one in traces:
        state.update(one.tensors["face"].numpy().tobytes())
    return state.hexdigest()
