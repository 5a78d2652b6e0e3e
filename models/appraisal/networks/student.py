"""The student and the head that turns its disagreement with the teacher into a heatmap."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from .layers import InvertedResidual, mirror, same_conv, unit_channels, upsample
from .teacher import CHANNELS, Features

HEAT_SIZE = 64
"""Rows and columns of the heatmap inside the pipeline: a quarter of the face's."""
_WIDTHS = (24, 48, 96)
_HEAD_WIDTH = 32
_COARSEST = 16


class Student(nn.Module):
    """A small network that imitates the teacher on normal faces and parts from it on anomalies."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(same_conv(3, 16, 3, 2), nn.BatchNorm2d(16), nn.ReLU6())
        self.stages = nn.ModuleList()
        self.taps = nn.ModuleList()
        channels = 16
        for blocks, kernel, width, out in zip((2, 3, 3), (5, 5, 3), _WIDTHS, CHANNELS, strict=True):
            stage = nn.Sequential(InvertedResidual(channels, width, kernel, 2, 3))
            stage.extend(InvertedResidual(width, width, kernel, 1, 3) for _ in range(blocks - 1))
            self.stages.append(stage)
            self.taps.append(nn.Conv2d(width, out, 1))
            channels = width

    def forward(self, face: Tensor) -> Features:
        """Map a face [N, 3, 256, 256] in 0..1 to features shaped as the teacher's."""
        x = self.stem(face * 2 - 1)
        taps = []
        for stage, tap in zip(self.stages, self.taps, strict=True):
            x = stage(x)
            taps.append(tap(x))
        return Features(*taps)


class Disagreement(NamedTuple):
    """What teacher and student make of one face.

    ``distances``: squared distance of the unit features, 0..4, per scale: [N, 1, 64, 64], [N, 1, 32, 32],
    [N, 1, 16, 16]. ``logit``: the head's verdict, [N, 1, 64, 64]; its sigmoid is the heatmap.
    """

    distances: tuple[Tensor, Tensor, Tensor]
    logit: Tensor


class HeatmapHead(nn.Module):
    """Segments anomalies from teacher features, their products with the student's, and the other half.

    The products are DeSTSeg's (arXiv 2211.11317). Beside each place the head sees its mirror image: a dark
    patch in one half of a beard is not a beard. Coarse scales are refined by finer ones; ``place`` lets the
    head know where in the aligned face it looks, since what is a nostril in one place is a hole in another.
    """

    def __init__(self) -> None:
        super().__init__()
        self.project = nn.ModuleList(nn.Conv2d(5 * channels + 3, _HEAD_WIDTH, 1) for channels in CHANNELS)
        self.refine = nn.ModuleList(
            nn.Sequential(*(InvertedResidual(_HEAD_WIDTH, _HEAD_WIDTH, 5, 1, 3) for _ in range(2)))
            for _ in CHANNELS
        )
        self.place = nn.Parameter(torch.zeros(1, _HEAD_WIDTH, _COARSEST, _COARSEST))
        self.verdict = nn.Conv2d(_HEAD_WIDTH, 1, 1)

    def forward(self, teacher: Features, student: Features) -> Disagreement:
        """Compare the features of the same faces."""
        distances, maps = [], []
        for project, t, s in zip(self.project, teacher, student, strict=True):
            unit = unit_channels(t)
            product, distance = _compared(unit, unit_channels(s))
            distances.append(distance)
            here = torch.cat([unit, product, distance], dim=1)
            there = mirror(here)
            symmetry = _compared(unit, there[:, : unit.shape[1]])
            maps.append(project(torch.cat([here, there, *symmetry], dim=1)))
        x = maps[-1] + self.place
        for refine, finer in zip(self.refine, (maps[1], maps[0], None), strict=True):
            x = refine(x)
            x = x if finer is None else upsample(x, finer.shape[-1]) + finer
        return Disagreement((distances[0], distances[1], distances[2]), self.verdict(x))


def _compared(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Return the products of unit features [N, C, h, w], and their squared distance [N, 1, h, w], 0..4."""
    product = a * b
    return product, 2 - 2 * product.sum(dim=1, keepdim=True)
