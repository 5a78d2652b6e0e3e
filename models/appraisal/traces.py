"""What the float pipeline makes of a face, stage by stage: for golden vectors and for calibration."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from .alignment import AlignedFace, align
from .checkpoint import Checkpoint
from .networks.appraisal import feature_change


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
    return trace_aligned(align(photo, checkpoint.detector, checkpoint.config.alignment), checkpoint)


@torch.inference_mode()
def trace_aligned(aligned: AlignedFace, checkpoint: Checkpoint) -> Trace:
    """Run the float pipeline on a face that was found, keeping every stage's output."""
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
