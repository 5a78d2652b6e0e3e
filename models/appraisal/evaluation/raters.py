"""Who rates faces in an evaluation: the float pipeline of a checkpoint, whole and stage by stage."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from mien.models.appraisal.checkpoint import Checkpoint
from mien.models.appraisal.networks.appraisal import FACE_SIZE, face_region, feature_change
from mien.models.appraisal.networks.detector import INPUT_SIZE
from mien.models.appraisal.networks.teacher import Features

from .evaluation import Case, Normalised, RatedFace, Rating

HEAT_AND_COMPARISON = "heat and comparison"
HEAT_ALONE = "heat alone"
COMPARISON_ALONE = "comparison alone"


class PipelineRater:
    """Rates by a checkpoint: with all its stages, by the heat alone and by the comparison alone.

    Every stage's evidence goes through the same map to a score, that of the whole pipeline.
    """

    stages = (HEAT_AND_COMPARISON, HEAT_ALONE, COMPARISON_ALONE)

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.net = checkpoint.appraisal
        self._region = face_region(self.net.rule, FACE_SIZE)
        self._last: tuple[NDArray[np.uint8], Features] | None = None

    @torch.inference_mode()
    def rate(self, case: Case) -> Rating:
        """Rate a face."""
        net, face = self.net, _colours(case.face)
        features = net.teacher(face)
        heat = net.heat(face, features)
        mask = net.mask(heat)
        painted = net.inpainter(face, mask)
        repainted = net.teacher(painted)
        change = net.change(features, repainted, mask)
        none = torch.zeros_like(change)
        parts = {
            HEAT_AND_COMPARISON: (heat, change),
            HEAT_ALONE: (heat, none),
            COMPARISON_ALONE: (none, change),
        }
        verdicts = {stage: _verdict(*net.rate(*part)) for stage, part in parts.items()}
        untouched = _colours(case.untouched)
        original = self._original(case.untouched)
        before, after = (
            (self._colour_distance(untouched, colours), self._feature_distance(original, taught))
            for colours, taught in ((face, features), (painted, repainted))
        )
        return Rating(verdicts, Normalised(_picture(painted), before, after))

    def _original(self, untouched: NDArray[np.uint8]) -> Features:
        """Return the features of an untouched face: many cases in a row have the same."""
        if self._last is None or self._last[0] is not untouched:
            self._last = (untouched, self.net.teacher(_colours(untouched)))
        return self._last[1]

    def _colour_distance(self, a: Tensor, b: Tensor) -> float:
        return 255 * float((self._region * (a - b).abs()).mean() / self._region.mean())

    def _feature_distance(self, a: Features, b: Features) -> float:
        region = self.net.region
        return float((region * feature_change(a, b)).mean() / region.mean())


def _verdict(score: Tensor, heatmap: Tensor) -> RatedFace:
    return RatedFace(float(score), heatmap[0, 0].numpy())


def _colours(face: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(face).permute(2, 0, 1)[None].contiguous().float() / 255


def _picture(colours: Tensor) -> NDArray[np.uint8]:
    return torch.floor(colours[0] * 255 + 0.5).clamp(0, 255).to(torch.uint8).permute(1, 2, 0).numpy()


def region_pixels(checkpoint: Checkpoint) -> NDArray[np.bool_]:
    """Return which pixels lie in the face region, [256, 256]."""
    return np.asarray(face_region(checkpoint.appraisal.rule, FACE_SIZE)[0, 0].numpy() > 0.5)


@dataclass(frozen=True)
class Cost:
    """What an appraisal computes, in 10^9 multiply-accumulates, and what its weights take, in 10^6 bytes."""

    giga_macs: float
    megabytes: float


@torch.inference_mode()
def cost(checkpoint: Checkpoint) -> Cost:
    """Count an appraisal from photograph to score, without the warps, and all float32 weights."""
    picture, pixels = torch.zeros(1, 3, INPUT_SIZE, INPUT_SIZE), torch.zeros(1, 3, FACE_SIZE, FACE_SIZE)
    with FlopCounterMode(display=False) as counter:
        for _ in range(2):  # the detector looks twice
            checkpoint.detector(picture)
        checkpoint.appraisal(pixels)
    stored = sum(tensor.numel() * tensor.element_size() for tensor in checkpoint.state_dict().values())
    return Cost(counter.get_total_flops() / 2e9, stored / 1e6)
