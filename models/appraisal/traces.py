"""What the float pipeline makes of a photograph, stage by stage: for golden inputs and for calibration."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mien.models.pipeline import Arrays, Pipeline

from .alignment import AlignedFace, align
from .checkpoint import Checkpoint


@dataclass(frozen=True)
class Trace:
    """The tensors of one photograph by name, as the contract has them, and the face that was found.

    ``picture`` uint8 [1, 128, 128, 3] is what the detector sees in its second detection, ``candidates`` its
    answer; ``face`` uint8 [1, 256, 256, 3]; ``heat`` [1, 64, 64, 1]; ``mask`` and ``heatmap``
    [1, 256, 256, 1]; ``normalised`` [1, 256, 256, 3] in 0..255; ``score`` [1].
    """

    aligned: AlignedFace
    tensors: Arrays


@torch.inference_mode()
def trace(photo: Tensor, checkpoint: Checkpoint, pipeline: Pipeline) -> Trace:
    """Run the float pipeline on a photograph, uint8 [3, H, W], keeping every stage's output.

    Raises:
        NoFaceError: the photograph shows no usable face.
    """
    return trace_aligned(align(photo, checkpoint.detector, checkpoint.config.alignment), pipeline)


def trace_aligned(aligned: AlignedFace, pipeline: Pipeline) -> Trace:
    """Run the float pipeline on a face that was found, keeping every stage's output."""
    detector = pipeline.front.models if pipeline.front else ()
    seen = pipeline.run_models(detector, {"picture": _channels_last(aligned.picture[None])})
    return Trace(aligned, seen | pipeline.run({"face": _channels_last(aligned.pixels[None])}))


def _channels_last(pixels: Tensor) -> NDArray[np.uint8]:
    return np.asarray(pixels.permute(0, 2, 3, 1).contiguous().numpy())
