"""Held-out faces for ``mien verify``: aligned, plain and drawn upon, and what float makes of each."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mien.models.appraisal.checkpoint import Checkpoint
from mien.models.appraisal.errors import ImageSetError
from mien.models.appraisal.portrait_checks import image_hash
from mien.models.appraisal.portraits import cut_faces, read_portraits
from mien.models.pipeline import HeldOut, Pipeline, Sample

from .anomalies import ANOMALIES, draw_on_face

# What a bundle's weights and ranges may have been made from says nothing about faces it has not seen.
SEEN = frozenset({"train", "calibration"})
PLAIN = "plain"


def held_out_faces(folder: Path, checkpoint: Checkpoint, pipeline: Pipeline) -> HeldOut:
    """Cut the faces of ``folder`` that are neither of split train nor of split calibration.

    Each is rated plain and with every kind of drawn anomaly, its severity by turns.

    Raises:
        ImageSetError: the folder holds no such portrait, or none shows a usable face.
    """
    portraits = [portrait for portrait in read_portraits(folder) if portrait.split not in SEEN]
    if not portraits:
        raise ImageSetError(
            f"every portrait of {folder} is of split train or calibration; give faces that were held out"
        )
    cut = cut_faces(portraits, checkpoint, lambda done, total: None)
    skipped = tuple(f"{portrait.name}: {reason}" for portrait, reason in cut.skipped)

    def inputs() -> Iterator[tuple[str, NDArray[np.uint8]]]:
        for place, (portrait, face) in enumerate(zip(cut.portraits, cut.faces, strict=True)):
            picture = face.permute(1, 2, 0).contiguous().numpy()[None]
            for kind, pixels in varied(picture, place, checkpoint):
                yield f"{portrait.image.stem} {kind}", pixels

    def samples(share: slice) -> Iterator[Sample]:
        for name, pixels in islice(inputs(), share.start, share.stop, share.step):
            yield Sample(name, pipeline.run({"face": pixels}))

    files = tuple(image_hash(portrait) for portrait in cut.portraits)
    count = len(cut.portraits) * (1 + len(ANOMALIES))
    return HeldOut(pipeline.weights, count, files, skipped, samples)


def varied(
    face: NDArray[np.uint8], place: int, checkpoint: Checkpoint
) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """Yield an aligned face [1, 256, 256, 3] as it is and with every kind of drawn anomaly, with the kind.

    ``place``, the number of the face in its set, decides severity, side and details.
    """
    yield PLAIN, face
    template = checkpoint.config.alignment.template
    for index, kind in enumerate(ANOMALIES, start=1):
        drawn = draw_on_face(kind, face[0], template, place + index)
        yield kind, np.ascontiguousarray(drawn[None])
