"""What is trained: student and head by discrepancy optimisation, and the inpainter.

Nothing is shown that was anomalous when it was photographed: anomalies are drawn (see
``corruptions`` and ``deformities``).
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from mien.models.appraisal.networks.appraisal import FACE_SIZE, AppraisalNet, feature_distance, grow
from mien.models.appraisal.networks.inpainter import composite
from mien.models.appraisal.networks.layers import unit_channels, upsample
from mien.models.appraisal.networks.student import HEAT_SIZE, Disagreement
from mien.models.appraisal.networks.teacher import Features
from mien.models.appraisal.training.camera import Camera, draw_camera
from mien.models.appraisal.training.corruptions import corrupt, random_window, uniform
from mien.models.appraisal.training.deformities import Anomaly, deform
from mien.models.appraisal.training.fused import disagreement, student_features, teacher_features
from mien.models.appraisal.training.training import Task, digest

# Heat for a unit of what the teacher's features moved, which is hardly ever 2, and for a unit of what the
# colours moved, which is hardly ever 0.3.
_FEATURE_GRADE = 0.5
_COLOUR_GRADE = 3.0
# The evidence that takes half of the score in training, about what calibration finds to be tolerated, and the
# share of the score that a deformity of severity 1 takes.
_TOLERATED_EVIDENCE = 0.0105
_SEVEREST = 0.6
# How far a grade may be scaled to tell a severity: what can hardly be seen must not be asked for.
_LEAST_SCALE, _MOST_SCALE = 0.25, 8.0
# Shares of red, green and blue in brightness, by ITU-R BT.601.
_BRIGHTNESS = (0.299, 0.587, 0.114)
# What the verdict on the whole face weighs against that on its places.
_WHOLE_FACE = 10.0


DrawCamera = Callable[[Generator], Camera]


def plain_camera(_rng: Generator) -> Camera:
    """Return the camera that takes a face as it is."""
    return Camera()


class DrawnFaces(NamedTuple):
    """Faces of which some carry drawn anomalies.

    ``faces`` [N, 3, 256, 256] in 0..1, the teacher's ``features`` of them, and the ``grade``
    [N, 1, 64, 64] in 0..1: how anomalous each place became.
    """

    faces: Tensor
    features: Features
    grade: Tensor


@torch.no_grad()
def draw_anomalies(
    net: AppraisalNet, faces: Tensor, untouched: int, rng: Generator, camera: DrawCamera = plain_camera
) -> DrawnFaces:
    """Draw an anomaly on all ``faces`` [N, 3, 256, 256] but the first ``untouched`` ones.

    The camera comes after it, its noise last: what a drawing moves it also smooths, and noise, blur or
    blocks that were there before would tell where.
    """
    reach = _reach(net)
    normal = list(faces.cpu())
    drawn = [draw_anomaly(face, reach, rng) for face in normal[untouched:]]
    severity = torch.tensor([severity for _, severity in drawn]).to(faces)
    shots = [(camera(rng), _camera_noise(face.shape, rng)) for face in normal]
    sharp = [*normal[:untouched], *(face for face, _ in drawn)]
    shown, before = (_taken(pictures, shots, faces) for pictures in (sharp, normal))
    features = teacher_features(net.teacher, shown.noisy)
    after = Features(*(scale[untouched:] for scale in features))
    old = teacher_features(net.teacher, before.noisy[untouched:])
    grade = _feature_grade(old, after) + _colour_grade(before.clean[untouched:], shown.clean[untouched:])
    grade = _graded_by_severity(net, grade.clamp(0, 1), severity)
    nothing = grade.new_zeros(untouched, *grade.shape[1:])
    return DrawnFaces(shown.noisy, features, torch.cat([nothing, grade]))


class _Pictures(NamedTuple):
    """Faces [N, 3, 256, 256] as cameras took them, without their noise and with it."""

    clean: Tensor
    noisy: Tensor


def _taken(faces: Sequence[Tensor], shots: Sequence[tuple[Camera, Tensor]], like: Tensor) -> _Pictures:
    """Take each face by a camera of its own, with noise."""
    clean = torch.stack([camera.take(face) for face, (camera, _) in zip(faces, shots, strict=True)])
    noise = torch.stack([noise for _, noise in shots])
    noisy = (clean + noise).clamp(0, 1).to(like.device, memory_format=torch.channels_last)
    return _Pictures(clean.to(like.device), noisy)


def _camera_noise(shape: torch.Size, rng: Generator) -> Tensor:
    """Draw noise, more often little than much: a photograph that was reduced to a face has little."""
    return 0.02 * uniform(0, 1, rng) ** 2 * torch.randn(shape, generator=rng)


def draw_anomaly(face: Tensor, reach: Tensor, rng: Generator) -> Anomaly:
    """Change a face [3, 256, 256] by a deformity or, as often, by corruptions of unknown severity."""
    if uniform(0, 1, rng) < 0.5:
        return deform(face, reach, rng)
    return Anomaly(corrupt(face, reach, rng), math.nan)


def _graded_by_severity(net: AppraisalNet, grade: Tensor, severity: Tensor) -> Tensor:
    """Scale grades [N, 1, 64, 64] so that the score falls evenly with the severity [N], where it is known."""
    share = _SEVEREST * severity
    wanted = _TOLERATED_EVIDENCE * share / (1 - share)
    # Evidence grows with the power of 1.5 of the heat.
    scale = (wanted / _evidence(net, grade)).pow(2 / 3).clamp(_LEAST_SCALE, _MOST_SCALE)
    return (grade * scale.nan_to_num(1.0).view(-1, 1, 1, 1)).clamp(0, 1)


def _feature_grade(before: Features, after: Features) -> Tensor:
    """Grade by the teacher's two coarser scales: the finest one takes texture that moved for all anew."""
    maps = [upsample(feature_distance(a, b), HEAT_SIZE) for a, b in zip(before[1:], after[1:], strict=True)]
    return (maps[0] + maps[1]) * (_FEATURE_GRADE / 2)


