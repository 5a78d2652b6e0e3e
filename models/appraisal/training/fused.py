"""Student, head and teacher computed quicker in training, where normalisations keep their statistics.

Results and gradients are those of the modules but for the last bits. The modules' own ``forward`` stays the
plain definition, which is what is exported.

1. A settled normalisation is part of the weights of the convolution before it: one pass over the map less.
2. Even padding is the convolution's own, without a padded copy, and activations work in place.
3. What the head makes of the mirrored map is the mirror image of what its weights make of the map.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mien.models.appraisal.networks.layers import InvertedResidual, SameConv, mirror, unit_channels, upsample
from mien.models.appraisal.networks.student import Disagreement, HeatmapHead, Student
from mien.models.appraisal.networks.teacher import TAP_SCALE, TAPS, Features, Teacher


def student_features(student: Student, face: Tensor) -> Features:
    """Return what ``student(face)`` does, its normalisations in evaluation mode."""
    x = _chain(student.stem, face * 2 - 1)
    taps = []
    for stage, tap in zip(student.stages, student.taps, strict=True):
        x = _chain(stage, x)
        taps.append(tap(x))
    return Features(*taps)


def teacher_features(teacher: Teacher, face: Tensor) -> Features:
    """Return what ``teacher(face)`` does."""
    x = _chain(teacher.stem, face * (255 / 128) - 127 / 128)
    taps = []
    for index, stage in enumerate(teacher.stages):
        x = _chain(stage, x)
        if index in TAPS:
            taps.append(x * TAP_SCALE)
    return Features(*taps)


def disagreement(head: HeatmapHead, teacher: Features, student: Features) -> Disagreement:
    """Return what ``head(teacher, student)`` does, its normalisations in evaluation mode."""
    distances, maps = [], []
    for project, t, s in zip(head.project, teacher, student, strict=True):
        distance, projected = _projected(project.get_parameter("weight"), project.get_parameter("bias"), t, s)
        distances.append(distance)
        maps.append(projected)
    x = maps[-1] + head.place
    for refine, finer in zip(head.refine, (maps[1], maps[0], None), strict=True):
        x = _chain(refine, x)
        x = x if finer is None else upsample(x, finer.shape[-1]) + finer
    return Disagreement((distances[0], distances[1], distances[2]), head.verdict(x))


def _projected(weight: Tensor, bias: Tensor, teacher: Tensor, student: Tensor) -> tuple[Tensor, Tensor]:
    """Return the distance of unit features, and the projection of all that the head compares at one scale."""
    unit = unit_channels(teacher)
    product, symmetry = unit * unit_channels(student), unit * mirror(unit)
    distance, asymmetry = (2 - 2 * x.sum(dim=1, keepdim=True) for x in (product, symmetry))
    here = torch.cat([unit, product, distance], dim=1)
    width, out = here.shape[1], len(weight)
    of_here, of_there, of_both = torch.split(weight, [width, width, weight.shape[1] - 2 * width], dim=1)
    both = F.conv2d(here, torch.cat([of_here, of_there]))
    alike = F.conv2d(torch.cat([symmetry, asymmetry], dim=1), of_both, bias)
    return distance, both[:, :out] + mirror(both[:, out:]) + alike


def _chain(layers: nn.Module, x: Tensor) -> Tensor:
    """Run convolutions with their normalisations and activations, or blocks of them."""
    conv: SameConv | None = None
    for layer in layers.children():
        if isinstance(layer, InvertedResidual):
            y = _chain(layer.layers, x)
            x = x + y if layer.residual else y
        elif isinstance(layer, SameConv):
            conv = layer
        elif isinstance(layer, nn.BatchNorm2d) and conv is not None:
            x = _normalised(conv, layer, x)
        else:
            x = F.relu6(x, inplace=True)
    return x


def _normalised(conv: SameConv, norm: nn.BatchNorm2d, x: Tensor) -> Tensor:
    mean, variance = norm.get_buffer("running_mean"), norm.get_buffer("running_var")
    scale = norm.weight * torch.rsqrt(variance + norm.eps)
    weight = conv.weight * scale.view(-1, 1, 1, 1)
    bias = norm.bias - mean * scale
    if conv.stride[0] == 1:
        return F.conv2d(x, weight, bias, 1, conv.kernel_size[0] // 2, 1, conv.groups)
    return F.conv2d(conv.padded(x), weight, bias, conv.stride, 0, 1, conv.groups)
