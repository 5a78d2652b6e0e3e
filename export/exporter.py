"""The export: from a pipeline and its inputs to a bundle."""

import os
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from mien.mobile_reference.bundle.app_bundle import BUNDLE
from mien.mobile_reference.bundle.reader import open_bundle
from mien.mobile_reference.files import default_cache
from mien.mobile_reference.output.folder import OutputFolder
from mien.mobile_reference.report.steps import Progress, Step
from mien.mobile_reference.run.threads import side_by_side, usable_cores
from mien.models.gates import try_functions
from mien.models.onnx_module import OnnxModule
from mien.models.pipeline import Calibration, Gathered, Golden, Pipeline, Sample, to_module
from mien.models.sources import Source, as_origin, open_pipeline

from . import environments
from .cache.contents import MadeBefore, ReuseOfContents
from .errors import ExportError
from .packing.as_verified import unfit
from .packing.packing import CalibrationRecord, check_said, manifest_head, pack
from .packing.promises import broken_promises, lacks
from .packing.variant_selection import (
    Judgement,
    check_limits,
    judge,
    model_of,
    not_held,
    not_left_early,
)
from .plan import (
    WARNINGS,
    palette_job,
    plan,
    read_warnings,
    round_weights,
    write_warnings,
)
from .running.isolation import Limits
from .running.jobs import REUSED, Job, Made, Ran, run_jobs
from .running.losses import lost_variants, told
from .running.threads import one_thread
from .running.timings import Phase, Stopwatch
from .running.work_folder import keep_logs, work_folder
from .search.precision_search import PRECISION, Budget, find_precision
from .search.search import Outcome
from .tflite.precision import stored_assignment, write_assignments
from .tflite.reach import known_reach, not_known
from .tflite.samples import save_traces
from .variants import ASSIGNED, NAMES, TFLITE, TFLITE_DYNAMIC, TFLITE_HALF, VARIANTS, variant_named


@dataclass(frozen=True)
class ExportRequest:
    """What is exported: a ``source`` as ``open_pipeline`` takes it, and files or folders of inputs.

    No inputs stand for those that come with the pipeline. ``precision`` is a file of assignments by variant,
    or the budget of a search for them; ``limits`` are those of every converter. ``variants`` are the names of
    those to make, none for all. ``reuse`` knows what was made before, where it may be taken.
    """

    source: Source
    calibration: Sequence[Path]
    output: Path
    precision: Path | Budget | None = None
    limits: Limits = field(default_factory=Limits)
    golden: Sequence[Path] = ()
    variants: Sequence[str] = ()
    reuse: ReuseOfContents | None = None


@dataclass(frozen=True)
class ExportReport:
    """What an export took: seconds of time, and the peak memory of its largest converter in bytes.

    ``warnings`` say what weakens the calibration; ``found`` is what a search for precisions found, by
    variant; ``phases`` are where the time went. ``reused`` tells how many conversions were made before,
    ``unchanged`` that the whole bundle was. ``lost`` are variants that a lost conversion left out: another
    export may have them, so such a bundle is not kept.
    """

    seconds: float
    peak_memory: int
    warnings: tuple[str, ...]
    found: Mapping[str, Outcome]
    phases: tuple[Phase, ...]
    reused: int = 0
    unchanged: bool = False
    lost: tuple[str, ...] = ()


