"""A pipeline whose second stage need not run where the first finds nothing."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from mien import Pipeline, SkipSpec, Stage, scalar

SIZE = 16
DARK = 100
"""Pictures without a brighter pixel leave early."""


class Mark(nn.Module):
    """Pixels to a mask of what is bright."""

    def forward(self, image: Tensor) -> Tensor:
        """Return a mask of 0..1, 0 up to ``DARK``."""
        return torch.relu(image.float().amax(1, keepdim=True) - DARK) / (255 - DARK)


class Paint(nn.Module):
    """Pixels and a mask to other pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(4, 3, 3, padding=1)

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        """Change what is masked, and nothing else."""
        pixels = image.float()
        return pixels + mask * self.layer(torch.cat([pixels, mask], 1))


class Rate(nn.Module):
    """Pixels and other pixels to a grade."""

    def forward(self, image: Tensor, painted: Tensor) -> Tensor:
        """Return 100 where nothing changed."""
        return 100 - (painted - image.float()).abs().mean((1, 2, 3))


def prepare(file: Path) -> dict[str, NDArray[np.uint8]]:
    """Read a picture."""
    return {"image": np.asarray(Image.open(file).convert("RGB").resize((SIZE, SIZE)))[None]}


torch.manual_seed(0)
pipeline = Pipeline(
    name="painter",
    stages=[
        Stage("mark", Mark(), inputs=["image"], outputs=["mask"]),
        Stage(
            "paint",
            Paint(),
            inputs=["image", "mask"],
            outputs=["painted"],
            skip_when=SkipSpec("mask", {"painted": "image"}),
        ),
        Stage("rate", Rate(), inputs=["image", "painted"], outputs=["grade"]),
    ],
    prepare=prepare,
    layout={"mask": "NHWC", "painted": "NHWC"},
    gates=[scalar("grade", fp32=0.01, fp16=0.5, int8=1.5)],
)
