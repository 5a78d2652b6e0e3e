"""Rating photographs with the float pipeline of a checkpoint."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from mien.mobile_reference.run.runner import Prepared, Rating
from mien.models.pipeline import Arrays

from .alignment import align
from .checkpoint import REFERENCE, Checkpoint, load_checkpoint
from .pipeline import appraisal


class CheckpointAppraiser:
    """Rates photographs in PyTorch, on the CPU."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.variant = "float"
        self.checkpoint = checkpoint
        self.pipeline = appraisal(checkpoint)

    def rate(self, inputs: Arrays) -> Arrays:
        """Run the end-to-end module on an aligned face [1, 256, 256, 3]; tensors by name."""
        whole = self.pipeline.end_to_end
        return self.pipeline.run_models((whole,) if whole else self.pipeline.stages, inputs)

    def appraise(self, photograph: NDArray[np.uint8]) -> Rating:
        """Rate an RGB photograph [H, W, 3].

        Raises:
            NoFaceError: there is no face that can be aligned.
        """
        photo = torch.from_numpy(photograph).permute(2, 0, 1)
        found = align(photo, self.checkpoint.detector, self.checkpoint.config.alignment)
        face = found.pixels.permute(1, 2, 0).contiguous().numpy()[None]
        prepared = Prepared({"face": face}, found.matrix.numpy(), found.faces)
        return Rating(self.pipeline.spec, prepared, self.rate(prepared.inputs))


def open_checkpoint(path: Path | None, threads: int) -> CheckpointAppraiser:
    """Open a checkpoint folder or ``.pt`` file, or the checkpoint that ships with mien."""
    torch.set_num_threads(threads)
    return CheckpointAppraiser(load_checkpoint(path or REFERENCE))
