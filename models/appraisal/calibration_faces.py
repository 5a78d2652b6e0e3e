"""The faces that ranges are made from: portraits checked, aligned, and drawn on."""

from collections.abc import Sequence
from itertools import chain

import numpy as np

from mien.mobile_reference.errors import PhotographError
from mien.mobile_reference.report.steps import Progress, Step, quietly
from mien.mobile_reference.run.threads import side_by_side, usable_cores
from mien.models.errors import NoFaceError
from mien.models.pipeline import RUNNING, Arrays, Calibration, Pipeline, Sample

from .alignment import AlignedFace
from .checkpoint import Checkpoint
from .errors import ImageSetError
from .evaluation.anomalies import ANOMALIES, draw_on_face
from .portrait_checks import (
    check_duplicates,
    check_held_out,
    check_left_out,
    check_numbers,
    examine,
    image_hash,
)
from .portraits import Portrait, read_image
from .traces import Trace, trace_aligned

OWN_SPLITS = frozenset({"", "train", "calibration"})
"""Portraits of another split are held out: a bundle may be judged by them."""
MOST_PORTRAITS = 48
"""Of more portraits so many are taken, evenly."""
_FACES = 48
# Chance and severity of these drawings shall not be those of the drawings that a bundle is judged by.
_FIRST_INDEX = 1001


def gather(
    portraits: Sequence[Portrait],
    evaluation: Sequence[Portrait],
    checkpoint: Checkpoint,
    pipeline: Pipeline,
    progress: Progress = quietly,
) -> Calibration:
    """Make a calibration set of portraits, of which none may be in the evaluation set.

    Every face comes as it is and with drawn anomalies, the kinds by turns: ranges of typical faces alone
    are too narrow for the faces that the pipeline is for.

    Raises:
        ImageSetError: the set cannot give ranges.
    """
    own = [portrait for portrait in portraits if portrait.split in OWN_SPLITS]
    others = [portrait for portrait in portraits if portrait.split not in OWN_SPLITS]
    if not own:
        raise ImageSetError(
            f"all {len(portraits)} portraits are held out by their split; calibration takes those of split "
            "train, calibration or none"
        )
    check_held_out(own, [*others, *evaluation])
    count = min(len(own), MOST_PORTRAITS)
    chosen = [own[place * len(own) // count] for place in range(count)]
    found, left_out = _examined(chosen, checkpoint, progress)
    warnings = [*check_left_out(left_out, len(chosen))]
    used = tuple(portrait for portrait, _ in found)
    warnings += check_numbers(used)
    warnings += check_duplicates([p.image.name for p in used], [face.pixels for _, face in found])
    samples = _samples([face for _, face in found], checkpoint, pipeline, progress)
    files = tuple(sorted(image_hash(portrait) for portrait in used))
    return Calibration(samples, files, tuple(warnings))


def _examined(
    portraits: Sequence[Portrait], checkpoint: Checkpoint, progress: Progress
) -> tuple[list[tuple[Portrait, AlignedFace]], list[tuple[str, str]]]:
    """Return the portraits that can be used with their faces, and the others with what is wrong."""
    found, left_out = [], []
    for portrait in Step("checking portraits", len(portraits), progress).over(portraits):
        try:
            found.append((portrait, examine(read_image(portrait.image), checkpoint)))
        except (PhotographError, ImageSetError, NoFaceError) as error:
            left_out.append((portrait.image.name, str(error)))
    return found, left_out


def _samples(
    faces: Sequence[AlignedFace], checkpoint: Checkpoint, pipeline: Pipeline, progress: Progress
) -> tuple[Sample, ...]:
    """Run every face as it is and with as many drawings as make some 48 faces in all."""
    kinds = list(ANOMALIES)
    drawings = max(1, min(len(kinds), _FACES // len(faces) - 1))
    step = Step(RUNNING, len(faces) * (1 + drawings), progress)

    def of_face(place: int) -> list[Sample]:
        plain = trace_aligned(faces[place], pipeline)
        step.done()
        made = [Sample(f"{place}", plain.tensors)]
        for index in step.over(range(place * drawings, (place + 1) * drawings)):
            kind = kinds[index % len(kinds)]
            made.append(Sample(f"{place} {kind}", _drawn(plain, kind, index, checkpoint, pipeline)))
        return made

    return tuple(chain.from_iterable(side_by_side(of_face, range(len(faces)), usable_cores())))


def _drawn(plain: Trace, kind: str, index: int, checkpoint: Checkpoint, pipeline: Pipeline) -> Arrays:
    """Run the face with an anomaly; the detector has seen it without."""
    template = checkpoint.config.alignment.template
    drawn = draw_on_face(kind, plain.tensors["face"][0], template, _FIRST_INDEX + index)
    return {**plain.tensors, **pipeline.run({"face": np.ascontiguousarray(drawn[None])})}
