"""The pipeline: a U-Net marks rust, a scorer grades the plate by picture and mask."""

from pathlib import Path

import numpy as np
import torch
from networks import Scorer, UNet
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from mien import Pipeline, Stage, iou, scalar

HERE = Path(__file__).parent


class Segment(nn.Module):
    """Takes pixels as an app has them, so that nobody has to normalise them a second time."""

    def __init__(self) -> None:
        super().__init__()
        self.unet = UNet()
        self.unet.load_state_dict(torch.load(HERE / "unet.pt", weights_only=True))

    def forward(self, image: Tensor) -> Tensor:
        """Turn uint8 pixels [1, 3, H, W] into a mask [1, 1, H, W]."""
        return self.unet(image.float() / 127.5 - 1)


class Rate(nn.Module):
    """Grades the plate."""

    def __init__(self) -> None:
        super().__init__()
        self.scorer = Scorer()
        self.scorer.load_state_dict(torch.load(HERE / "scorer.pt", weights_only=True))

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        """Turn pixels and mask into a grade [1, 1] of 0..100."""
        return self.scorer(image.float() / 127.5 - 1, mask)


def prepare(file: Path) -> dict[str, NDArray[np.uint8]]:
    """Read a picture as the app will have it: [1, H, W, 3] of uint8."""
    return {"image": np.asarray(Image.open(file).convert("RGB").resize((64, 64)))[None]}


pipeline = Pipeline(
    name="grader",
    stages=[
        Stage("segment", Segment().eval(), inputs=["image"], outputs=["mask"]),
        Stage("rate", Rate().eval(), inputs=["image", "mask"], outputs=["grade"]),
    ],
    prepare=prepare,
    gates=[
        scalar("grade", fp32=0.01, fp16=0.5, int8=3),  # the first gate compares variants
        iou("mask", fp32=1e-4, fp16=0.01, int8=0.05),
    ],
    layout={"mask": "NHWC"},
    scale={"grade": 100},
)