def _colour_grade(before: Tensor, after: Tensor) -> Tensor:
    """Grade by what red and blue moved beyond the brightness: a thin red line moves few features."""
    moved = after - before
    brightness = sum(share * moved[:, i : i + 1] for i, share in enumerate(_BRIGHTNESS))
    chroma = (moved[:, ::2] - brightness).square().sum(dim=1, keepdim=True).sqrt()
    return F.adaptive_avg_pool2d(chroma, HEAT_SIZE) * _COLOUR_GRADE


def _digest(net: AppraisalNet) -> str:
    return digest(net.teacher.state_dict())[:12]


def _reach(net: AppraisalNet) -> Tensor:
    """Return the face region in pixels of the face, [256, 256]."""
    return upsample(net.region.cpu(), FACE_SIZE)[0, 0]


def verdict_loss(net: AppraisalNet, logit: Tensor, grade: Tensor) -> Tensor:
    """Return how far the heat [N, 1, 64, 64] is from the grade, at every place and of the whole face.

    Whole faces are compared by the share of the score that their evidence takes.
    """
    places = F.binary_cross_entropy_with_logits(logit, grade, net.region * (1 + 8 * grade))
    found, drawn = (_evidence(net, heat) for heat in (torch.sigmoid(logit), grade))
    return places + _WHOLE_FACE * F.mse_loss(_share_taken(found), _share_taken(drawn))


def _share_taken(evidence: Tensor) -> Tensor:
    return evidence / (_TOLERATED_EVIDENCE + evidence)


def _evidence(net: AppraisalNet, heat: Tensor) -> Tensor:
    # The root of nothing has no slope; what is added here is far below what counts.
    return net.evidence(net.in_region(heat) + 1e-5)


class StudentTask:
    """Train student and head to part from the teacher where a face was changed, and only there.

    The distances are optimised collaboratively (Cao et al., arXiv 2302.08769): normal places are pulled
    together and changed ones pushed apart, each weighted by how hard it is; the head learns the grade:
    how far the change moved features and colours, so that a swollen cheek counts for what it looks
    like and not for the few pixels whose colour it changes; in sum as much as its severity, if known.
    """

    name = "student"
    # How many of the faces are left as they are, and what the share of the score that these lose weighs. A
    # square hardly pulls at a share that is small already.
    _untouched = 1 / 4
    _pull = 0.0
    _learning: type[nn.ModuleDict] = nn.ModuleDict

    def __init__(self, net: AppraisalNet) -> None:
        self.net = net
        self._parts = self._learning({"student": net.student, "head": net.head})

    def parts(self) -> nn.Module:
        """Return student and head."""
        return self._parts

    def settings(self) -> str:
        """Tell what share of the faces is untouched, what their score weighs, and by which teacher."""
        return f"untouched {self._untouched}, pull {self._pull}, teacher {_digest(self.net)}"

    def loss(self, faces: Tensor, rng: Generator) -> Tensor:
        """Return the head's loss on drawn faces, and how badly student and teacher part where they should."""
        untouched = int(len(faces) * self._untouched)
        drawn = draw_anomalies(self.net, faces, untouched, rng, draw_camera)
        found = self._disagreement(drawn.faces, drawn.features)
        region = self.net.region.expand_as(drawn.grade)
        gaps = [
            discrepancy(d, F.adaptive_max_pool2d(drawn.grade, d.shape[-1]), _shrink(region, d.shape[-1]))
            for d in found.distances
        ]
        lost = _share_taken(_evidence(self.net, torch.sigmoid(found.logit[:untouched])))
        verdict = verdict_loss(self.net, found.logit, drawn.grade)
        return verdict + 0.3 * (gaps[0] + gaps[1] + gaps[2]) + self._pull * lost.sum() / max(untouched, 1)

    def cost(self, faces: Tensor) -> Tensor:
        """Return the share of the score that the heat of each face takes, [N] in 0..1."""
        faces = faces.contiguous(memory_format=torch.channels_last)
        logit = self._disagreement(faces, teacher_features(self.net.teacher, faces)).logit
        return _share_taken(_evidence(self.net, torch.sigmoid(logit)))

    def _disagreement(self, faces: Tensor, features: Features) -> Disagreement:
        disagreement: Disagreement = self.net.head(features, self.net.student(faces))
        return disagreement


