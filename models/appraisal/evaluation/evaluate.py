"""From a folder of portraits to the report on a checkpoint, or on what another program made of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from pathlib import Path

import torch

from mien.mobile_reference.output.text import path_text
from mien.mobile_reference.report.progress import Report as Progress
from mien.models.appraisal.checkpoint import Checkpoint, checkpoint_hash
from mien.models.appraisal.errors import RequestError
from mien.models.appraisal.evaluation.everyday import measure_everyday, read_everyday
from mien.models.appraisal.evaluation.peers import SCORES, FolderRater, new_folder, write_cases
from mien.models.appraisal.evaluation.raters import (
    HEAT_AND_COMPARISON,
    Cost,
    PipelineRater,
    cost,
    region_pixels,
)
from mien.models.appraisal.evaluation.ratings.human_ratings import Scale
from mien.models.appraisal.evaluation.ratings.rating_agreement import (
    agreement_part,
    choose_ratings,
    rate_photographs,
)
from mien.models.appraisal.evaluation.refusals import measure_refusals
from mien.models.appraisal.evaluation.robustness import measure_nuisances, measure_retest
from mien.models.appraisal.evaluation.statistics import Values
from mien.models.appraisal.parts import load_appraisal
from mien.models.appraisal.portraits import INDEX, Portrait, cut_faces, read_portraits

from .drawn_scores import UNSEEN_KINDS, Canvas, measure_unseen
from .evaluation import Case, Cases, Rater, evaluate
from .evaluation_page import Picture
from .evaluation_parts import Bench, Part
from .evaluation_report import Evaluated, Report, make_report

HELD_OUT = "val"
UNSEEN, NUISANCE, RETEST = ALSO = ("unseen", "nuisance", "retest")
"""What is measured if it is asked for: unseen kinds of anomaly, nuisances, and the same person again."""


@dataclass(frozen=True)
class Request:
    """What to evaluate on which faces; without ``split`` the one held out, or all if there is no index.

    The ``checkpoint`` frames the faces and rates them, unless ``rated`` is a folder of cases that
    another program has rated. ``noise`` is the camera's, in grey levels. ``everyday`` are folders of
    faces outside a studio; ``also`` names further parts, as in ``ALSO``.
    """

    faces: Path
    checkpoint: Path | None = None
    split: str | None = None
    threads: int = 1
    rated: Path | None = None
    noise: float = 0.0
    everyday: tuple[Path, ...] = ()
    also: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Setting:
    """What an evaluation works on."""

    checkpoint: Checkpoint
    cases: Cases
    split: str
    skipped: tuple[str, ...]


def carry_out(request: Request, progress: Progress) -> tuple[Report, list[Picture]]:
    """Rate every case of the portraits; returns the report and the pictures of its worst cases.

    Raises:
        ImageSetError: the folder holds no such portrait, or none shows a usable face.
        CheckpointError: the checkpoint cannot be used.
        RequestError: the ratings do not fit the faces.
    """
    if request.rated and (request.everyday or request.also):
        raise RequestError(
            "ratings made elsewhere have the studio's faces alone; leave out --everyday and --also"
        )
    everyday = _everyday_portraits(request)
    setting = _set_up(request, progress)
    rater, subject, costs = _subject(request, setting)
    evaluation = evaluate(
        setting.cases,
        region_pixels(setting.checkpoint),
        rater,
        lambda done, total: progress("rating", done, total, ""),
    )
    bench = Bench(setting.checkpoint, rater.stages[0])
    untouched = evaluation.stages[bench.stage].untouched
    parts = _further(request, setting, bench, untouched, progress)
    for folder, portraits in everyday.items():
        parts += _everyday(request, bench, folder, portraits, progress)
    report = make_report(subject, evaluation, setting.skipped, costs, tuple(parts))
    worst = [setting.cases.draw(miss.row, miss.kind, miss.severity) for miss in report.worst]
    return report, [_picture(case, rater) for case in worst]


def compare_with_ratings(
    request: Request, ratings: Path, scale: Scale, progress: Progress
) -> tuple[Evaluated, Part]:
    """Rate photographs as they are, and compare with what people said of them.

    Raises:
        ImageSetError: the folder holds no portrait, or none that was rated shows a usable face.
        CheckpointError: the checkpoint cannot be used.
        RequestError: the ratings cannot be used.
    """
    torch.set_num_threads(request.threads)
    split = request.split
    if split is None and HELD_OUT in {portrait.split for portrait in read_portraits(request.faces)}:
        split = HELD_OUT
    given, left_out = choose_ratings(request.faces, ratings, scale, lambda own: own == split or not split)
    checkpoint = load_appraisal(request.checkpoint)
    rated = rate_photographs(given, Bench(checkpoint, HEAT_AND_COMPARISON), _told(progress, "rating"))
    rated = replace(rated, skipped=left_out + rated.skipped)
    subject = Evaluated(checkpoint.config.name, checkpoint_hash(checkpoint), split or "", 0.0)
    return subject, agreement_part(rated, path_text(request.faces.name), HEAT_AND_COMPARISON)


def _everyday_portraits(request: Request) -> dict[Path, list[Portrait]]:
    """Read the everyday folders before anything takes time; nobody may stand in two of all the sets."""
    seen = read_portraits(request.faces, _split(request))
    found: dict[Path, list[Portrait]] = {}
    for folder in request.everyday:
        found[folder] = read_everyday(folder, HELD_OUT, seen)
        seen += found[folder]
    return found


def _further(
    request: Request, setting: _Setting, bench: Bench, untouched: Values, progress: Progress
) -> list[Part]:
    """Measure what was asked for beside the drawn anomalies on the studio's faces."""
    faces, name = setting.cases.faces, path_text(request.faces.name)
    canvas = Canvas(faces, setting.cases.template, request.noise)
    makers = {
        UNSEEN: partial(measure_unseen, name, bench, canvas, untouched, len(UNSEEN_KINDS.kinds)),
        NUISANCE: partial(measure_nuisances, name, bench, canvas, untouched),
        RETEST: partial(measure_retest, name, bench, faces, untouched),
    }
    return [makers[part](_told(progress, part)) for part in ALSO if part in request.also]


