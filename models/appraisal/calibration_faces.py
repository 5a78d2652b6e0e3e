"""The faces that ranges are made from: portraits checked, aligned, and drawn on."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from mien.mobile_reference.errors import PhotographError
from mien.models.errors import NoFaceError

from .alignment import AlignedFace
from .checkpoint import Checkpoint
from .errors import ImageSetError
from .evaluation.anomalies import ANOMALIES, draw_on_face
from .portrait_checks import check_duplicates, check_held_out, check_left_out, check_numbers, examine
from .portraits import Portrait, Progress, read_image
from .traces import Trace, trace_aligned, trace_face

OWN_SPLITS = frozenset({"", "train", "calibration"})
"""Portraits of another split are held out: a bundle may be judged by them."""
MOST_PORTRAITS = 48
"""Of more portraits so many are taken, evenly."""
_FACES = 48
# Chance and severity of these drawings shall not be those of the drawings that a bundle is judged by.
_FIRST_TURN = 1001


@dataclass(frozen=True)
class CalibrationSet:
    """Faces with and without drawn anomalies as the float pipeline sees them, stage by stage.

    ``portraits`` are those that were used; ``warnings`` say what weakens the set.
    """

    traces: tuple[Trace, ...]
    portraits: tuple[Portrait, ...]
    warnings: tuple[str, ...]


def gather(
    portraits: Sequence[Portrait], evaluation: Sequence[Portrait], checkpoint: Checkpoint, progress: Progress
) -> CalibrationSet:
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
    traces = _traces([face for _, face in found], checkpoint)
    return CalibrationSet(traces, used, tuple(warnings))


def _examined(
    portraits: Sequence[Portrait], checkpoint: Checkpoint, progress: Progress
) -> tuple[list[tuple[Portrait, AlignedFace]], list[tuple[str, str]]]:
    """Return the portraits that can be used with their faces, and the others with what is wrong."""
    found, left_out = [], []
    for done, portrait in enumerate(portraits, start=1):
        try:
            found.append((portrait, examine(read_image(portrait.image), checkpoint)))
        except (PhotographError, ImageSetError, NoFaceError) as error:
            left_out.append((portrait.image.name, str(error)))
        progress(done, len(portraits))
    return found, left_out


def _traces(faces: Sequence[AlignedFace], checkpoint: Checkpoint) -> tuple[Trace, ...]:
    """Trace every face as it is and with as many drawings as make some 48 faces in all."""
    kinds = list(ANOMALIES)
    drawings = max(1, min(len(kinds), _FACES // len(faces) - 1))
    traces = []
    for place, face in enumerate(faces):
        plain = trace_aligned(face, checkpoint)
        traces.append(plain)
        for turn in range(place * drawings, (place + 1) * drawings):
            traces.append(_drawn(plain, kinds[turn % len(kinds)], turn, checkpoint))
    return tuple(traces)


def _drawn(plain: Trace, kind: str, turn: int, checkpoint: Checkpoint) -> Trace:
    """Trace the face with an anomaly; the detector has seen it without."""
    picture = plain.aligned.pixels.permute(1, 2, 0).contiguous().numpy()
    drawn = draw_on_face(kind, picture, checkpoint.config.alignment.template, _FIRST_TURN + turn)
    pixels = torch.from_numpy(drawn).permute(2, 0, 1)[None].contiguous()
    return Trace(plain.aligned, {**plain.tensors, **trace_face(pixels, checkpoint)})