def _shrink(x: Tensor, size: int) -> Tensor:
    return F.adaptive_avg_pool2d(x, size)


def discrepancy(distance: Tensor, grade: Tensor, region: Tensor) -> Tensor:
    """Mean distance of normal places minus that of changed ones, the hard ones weighing more."""
    normal = region * (grade < 0.02)
    unusual = region * (grade > 0.15)
    near = _weighted_mean(distance, normal * _hardness(distance, _weighted_mean(distance, normal)))
    average = _weighted_mean(distance, unusual)
    far = _weighted_mean(distance, unusual * _hardness(average, distance))
    return near - far


def _hardness(value: Tensor, reference: Tensor) -> Tensor:
    return (value / (reference + 1e-3)).clamp(0, 5).detach()


def _weighted_mean(value: Tensor, weight: Tensor) -> Tensor:
    return (value * weight).sum() / (weight.sum() + 1e-3)


class _Settled(nn.ModuleDict):
    """Parts that learn, yet normalise by the statistics they have: a score must not follow its batch."""

    def train(self, mode: bool = True) -> "_Settled":  # noqa: FBT001, FBT002 - torch's signature
        return super().train(mode=False)


class FineTuningTask(StudentTask):
    """Train student and head on, by the same loss.

    More of what they see is untouched, and it counts for more, since what they must learn last is to leave
    people's own marks alone.
    """

    name = "fine-tuning"
    _untouched = 3 / 8
    _pull = 1.0
    _learning = _Settled

    def _disagreement(self, faces: Tensor, features: Features) -> Disagreement:
        return disagreement(self.net.head, features, student_features(self.net.student, faces))


class InpainterTask:
    """Train the inpainter to put back what a hole hides, judged by colour and by the teacher's features.

    Holes lie anywhere, and over drawn anomalies as far as the heat of a perfect head would open them: what
    is anomalous yet not quite hidden must not be gone on with.
    """

    name = "inpainter"

    def __init__(self, net: AppraisalNet) -> None:
        self.net = net
        self._reach = _reach(net)

    def parts(self) -> nn.Module:
        """Return the inpainter."""
        return self.net.inpainter

    def settings(self) -> str:
        """Tell that half of the faces are untouched, and by which teacher."""
        return f"untouched 0.5, teacher {_digest(self.net)}"

    def cost(self, faces: Tensor) -> Tensor:
        """Take all faces for equally hard, [N]."""
        return torch.ones(len(faces))

    def loss(self, faces: Tensor, rng: Generator) -> Tensor:
        """Return the loss over the holes of faces of which every other one is changed."""
        drawn = draw_anomalies(self.net, faces, len(faces) // 2, rng)
        anywhere = torch.stack([self._hole(rng) for _ in faces]).to(faces)
        mask = torch.maximum(anywhere, self.net.mask(drawn.grade))
        coarse, refined = self.net.inpainter.phases(drawn.faces, mask)
        share = mask.mean() + 1e-3
        colour = ((coarse - faces).abs() * mask).mean() + 2 * ((refined - faces).abs() * mask).mean()
        with torch.no_grad():
            truth = self.net.teacher(faces)
        features = sum(
            (unit_channels(a) - unit_channels(b)).square().sum(dim=1).mean()
            for a, b in zip(self.net.teacher(composite(faces, refined, mask)), truth, strict=True)
        )
        return (colour + 0.2 * features) / share

    def _hole(self, rng: Generator) -> Tensor:
        """Draw a soft mask [1, 256, 256] of one to four windows."""
        holes = torch.zeros(1, FACE_SIZE, FACE_SIZE)
        for _ in range(int(uniform(1, 5, rng))):
            holes = torch.maximum(holes, random_window(FACE_SIZE, self._reach, rng))
        ramp = (F.adaptive_avg_pool2d(holes[None], HEAT_SIZE) * 5 - 1.5).clamp(0, 1)
        return upsample(grow(ramp, self.net.rule.mask_growth), FACE_SIZE)[0]


def tasks(net: AppraisalNet) -> Iterator[Task]:
    """Yield what is trained, in order."""
    yield StudentTask(net)
    yield FineTuningTask(net)
    yield InpainterTask(net)
