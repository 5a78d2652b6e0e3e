"""Two small networks: one marks the rust on a metal plate, one grades the plate."""

import torch
from torch import Tensor, nn


def _block(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
    )


class UNet(nn.Module):
    """Marks rust: RGB [N, 3, H, W] of -1..1 to a mask [N, 1, H, W] of 0..1."""

    def __init__(self) -> None:
        super().__init__()
        self.first = _block(3, 16)
        self.second = _block(16, 32, stride=2)
        self.third = _block(32, 48, stride=2)
        self.up_second = _block(48 + 32, 32)
        self.up_first = _block(32 + 16, 16)
        self.mask = nn.Conv2d(16, 1, 1)
        self.larger = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)

    def forward(self, image: Tensor) -> Tensor:
        """Go down twice and up again, with the finer maps beside the coarser."""
        first = self.first(image)
        second = self.second(first)
        third = self.third(second)
        second = self.up_second(torch.cat([self.larger(third), second], 1))
        first = self.up_first(torch.cat([self.larger(second), first], 1))
        return torch.sigmoid(self.mask(first))


class Scorer(nn.Module):
    """Grades a plate by its picture and its mask: 0 is rusted through, 100 is clean."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(_block(4, 16, stride=2), _block(16, 32, stride=2))
        self.grade = nn.Linear(32, 1)

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        """Average the features over the plate; returns [N, 1]."""
        features = self.features(torch.cat([image, mask], 1)).mean((2, 3))
        return 100 * torch.sigmoid(self.grade(features))
