"""From a folder of portraits to the report on a checkpoint."""

from dataclasses import dataclass
from pathlib import Path

import torch

from mien.models.checkpoint import REFERENCE, checkpoint_hash, load_checkpoint

from .evaluation import Case, Cases, Rater, evaluate
from .evaluation_page import Picture
from .evaluation_report import Report, Subject, make_report
from .images import INDEX, cut_faces, read_portraits
from .raters import PipelineRater, cost, region_pixels
from .recipe import Report as Progress

HELD_OUT = "val"


@dataclass(frozen=True)
class Request:
    """What to evaluate on which faces; without ``split`` the one held out, or all if there is no index."""

    faces: Path
    checkpoint: Path | None = None
    split: str | None = None
    threads: int = 1


def carry_out(request: Request, progress: Progress) -> tuple[Report, list[Picture]]:
    """Rate every case of the portraits; returns the report and the pictures of its worst cases.

    Raises:
        ImageSetError: the folder holds no such portrait, or none shows a usable face.
        CheckpointError: the checkpoint cannot be used.
    """
    torch.set_num_threads(request.threads)
    checkpoint = load_checkpoint(request.checkpoint or REFERENCE)
    split = _split(request)
    portraits = read_portraits(request.faces, split)
    faces = cut_faces(portraits, checkpoint, lambda done, total: progress("aligning faces", done, total, ""))
    rater, cases = PipelineRater(checkpoint), Cases(faces, checkpoint.config.alignment.template)
    evaluation = evaluate(
        cases, region_pixels(checkpoint), rater, lambda done, total: progress("rating", done, total, "")
    )
    subject = Subject(checkpoint.config.name, checkpoint_hash(checkpoint), split)
    skipped = tuple(f"{portrait.image.name}: {reason}" for portrait, reason in faces.skipped)
    report = make_report(subject, evaluation, skipped, cost(checkpoint))
    return report, [_picture(cases.draw(miss.row, miss.kind, miss.severity), rater) for miss in report.worst]


def _picture(case: Case, rater: Rater) -> Picture:
    rating = rater.rate(case)
    verdict = next(iter(rating.verdicts.values()))
    return Picture(case.face, verdict.heatmap, rating.normalised.face if rating.normalised else None)


def _split(request: Request) -> str:
    if request.split is not None:
        return request.split
    return HELD_OUT if (request.faces / INDEX).is_file() else ""
