"""What is normal at each place of a face, and the score's scale, from untouched faces."""

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from mien.models.appraisal.networks.appraisal import AppraisalNet, blur, feature_change

# Of the untouched faces, seen plain and mirrored, this share stays below what is called normal.
NORMAL_SHARE = 0.98
# The untouched face at this rank of evidence shall score SCORE_THERE.
EVIDENCE_SHARE = 0.95
SCORE_THERE = 99.3
_SPREAD = 5


@torch.inference_mode()
def fit_normal(net: AppraisalNet, faces: Tensor, progress: Callable[[int, int], None]) -> None:
    """Set the net's buffers from untouched ``faces``, uint8 [K, 3, 256, 256].

    ``normal_heat`` and ``normal_change`` become a high quantile at each place over the faces and their
    mirror images, spread over the neighbourhood, so that a face which was not among them finds room
    too. ``tolerated_evidence`` then places the score's scale.
    """
    for buffer in (net.normal_heat, net.normal_change):
        buffer.zero_()
    both = torch.cat([faces, faces.flip(3)])
    heats = torch.cat([_heat(net, face) for face in _watched(both, progress, 0, 3)])
    net.normal_heat.copy_(_level(heats))
    changes = torch.cat([_change(net, face) for face in _watched(both, progress, 1, 3)])
    net.normal_change.copy_(_level(changes))
    net.tolerated_evidence.fill_(1)
    scores = torch.cat([net(face.float()).score for face in _watched(both, progress, 2, 3)])
    evidence = 100 / scores - 1
    there = torch.quantile(evidence, EVIDENCE_SHARE)
    net.tolerated_evidence.fill_(float(there.clamp(min=1e-6) / (100 / SCORE_THERE - 1)))


def _watched(faces: Tensor, progress: Callable[[int, int], None], turn: int, turns: int) -> Iterator[Tensor]:
    """Yield faces one by one, telling the progress of this turn among all."""
    for done, face in enumerate(torch.split(faces, 1), start=1):
        yield face
        progress(turn * len(faces) + done, turns * len(faces))


def _heat(net: AppraisalNet, face: Tensor) -> Tensor:
    colours = face.float() / 255
    return net.heat(colours, net.teacher(colours))


def _change(net: AppraisalNet, face: Tensor) -> Tensor:
    colours = face.float() / 255
    features = net.teacher(colours)
    normalised = net.inpainter(colours, net.mask(net.heat(colours, features)))
    return feature_change(features, net.teacher(normalised))


def _level(maps: Tensor) -> Tensor:
    """Return the quantile of [K, 1, h, w] at each place, spread and smoothed, [1, 1, h, w]."""
    level = torch.quantile(maps, NORMAL_SHARE, dim=0, keepdim=True)
    return blur(F.max_pool2d(level, _SPREAD, stride=1, padding=_SPREAD // 2))
