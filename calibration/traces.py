"""What the float pipeline makes of a face, stage by stage: for golden vectors and for calibration."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from mien.models.alignment import AlignedFace, align
from mien.models.appraisal import feature_change
from mien.models.checkpoint import Checkpoint

from .errors import ImageSetError


@dataclass(frozen=True)
class Trace:
    """The tensors of one photograph by name, each with a batch of 1 and channels second.

    ``picture`` uint8 [1, 3, 128, 128] is what the detector sees at its second look, ``candidates`` its
    answer; ``face`` uint8 [1, 3, 256, 256]; ``heat`` [1, 1, 64, 64]; ``mask`` and ``heatmap``
    [1, 1, 256, 256]; ``normalised`` [1, 3, 256, 256] in 0..255; ``score`` [1].
    """

    aligned: AlignedFace
    tensors: Mapping[str, Tensor]

    @property
    def score(self) -> float:
        """The score of the float pipeline."""
        return float(self.tensors["score"])


@torch.inference_mode()
def trace(photo: Tensor, checkpoint: Checkpoint) -> Trace:
    """Run the float pipeline on a photograph, uint8 [3, H, W], keeping every stage's output.

    Raises:
        NoFaceError: the photograph shows no usable face.
    """
    aligned = align(photo, checkpoint.detector, checkpoint.config.alignment)
    picture = aligned.picture[None]
    return Trace(
        aligned,
        {"picture": picture, "candidates": checkpoint.detector(picture.float())}
        | trace_face(aligned.pixels[None], checkpoint),
    )


@torch.inference_mode()
def trace_face(face: Tensor, checkpoint: Checkpoint) -> dict[str, Tensor]:
    """Run the stages on an aligned face, uint8 [1, 3, 256, 256]."""
    net = checkpoint.appraisal
    colours = face.float() / 255
    features = net.teacher(colours)
    heat = net.heat(colours, features)
    mask = net.mask(heat)
    normalised = net.inpainter(colours, mask)
    score, heatmap = net.rate(heat, feature_change(features, net.teacher(normalised)))
    return {
        "face": face,
        "heat": heat,
        "mask": mask,
        "normalised": normalised * 255,
        "heatmap": heatmap,
        "score": score,
    }


def check_calibration_faces(traces: Iterable[Trace]) -> None:
    """Refuse faces that cannot give ranges: too few, or all alike.

    Raises:
        ImageSetError: there are fewer than four faces, or two of them are equal.
    """
    faces = [t.tensors["face"] for t in traces]
    if len(faces) < 4:
        raise ImageSetError(
            f"{len(faces)} calibration faces were found, at least 4 are needed; add portraits"
        )
    distinct = {face.numpy().tobytes() for face in faces}
    if len(distinct) < len(faces):
        raise ImageSetError(f"{len(faces) - len(distinct)} calibration faces are duplicates; remove them")
