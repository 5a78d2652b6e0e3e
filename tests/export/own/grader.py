"""A pipeline as a user writes it: a small U-Net, and a scorer that reads the picture and the mask."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from mien import Pipeline, Stage, judged_by, mean_iou, scalar

SIZE = 16


def block(inputs: int, outputs: int) -> nn.Sequential:
    """Return a convolution with batch normalisation."""
    layer = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(outputs), nn.ReLU())


class UNet(nn.Module):
    """Two scales, joined by a skip connection."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.down, self.deep = block(3, width), block(width, 2 * width)
        self.up = nn.ConvTranspose2d(2 * width, width, 2, stride=2)
        self.join, self.last = block(2 * width, width), nn.Conv2d(width, 1, 1)

    def forward(self, picture: Tensor) -> Tensor:
        """Return a mask of 0..1."""
        first = self.down(picture)
        second = self.up(self.deep(nn.functional.max_pool2d(first, 2)))
        return torch.sigmoid(self.last(self.join(torch.cat([first, second], 1))))


class Segment(nn.Module):
    """Pixels to a mask."""

    def __init__(self) -> None:
        super().__init__()
        self.unet = UNet()
        # Batch statistics as training settles them.
        with torch.no_grad():
            for _ in range(30):
                self.unet(torch.rand(4, 3, SIZE, SIZE) * 2 - 1)

    def forward(self, image: Tensor) -> Tensor:
        """Run the U-Net on pixels of 0..255."""
        mask: Tensor = self.unet(image.float() / 127.5 - 1)
        return mask


class Rate(nn.Module):
    """Pixels and their mask to a grade."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(4, width, 3, stride=2, padding=1), nn.ReLU())
        self.last = nn.Linear(width, 1)

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        """Return one number of some tens."""
        both = torch.cat([image.float() / 127.5 - 1, mask], 1)
        return 50 * self.last(self.features(both).mean((2, 3))).reshape(1)


def prepare(file: Path) -> dict[str, NDArray[np.uint8]]:
    """Read a photograph as an app does."""
    return {"image": np.asarray(Image.open(file).convert("RGB").resize((SIZE, SIZE)))[None]}


def area(reference: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Return by how much the area of a mask changed, as a share of the picture."""
    return abs(float(np.mean(reference) - np.mean(other)))


torch.manual_seed(0)
pipeline = Pipeline(
    name="grader",
    stages=[
        Stage("segment", Segment(), inputs=["image"], outputs=["mask"]),
        Stage("rate", Rate(), inputs=["image", "mask"], outputs=["grade"]),
    ],
    prepare=prepare,
    gates=[scalar("grade", fp32=0.01, fp16=0.5, int8=1.5), judged_by("mask", area, any=0.02)],
    metric=mean_iou("mask"),
)