@one_thread()
def make_bundle(request: ExportRequest, progress: Progress) -> ExportReport:
    """Make a bundle, or leave nothing.

    Raises:
        UsageError: the output folder holds something that is not a bundle as an export wrote it.
        ExportError: a conversion failed (``ConversionError``), there are no precisions to begin with, or the
            environment of the converter to TFLite is not there.
        ModelsError: the pipeline cannot be opened, or an input cannot be used.
    """
    start, watch = time.monotonic(), Stopwatch()
    output = OutputFolder.at(request.output, BUNDLE)
    environments.TFLITE.checked(default_cache())
    pipeline = open_pipeline(request.source)
    wanted = chosen_variants(request.variants, pipeline)
    check_limits(pipeline.declared, wanted)
    check_said(pipeline)
    with output.staged() as folder, work_folder(output.place) as work:
        workers = os.cpu_count() or 1
        stored = _stored(request, pipeline, work)
        watch.lap("opening the pipeline")
        gathered = pipeline.inputs.gather(pipeline, request.calibration, request.golden, progress)
        pipeline, calibration, goldens = gathered.pipeline, gathered.calibration, gathered.goldens
        source = as_origin(request.source).of(pipeline)
        save_traces(calibration.samples, work / "traces")
        watch.lap("running the float pipeline")
        known = _made_before(request, gathered, stored, wanted, work)
        if known and (warnings := known.fetch_bundle(folder)) is not None:
            took = time.monotonic() - start
            return ExportReport(took, 0, warnings, {}, watch.phases(), unchanged=True)
        conversions = known.conversions if known else None
        try_functions(pipeline.gates, calibration.samples[0].tensors)
        round_weights(pipeline, work / "traces", progress)
        watch.lap("rounding weights")
        head = manifest_head(pipeline, goldens, _record(calibration, pipeline))
        asked, request = request.variants, replace(request, source=source, variants=wanted)
        found, precision = _precision(request, pipeline, stored, work / "traces", workers, progress)
        watch.lap("precisions")
        jobs = plan(source, pipeline, work / "traces", work, precision, wanted)
        ran = run_jobs(jobs, workers, progress, request.limits, conversions)
        watch.lap("conversions", ran.used)
        lost = _lost(jobs, ran, asked, request, work)
        request = replace(request, variants=tuple(name for name in wanted if name not in lost))
        shutil.copy(precision, work / "ranges" / PRECISION)
        judging = pipeline.inputs.judging(pipeline, goldens, progress)
        watch.lap("inputs to judge by")
        judged = _judged(request, work, pipeline, judging, progress)
        watch.lap("judging")
        palettes, tried = _try_palettes(request, work, pipeline, judging, progress, conversions)
        watch.lap("palettes", tried.used)
        lost += tuple(tried.lost)
        judged += palettes
        judged = _as_verified(work, pipeline, goldens, head, judged, progress)
        watch.lap("verifying")
        failing = not_held(judged, pipeline.spec) + not_left_early(judged)
        pack(folder, work, pipeline, goldens, head, judged, progress)
        watch.lap("packing")
        warnings = calibration.warnings + not_known(pipeline) + read_warnings(work) + failing
        if known and not lost:
            known.keep_bundle(folder, warnings)
    used = [*ran.used.values(), *tried.used.values()]
    peak = max((usage.peak_memory for usage in used), default=0)
    took, reused = time.monotonic() - start, used.count(REUSED)
    return ExportReport(took, peak, warnings, found, watch.phases(), reused, lost=lost)


def _lost(
    jobs: Sequence[Job], ran: Ran, asked: Sequence[str], request: ExportRequest, work: Path
) -> tuple[str, ...]:
    """Name the variants that are left out because a conversion was lost, and keep what is to be said."""
    reasons = lost_variants(jobs, ran.lost, asked)
    if reasons:
        logs = keep_logs(request.output, [job.log for job in jobs if job.title in ran.lost])
        said = [f"{line}; logs lie in {logs}" for line in told(reasons, request.variants)]
        write_warnings(said, work / WARNINGS / "conversions.json")
    return tuple(name for name in request.variants if name in reasons)


def _made_before(
    request: ExportRequest, gathered: Gathered, stored: Path, variants: Sequence[str], work: Path
) -> MadeBefore | None:
    if request.reuse is None or isinstance(request.precision, Budget):
        return None
    return request.reuse.of(as_origin(request.source).path, gathered, stored, variants, work)


def chosen_variants(names: Sequence[str], pipeline: Pipeline) -> tuple[str, ...]:
    """Return the variants to be made, in the order of the table; the first is always among them.

    The others' isolated errors are told by it. What computes in half floats is made if it is named; so is, of
    a pipeline that comes with precisions by block, the one that has none by block.

    Raises:
        ExportError: a variant does not exist, or the pipeline cannot have it.
    """
    for name in names:
        if name not in NAMES:
            raise ExportError(f"there is no variant {name}; there are {', '.join(NAMES)}")
    opaque = [model.name for model in pipeline.models if isinstance(model.module, OnnxModule)]
    possible = [one.name for one in VARIANTS if not opaque or one.platform == TFLITE]
    for name in names:
        if name not in possible:
            raise ExportError(
                f"{opaque[0]} is an ONNX file, which nothing here converts to {name}; bring a module or a "
                ".pt2 file, or leave the variant out"
            )
    rare = {TFLITE_HALF} if pipeline.precision is None else {TFLITE_HALF, TFLITE_DYNAMIC}
    usual = [name for name in possible if name not in rare]
    return tuple(name for name in possible if name in (names or usual) or name == NAMES[0])


def _stored(request: ExportRequest, pipeline: Pipeline, work: Path) -> Path:
    """Return the file of assignments that is begun with, found to have every variant."""
    given = request.precision if isinstance(request.precision, Path) else None
    stored = given or pipeline.precision
    if stored is None:
        stored = work / PRECISION
        write_assignments({variant: {} for variant in ASSIGNED}, stored)
    for variant in ASSIGNED:
        stored_assignment(variant, stored)
    return stored