def _everyday(
    request: Request, bench: Bench, folder: Path, portraits: Sequence[Portrait], progress: Progress
) -> list[Part]:
    """Measure everyday faces: untouched, drawn on, refused, and what else was asked for but nuisances."""
    told = _told(progress, path_text(folder.name))
    faces = cut_faces(portraits, bench.checkpoint, told)
    canvas = Canvas(faces, bench.checkpoint.config.alignment.template, request.noise)
    part, untouched = measure_everyday(folder, bench, canvas, told)
    parts = [part, measure_refusals(folder, bench, portraits, told)]
    if UNSEEN in request.also:
        parts.append(measure_unseen(path_text(folder.name), bench, canvas, untouched, 1, told))
    if RETEST in request.also:
        parts.append(measure_retest(path_text(folder.name), bench, faces, untouched, told))
    return parts


def _told(progress: Progress, step: str) -> Callable[[int, int], None]:
    return lambda done, total: progress(step, done, total, "")


def write_faces(request: Request, folder: Path, progress: Progress) -> None:
    """Write the faces of every case into a new ``folder``, for another program to rate.

    Raises:
        ImageSetError: the folder of portraits holds none, or none shows a usable face.
        CheckpointError: the checkpoint cannot be used.
        RequestError: the folder is not new.
    """
    place = new_folder(folder)
    setting = _set_up(request, progress)
    write_cases(setting.cases, place, lambda done, total: progress("drawing", done, total, ""))


def _set_up(request: Request, progress: Progress) -> _Setting:
    torch.set_num_threads(request.threads)
    checkpoint = load_appraisal(request.checkpoint)
    split = _split(request)
    portraits = read_portraits(request.faces, split)
    faces = cut_faces(portraits, checkpoint, lambda done, total: progress("aligning faces", done, total, ""))
    skipped = tuple(f"{portrait.name}: {reason}" for portrait, reason in faces.skipped)
    cases = Cases(faces, checkpoint.config.alignment.template, request.noise)
    return _Setting(checkpoint, cases, split, skipped)


def _split(request: Request) -> str:
    if request.split is not None:
        return request.split
    return HELD_OUT if (request.faces / INDEX).is_file() else ""


def _subject(request: Request, setting: _Setting) -> tuple[Rater, Evaluated, Cost | None]:
    if request.rated:
        rater = FolderRater(request.rated, len(setting.cases))
        scores = sha256((request.rated / SCORES).read_bytes()).hexdigest()
        return rater, Evaluated(path_text(request.rated.name), scores, setting.split, request.noise), None
    checkpoint = setting.checkpoint
    subject = Evaluated(checkpoint.config.name, checkpoint_hash(checkpoint), setting.split, request.noise)
    return PipelineRater(checkpoint), subject, cost(checkpoint)


def _picture(case: Case, rater: Rater) -> Picture:
    rating = rater.rate(case)
    verdict = next(iter(rating.verdicts.values()))
    return Picture(case.face, verdict.heatmap, rating.normalised.face if rating.normalised else None)
