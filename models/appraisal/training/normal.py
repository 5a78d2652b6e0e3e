"""What is normal at each place of a face, and the score's scale, from untouched faces."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from mien.models.appraisal.networks.appraisal import AppraisalNet, blur
from mien.models.appraisal.networks.layers import mirror

# Of the untouched faces, seen plain and mirrored, this share stays below what is called normal.
NORMAL_SHARE = 0.9
# Of the faces of each folder this share scores at least what is wanted of them.
EVIDENCE_SHARE = 0.95
SCORE_THERE = 99.3
SCORE_THERE_EVERYDAY = 94.0
_SPREAD = 5
_TOGETHER = 4


@dataclass(frozen=True)
class Untouched:
    """Untouched faces of one folder, uint8 [K, 3, 256, 256], and what nearly all of them shall score."""

    faces: Tensor
    score: float = SCORE_THERE


@torch.inference_mode()
def fit_normal(net: AppraisalNet, sets: Sequence[Untouched], progress: Callable[[int, int], None]) -> None:
    """Set the net's buffers from untouched faces of one folder or more.

    ``normal_heat`` and ``normal_change`` become a high quantile at each place over the faces of all folders
    and their mirror images, spread over the neighbourhood, so that a face which was not among them finds
    room too. ``tolerated_evidence`` then places the score's scale: as steep as leaves every folder what it
    shall score.
    """
    for buffer in (net.normal_heat, net.normal_change):
        buffer.zero_()
    faces = torch.cat([untouched.faces for untouched in sets])
    both = torch.cat([faces, faces.flip(3)])
    plain = torch.cat([_heat(net, some) for some in _watched(faces, progress, 0, len(both))])
    # A face and its mirror image have the same heat.
    heats = torch.cat([plain, mirror(plain)])
    net.normal_heat.copy_(_level(heats))
    heats_together = torch.split(heats, _TOGETHER)
    looks = zip(_watched(both, progress, len(faces), len(faces)), heats_together, strict=True)
    changes = torch.cat([_change(net, some, heat) for some, heat in looks])
    net.normal_change.copy_(_level(changes))
    net.tolerated_evidence.fill_(1)
    changes_together = torch.split(changes, _TOGETHER)
    rated = [net.rate(heat, change)[0] for heat, change in zip(heats_together, changes_together, strict=True)]
    evidence = (100 / torch.cat(rated) - 1).view(2, -1)
    of_each = torch.split(evidence, [len(untouched.faces) for untouched in sets], dim=1)
    net.tolerated_evidence.fill_(max(_tolerated(e, s.score) for e, s in zip(of_each, sets, strict=True)))


def _tolerated(evidence: Tensor, score: float) -> float:
    """Return the evidence that takes half of the score where nearly all of this evidence leaves ``score``."""
    there = torch.quantile(evidence, EVIDENCE_SHARE)
    return float(there.clamp(min=1e-6) / (100 / score - 1))


def _watched(faces: Tensor, progress: Callable[[int, int], None], done: int, more: int) -> Iterator[Tensor]:
    """Yield a few faces at a time, telling how many looks are done; ``more`` are those of the other turn."""
    for some in torch.split(faces, _TOGETHER):
        yield some
        done += len(some)
        progress(done, len(faces) + more)


def _heat(net: AppraisalNet, faces: Tensor) -> Tensor:
    colours = faces.float() / 255
    return net.heat(colours, net.teacher(colours))


def _change(net: AppraisalNet, faces: Tensor, heat: Tensor) -> Tensor:
    colours = faces.float() / 255
    mask = net.mask(heat)
    return net.change(net.teacher(colours), net.teacher(net.inpainter(colours, mask)), mask)


def _level(maps: Tensor) -> Tensor:
    """Return the quantile of [K, 1, h, w] at each place, spread and smoothed, [1, 1, h, w]."""
    level = torch.quantile(maps, NORMAL_SHARE, dim=0, keepdim=True)
    return blur(F.max_pool2d(level, _SPREAD, stride=1, padding=_SPREAD // 2))
