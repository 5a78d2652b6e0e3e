"""From a folder of portraits to the report on a checkpoint, or on what another program made of them."""

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import torch

from mien.mobile_reference.report.progress import Report as Progress
from mien.models.appraisal.checkpoint import REFERENCE, Checkpoint, checkpoint_hash, load_checkpoint
from mien.models.appraisal.portraits import INDEX, cut_faces, read_portraits

from .evaluation import Case, Cases, Rater, evaluate
from .evaluation_page import Picture
from .evaluation_report import Report, Subject, make_report
from .peers import SCORES, FolderRater, write_cases
from .raters import Cost, PipelineRater, cost, region_pixels

HELD_OUT = "val"


@dataclass(frozen=True)
class Request:
    """What to evaluate on which faces; without ``split`` the one held out, or all if there is no index.

    The ``checkpoint`` frames the faces and rates them, unless ``ratings`` is a folder of cases that
    another program has rated. ``noise`` is the camera's, in grey levels.
    """

    faces: Path
    checkpoint: Path | None = None
    split: str | None = None
    threads: int = 1
    ratings: Path | None = None
    noise: float = 0.0


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
    setting = _set_up(request, progress)
    rater, subject, costs = _subject(request, setting)
    evaluation = evaluate(
        setting.cases,
        region_pixels(setting.checkpoint),
        rater,
        lambda done, total: progress("rating", done, total, ""),
    )
    report = make_report(subject, evaluation, setting.skipped, costs)
    worst = [setting.cases.draw(miss.row, miss.kind, miss.severity) for miss in report.worst]
    return report, [_picture(case, rater) for case in worst]


def write_faces(request: Request, folder: Path, progress: Progress) -> None:
    """Write the faces of every case into a new ``folder``, for another program to rate.

    Raises:
        ImageSetError: the folder of portraits holds none, or none shows a usable face.
        CheckpointError: the checkpoint cannot be used.
        RequestError: the folder is not new.
    """
    setting = _set_up(request, progress)
    write_cases(setting.cases, folder, lambda done, total: progress("drawing", done, total, ""))


def _set_up(request: Request, progress: Progress) -> _Setting:
    torch.set_num_threads(request.threads)
    checkpoint = load_checkpoint(request.checkpoint or REFERENCE)
    split = request.split
    if split is None:
        split = HELD_OUT if (request.faces / INDEX).is_file() else ""
    portraits = read_portraits(request.faces, split)
    faces = cut_faces(portraits, checkpoint, lambda done, total: progress("aligning faces", done, total, ""))
    skipped = tuple(f"{portrait.image.name}: {reason}" for portrait, reason in faces.skipped)
    cases = Cases(faces, checkpoint.config.alignment.template, request.noise)
    return _Setting(checkpoint, cases, split, skipped)


def _subject(request: Request, setting: _Setting) -> tuple[Rater, Subject, Cost | None]:
    if request.ratings:
        rater = FolderRater(request.ratings, len(setting.cases))
        scores = sha256((request.ratings / SCORES).read_bytes()).hexdigest()
        return rater, Subject(request.ratings.name, scores, setting.split, request.noise), None
    checkpoint = setting.checkpoint
    subject = Subject(checkpoint.config.name, checkpoint_hash(checkpoint), setting.split, request.noise)
    return PipelineRater(checkpoint), subject, cost(checkpoint)


def _picture(case: Case, rater: Rater) -> Picture:
    rating = rater.rate(case)
    verdict = next(iter(rating.verdicts.values()))
    return Picture(case.face, verdict.heatmap, rating.normalised.face if rating.normalised else None)
