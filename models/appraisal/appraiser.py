"""Rating photographs with the float pipeline of a checkpoint."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from .alignment import align
from .checkpoint import REFERENCE, Checkpoint, load_checkpoint


@dataclass(frozen=True)
class FloatAppraisal:
    """What the float pipeline says of one photograph, in numpy arrays.

    ``face`` and ``normalised`` uint8 [256, 256, 3], ``heatmap`` and ``mask`` float32 [256, 256],
    ``alignment`` float64 [2, 3] from photograph to face pixels.
    """

    score: float
    face: NDArray[np.uint8]
    heatmap: NDArray[np.float32]
    mask: NDArray[np.float32]
    normalised: NDArray[np.uint8]
    alignment: NDArray[np.float64]
    faces: int


class CheckpointAppraiser:
    """Rates photographs in PyTorch, on the CPU."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.variant = "float"
        self.checkpoint = checkpoint

    def rate(self, face: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        """Run the pipeline on an aligned face [256, 256, 3]; tensors by name, channels second."""
        pixels = torch.from_numpy(face).permute(2, 0, 1)[None]
        with torch.inference_mode():
            result = self.checkpoint.appraisal(pixels.float())
        return {name: tensor.numpy() for name, tensor in result._asdict().items()}

    def appraise(self, photograph: NDArray[np.uint8]) -> FloatAppraisal:
        """Rate an RGB photograph [H, W, 3].

        Raises:
            NoFaceError: there is no face that can be aligned.
        """
        photo = torch.from_numpy(photograph).permute(2, 0, 1)
        face = align(photo, self.checkpoint.detector, self.checkpoint.config.alignment)
        with torch.inference_mode():
            result = self.checkpoint.appraisal(face.pixels[None].float())
        normalised = torch.floor(result.normalised[0] + 0.5).clamp(0, 255).to(torch.uint8)
        return FloatAppraisal(
            score=float(result.score),
            face=face.pixels.permute(1, 2, 0).numpy(),
            heatmap=result.heatmap[0, 0].numpy(),
            mask=result.mask[0, 0].numpy(),
            normalised=normalised.permute(1, 2, 0).numpy(),
            alignment=face.matrix.numpy(),
            faces=face.faces,
        )


def open_checkpoint(path: Path | None, threads: int) -> CheckpointAppraiser:
    """Open a checkpoint folder or ``.pt`` file, or the checkpoint that ships with mien."""
    torch.set_num_threads(threads)
    return CheckpointAppraiser(load_checkpoint(path or REFERENCE))
