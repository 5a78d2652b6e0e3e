"""Rating photographs with the float pipeline of a checkpoint."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from mien.mobile_reference.front import alignment
from mien.mobile_reference.run.runner import Appraiser, Prepared, prepare_face
from mien.models.pipeline import Arrays

from .alignment import AlignedFace, align
from .checkpoint import Checkpoint
from .parts import load_appraisal
from .pipeline import appraisal


class CheckpointAppraiser(Appraiser):
    """Rates photographs in PyTorch, on the CPU."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.variant = "float"
        self.checkpoint = checkpoint
        self.pipeline = appraisal(checkpoint)
        self.spec = self.pipeline.spec

    def rate(self, inputs: Arrays) -> Arrays:
        """Run the end-to-end module on an aligned face [1, 256, 256, 3]; tensors by name."""
        whole = self.pipeline.end_to_end
        return self.pipeline.run_models((whole,) if whole else self.pipeline.stages, inputs)

    def prepare(self, photograph: NDArray[np.uint8]) -> Prepared:
        """Find the largest face of an RGB photograph [H, W, 3], frame and measure it.

        Raises:
            NoFaceError: there is no face that can be aligned.
        """
        photo = torch.from_numpy(photograph).permute(2, 0, 1)
        found = align(photo, self.checkpoint.detector, self.checkpoint.config.alignment)
        return prepare_face(self.spec, photograph, as_arrays(found))


def as_arrays(found: AlignedFace) -> alignment.AlignedFace:
    """Return a face as the runner has it, channels last."""
    return alignment.AlignedFace(
        found.pixels.permute(1, 2, 0).contiguous().numpy(),
        found.matrix.numpy(),
        found.faces,
        found.score,
        found.keypoints.numpy(),
    )


def open_checkpoint(path: Path | None, threads: int) -> CheckpointAppraiser:
    """Open a checkpoint, an appraisal that a file of Python defines, or the checkpoint that ships."""
    torch.set_num_threads(threads)
    return CheckpointAppraiser(load_appraisal(path))
