"""The composed pipeline: from the aligned face to score, final heatmap, mask and normalised face.

Method: Hayajneh, Serpedin, Stotland, "Facial Anomaly Appraisal Using Discrepancy Optimization-Driven
Automatic Inpainting", IEEE JBHI 2025 (doi 10.1109/JBHI.2025.3569290), in a form a phone can run.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .inpainter import Inpainter
from .layers import mirror, unit_channels, upsample
from .student import HEAT_SIZE, HeatmapHead, Student
from .teacher import Features, Teacher

FACE_SIZE = 256
_SIDE = 16
_SURELY_MASKED = 1 / 1024
"""Below it the comparison counts in part, so that the score does not jump where a mask begins."""
FAINT = 0.2
"""What a unit below the normal level counts for: with 0 the heatmap could not tell faint from nothing."""


@dataclass(frozen=True)
class AppraisalRule:
    """What the composed pipeline must know beside its weights.

    The face region is a superellipse in pixels of the aligned face. Heat above what is normal at its
    place becomes mask by a ramp from ``mask_from`` to ``mask_to`` rather than by a step, so that a
    small difference in heat stays a small difference in the score; ``mask_growth`` (odd, in heatmap
    pixels) is the window of its dilation. ``change_gain`` weighs the comparison against the heat.
    """

    region_centre: tuple[float, float] = (128.0, 142.0)
    region_radii: tuple[float, float] = (70.0, 85.0)
    region_exponent: float = 3.0
    mask_from: float = 0.08
    mask_to: float = 0.25
    mask_growth: int = 5
    change_gain: float = 0.02


class Appraisal(NamedTuple):
    """What the pipeline says of faces.

    ``score`` [N], 0..100, 100 typical; ``heatmap`` (the final one) [N, 1, 256, 256], 0 where nothing is
    unusual; ``mask`` [N, 1, 256, 256], 0..1; ``normalised`` [N, 3, 256, 256], 0..255.
    """

    score: Tensor
    heatmap: Tensor
    mask: Tensor
    normalised: Tensor


def face_region(rule: AppraisalRule, size: int = HEAT_SIZE) -> Tensor:
    """Draw the face region, [1, 1, size, size], 1 inside and falling to 0 over some pixels."""
    places = (torch.arange(size) + 0.5) * (FACE_SIZE / size)
    y, x = torch.meshgrid(places, places, indexing="ij")
    dx = ((x - rule.region_centre[0]) / rule.region_radii[0]).abs()
    dy = ((y - rule.region_centre[1]) / rule.region_radii[1]).abs()
    radius = (dx**rule.region_exponent + dy**rule.region_exponent) ** (1 / rule.region_exponent)
    return ((1.05 - radius) / 0.1).clamp(0, 1)[None, None]


def blur(x: Tensor) -> Tensor:
    """Blur [N, 1, h, w] by a Gaussian of one heatmap pixel, separably."""
    taps = [math.exp(-(d**2) / 2) for d in range(-2, 3)]
    kernel = torch.tensor([t / sum(taps) for t in taps], device=x.device)
    x = F.conv2d(x, kernel.view(1, 1, 1, 5), padding=(0, 2))
    return F.conv2d(x, kernel.view(1, 1, 5, 1), padding=(2, 0))


def discount(x: Tensor, normal: Tensor) -> Tensor:
    """Let what lies above the normal level of its place count in full, what lies below it by ``FAINT``."""
    return x - (1 - FAINT) * torch.minimum(x, normal)


def grow(x: Tensor, window: int) -> Tensor:
    """Dilate a map [N, 1, h, w] by a square ``window`` and soften its edge."""
    return blur(F.max_pool2d(x, window, stride=1, padding=window // 2))


def feature_distance(a: Tensor, b: Tensor) -> Tensor:
    """Return the squared distance of features [N, C, h, w] brought to length 1, [N, 1, h, w] in 0..4."""
    return 2 - 2 * (unit_channels(a) * unit_channels(b)).sum(dim=1, keepdim=True)


def feature_change(before: Features, after: Features) -> Tensor:
    """Compare two faces by unit features: squared distance, 0..4, mean of three scales, [N, 1, 64, 64]."""
    maps = [upsample(feature_distance(a, b), HEAT_SIZE) for a, b in zip(before, after, strict=True)]
    return (maps[0] + maps[1] + maps[2]) / 3


class AppraisalNet(nn.Module):
    """All stages as one module. Its buffers hold what calibration found to be normal.

    ``normal_heat`` and ``normal_change`` [1, 1, 64, 64]: what untouched faces reach at each place;
    ``tolerated_evidence`` [1]: the evidence at which the score is 50.
    """

    region: Tensor
    normal_heat: Tensor
    normal_change: Tensor
    tolerated_evidence: Tensor

    def __init__(self, rule: AppraisalRule) -> None:
        super().__init__()
        self.rule = rule
        self.teacher = Teacher()
        self.student = Student()
        self.head = HeatmapHead()
        self.inpainter = Inpainter()
        region = face_region(rule)
        self.register_buffer("region", region, persistent=False)
        # A plain number: Core ML's converter makes of one over a tensor one over the tensor plus 1e-4.
        self.region_share = float(region.mean())
        self.register_buffer("normal_heat", torch.zeros(1, 1, HEAT_SIZE, HEAT_SIZE))
        self.register_buffer("normal_change", torch.zeros(1, 1, HEAT_SIZE, HEAT_SIZE))
        self.register_buffer("tolerated_evidence", torch.ones(1))

    def forward(self, pixels: Tensor) -> Appraisal:
        """Appraise aligned faces, RGB [N, 3, 256, 256] in 0..255."""
        face = pixels / 255
        features = self.teacher(face)
        heat = self.heat(face, features)
        mask = self.mask(heat)
        normalised = self.paint(pixels, mask)
        change = self.change(features, self.teacher(normalised / 255), mask)
        score, heatmap = self.rate(heat, change)
        return Appraisal(score, heatmap, mask, normalised)

    def heat(self, face: Tensor, features: Features) -> Tensor:
        """Stage 1: where teacher and student disagree, [N, 1, 64, 64] in 0..1.

        The face and its mirror image have an equal say, so that a mirrored photograph, such as many front
        cameras make, gets the same heat.
        """
        mirrored = mirror(face)
        logit = self.verdict(face, features) + mirror(self.verdict(mirrored, self.teacher(mirrored)))
        return torch.sigmoid(logit * 0.5) * self.region

    def verdict(self, face: Tensor, features: Features) -> Tensor:
        """Say how anomalous each place of one picture looks by itself, as a logit, [N, 1, 64, 64]."""
        logit: Tensor = self.head(features, self.student(face)).logit
        return logit

    def mask(self, heat: Tensor) -> Tensor:
        """Stage 2: what is to be inpainted, [N, 1, 256, 256] in 0..1."""
        unusual = F.relu(heat - self.normal_heat)
        ramp = (unusual - self.rule.mask_from) * (1 / (self.rule.mask_to - self.rule.mask_from))
        return upsample(grow(ramp.clamp(0, 1), self.rule.mask_growth), FACE_SIZE)

    def paint(self, pixels: Tensor, mask: Tensor) -> Tensor:
        """Stage 3: the normalised face, [N, 3, 256, 256] in 0..255.

        What the inpainter changes is added to the pixels: where it changes nothing they stay what they are,
        to the last bit.
        """
        face = pixels / 255
        normalised: Tensor = pixels + (self.inpainter(face, mask) - face) * 255
        return normalised

    def change(self, before: Features, after: Features, mask: Tensor) -> Tensor:
        """Stage 4: how far the features of face and normalised face are apart, [N, 1, 64, 64] in 0..4.

        Where nothing is masked it is exactly 0: two runs of the teacher need not give equal bits, even of
        equal pixels, and no features are at a distance of 0 from themselves, see ``unit_channels``.
        """
        most = F.max_pool2d(F.max_pool2d(mask, _SIDE), FACE_SIZE // _SIDE)
        # As a map: converters leave transpositions about a tensor of one value.
        counts = (upsample(most, HEAT_SIZE) / _SURELY_MASKED).clamp(max=1)
        # Rounding may leave less than 0, which times 0 would be another 0 in its bits.
        return counts * F.relu(feature_change(before, after))

    def rate(self, heat: Tensor, change: Tensor) -> tuple[Tensor, Tensor]:
        """Stage 5: reduce noise by what is normal at each place, then score.

        Returns the score [N] and the final heatmap [N, 1, 256, 256]. The score falls from 100 with the
        evidence and is 50 at the tolerated one.
        """
        unusual = discount(heat, self.normal_heat)
        changed = discount(change, self.normal_change) * self.rule.change_gain
        final = self.in_region(unusual + changed)
        score = 100 * self.tolerated_evidence / (self.tolerated_evidence + self.evidence(final))
        return score, upsample(final, FACE_SIZE)

    def in_region(self, heat: Tensor) -> Tensor:
        """Blur heat [N, 1, 64, 64] and keep what lies in the face region."""
        return blur(heat) * self.region

    def evidence(self, final: Tensor) -> Tensor:
        """Return the mean over the face region of final heat [N, 1, 64, 64] to the power of 1.5, [N].

        So a small but glaring place counts as a large and faint one does. It is summed in blocks, since a
        float16 sum of thousands of values would lose bits.
        """
        power = final * torch.sqrt(final)
        return F.avg_pool2d(power, 8).mean(dim=(1, 2, 3)) * (1 / self.region_share)