def _precision(
    request: ExportRequest, pipeline: Pipeline, stored: Path, traces: Path, workers: int, progress: Progress
) -> tuple[Mapping[str, Outcome], Path]:
    """Return what a search found, nothing without one, and the file of assignments."""
    if not isinstance(request.precision, Budget):
        return {}, stored
    budget = request.precision
    found = find_precision(
        request.source, pipeline, stored, traces, budget, workers, progress, request.limits
    )
    return found, budget.work / PRECISION


def _judged(
    request: ExportRequest, work: Path, pipeline: Pipeline, samples: Sequence[Sample], progress: Progress
) -> list[Judgement]:
    """Rate every variant that was made, but for palettes."""
    broken = broken_promises(work, pipeline.spec, request.variants)
    write_warnings(sorted(broken.values()), work / WARNINGS / "variants.json")
    made = [name for name in request.variants if variant_named(name).bits is None and name not in broken]
    step = Step("judging", len(made) * len(samples), progress)

    def judged(variant: str) -> Judgement:
        return judge(work, variant, pipeline.spec, step.over(samples), pipeline.metrics)

    return side_by_side(judged, made, usable_cores())


def _as_verified(
    work: Path,
    pipeline: Pipeline,
    goldens: Sequence[Golden],
    head: Mapping[str, Any],
    judged: Sequence[Judgement],
    progress: Progress,
) -> list[Judgement]:
    """Add to what was judged what ``mien verify`` says of a bundle of it."""
    not_held(judged, pipeline.spec)  # without float32 no bundle is made
    trial = work / "trial"
    trial.mkdir()
    pack(trial, work, pipeline, goldens, head, judged)
    told = unfit(open_bundle(trial), pipeline.metrics, progress)
    return [replace(one, failed=(*one.failed, *told.get(one.name, ()))) for one in judged]


def _try_palettes(
    request: ExportRequest,
    work: Path,
    pipeline: Pipeline,
    samples: Sequence[Sample],
    progress: Progress,
    made: Made | None,
) -> tuple[list[Judgement], Ran]:
    """Make variants of ever smaller palettes until one fails its tolerance, which the next would too.

    Returns:
        What was judged, and what the conversions used; those that were lost by the name of the variant.
    """
    judged: list[Judgement] = []
    tried = Ran({}, {})
    served = {model.name for model in pipeline.spec.served}
    for variant in (name for name in request.variants if variant_named(name).bits is not None):
        jobs = {
            model.name: palette_job(variant, model.name, request.source, work / "traces", work)
            for model in pipeline.models
        }
        mine = [job for name, job in jobs.items() if name in served]
        tried = _joined(tried, run_jobs(mine, 1, progress, request.limits, made), variant, work)
        if not all(model_of(work, variant, name).exists() for name in served):
            break  # it does not compute what the pipeline does
        lack = lacks(work, pipeline.spec, variant_named(variant))
        if lack is not None:
            write_warnings([f"{variant} is left out: {lack}"], work / WARNINGS / f"{variant}.json")
            break
        step = Step(f"judging {variant}", len(samples), progress)
        judged.append(judge(work, variant, pipeline.spec, step.over(samples), pipeline.metrics))
        if not judged[-1].passed:
            break
        others = [job for name, job in jobs.items() if name not in served]
        ran = run_jobs(others, os.cpu_count() or 1, progress, request.limits, made)
        tried = _joined(tried, ran, variant, work)
    return judged, tried


def _joined(tried: Ran, ran: Ran, variant: str, work: Path) -> Ran:
    """Add what ran for a variant of palettes, and keep what is to be said of what was lost."""
    lost = dict.fromkeys([variant], *list(ran.lost.values())[:1]) if ran.lost else {}
    if lost:
        write_warnings(told(lost, [variant]), work / WARNINGS / f"{variant}.lost.json")
    return Ran({**tried.used, **ran.used}, {**tried.lost, **lost})


def _record(calibration: Calibration, pipeline: Pipeline) -> CalibrationRecord:
    """Say which inputs gave the ranges: by their values as modules are given them, and by their files.

    Of those that are not there any more the file of what tensors reached on them stands for the values.
    """
    state, reach = sha256(), known_reach(pipeline)
    for sample in calibration.samples:
        for name in pipeline.spec.inputs:
            value = to_module(sample.tensors[name], pipeline.spec.tensor(name))
            state.update(np.ascontiguousarray(value.numpy()).tobytes())
    if reach is None or pipeline.reach is None:
        return CalibrationRecord(len(calibration.samples), state.hexdigest(), calibration.files)
    state.update(pipeline.reach.read_bytes())
    files = tuple(sorted({*calibration.files, *reach.files}))
    return CalibrationRecord(len(calibration.samples) + reach.inputs, state.hexdigest(), files)
