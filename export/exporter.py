"""The export: from a checkpoint and portraits to a bundle."""

import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from mien.calibration.images import Portrait, read_image
from mien.calibration.traces import Trace, check_calibration_faces, trace
from mien.models.checkpoint import Checkpoint, load_checkpoint

from .jobs import Progress, plan, run_jobs, save_traces
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
        pack(folder, work, checkpoint, goldens, CalibrationRecord(len(traces), _hash(traces)))
    return ExportReport(time.monotonic() - start, peak)


def _golden(portrait: Portrait, checkpoint: Checkpoint) -> GoldenFace:
    photo = read_image(portrait.image)
    return GoldenFace(portrait, photo.permute(1, 2, 0).contiguous().numpy(), trace(photo, checkpoint))


def _hash(traces: Sequence[Trace]) -> str:
    """Hash the aligned faces in their order."""
    state = sha256()
    for one in traces:
        state.update(one.tensors["face"].numpy().tobytes())
    return state.hexdigest()
