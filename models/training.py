"""Training: the student by discrepancy optimisation, the inpainter on holes like those of the mask.

Only normal faces are used; what is anomalous is drawn (see ``corruptions``). Every step draws from a
generator seeded by the run's seed and the step, so a resumed run goes on as if it had never stopped.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from .appraisal import FACE_SIZE, AppraisalNet, feature_change, grow
from .corruptions import corrupt, random_window, smooth_noise, uniform
from .errors import CheckpointError
from .layers import unit_channels, upsample
from .student import HEAT_SIZE, Disagreement

GRADE_SCALE = 0.5
"""Heat for a unit of feature change, which hardly ever exceeds 2."""


@dataclass(frozen=True)
class Schedule:
    """How long and how fast a part is trained. ``save_every`` counts steps between resumable states."""

    steps: int
    batch: int
    learning_rate: float
    seed: int = 0
    save_every: int = 200


class Task(Protocol):
    """One part to be trained: its parameters, and the loss of a batch."""

    name: str

    def parts(self) -> nn.Module:
        """Return the modules that learn."""
        ...

    def loss(self, faces: Tensor, chance: Generator) -> Tensor:
        """Return the loss of a batch of normal faces [N, 3, 256, 256] in 0..1, on the device of the net."""
        ...


def train(
    task: Task, faces: Tensor, schedule: Schedule, state: Path, progress: Callable[[int, float], None]
) -> None:
    """Train ``task`` on aligned ``faces`` (uint8 [K, 3, 256, 256]), resuming from ``state`` if it exists.

    ``progress`` is told the step and its loss.

    Raises:
        CheckpointError: ``state`` is damaged or of another training.
    """
    parts = task.parts()
    device = next(parts.parameters()).device
    optimizer = torch.optim.AdamW(parts.parameters(), schedule.learning_rate, weight_decay=1e-4)
    first = _resume(parts, optimizer, state)
    parts.train()
    for step in range(first, schedule.steps):
        for group in optimizer.param_groups:
            group["lr"] = schedule.learning_rate * _warmth(step, schedule.steps)
        chance = torch.Generator().manual_seed(schedule.seed * 1_000_003 + step)
        batch = draw_batch(faces, schedule.batch, chance)
        loss = task.loss(batch.to(device, memory_format=torch.channels_last), chance)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(parts.parameters(), 1.0)
        optimizer.step()
        progress(step + 1, loss.item())
        if (step + 1) % schedule.save_every == 0 or step + 1 == schedule.steps:
            _save(parts, optimizer, step + 1, state)
    parts.eval()


def _warmth(step: int, steps: int) -> float:
    """Rise over the first 2 % of the steps, then fall along a half cosine."""
    rise = max(steps // 50, 1)
    if step < rise:
        return (step + 1) / rise
    done = torch.tensor((step - rise) / max(steps - rise, 1))
    return float(0.5 * (1 + torch.cos(torch.pi * done))) + 1e-3


def _save(parts: nn.Module, optimizer: torch.optim.Optimizer, step: int, state: Path) -> None:
    """Write beside and move into place, so that a stop in mid-write loses nothing."""
    state.parent.mkdir(parents=True, exist_ok=True)
    partial = state.with_suffix(".partial")
    torch.save({"parts": parts.state_dict(), "optimizer": optimizer.state_dict(), "step": step}, partial)
    partial.replace(state)


def _resume(parts: nn.Module, optimizer: torch.optim.Optimizer, state: Path) -> int:
    if not state.exists():
        return 0
    try:
        saved: dict[str, Any] = torch.load(state, map_location="cpu", weights_only=True)
        parts.load_state_dict(saved["parts"])
        optimizer.load_state_dict(saved["optimizer"])
        return int(saved["step"])
    except Exception as error:  # torch raises many kinds for a foreign file
        raise CheckpointError(f"{state} is no state of this training; delete it to start anew") from error


def draw_batch(faces: Tensor, size: int, chance: Generator) -> Tensor:
    """Draw faces and vary what is normal about them: side, framing, light, colour, sharpness, noise."""
    picks = torch.randint(len(faces), (size,), generator=chance)
    return torch.stack([vary(faces[int(i)].float() / 255, chance) for i in picks])


def vary(face: Tensor, chance: Generator) -> Tensor:
    """Return a face [3, S, S] as another camera, light and detector might have given it."""
    if uniform(0, 1, chance) < 0.5:
        face = face.flip(2)
    face = _reframe(face, chance)
    gamma = uniform(0.75, 1.35, chance)
    gain = uniform(0.8, 1.15, chance) + 0.06 * torch.randn(3, 1, 1, generator=chance)
    light = 1 + 0.12 * smooth_noise(1, 3, face.shape[-1], chance)
    face = (face.clamp(1e-3, 1) ** gamma * gain * light).clamp(0, 1)
    if uniform(0, 1, chance) < 0.3:
        small = int(face.shape[-1] * uniform(0.4, 0.9, chance))
        face = upsample(F.interpolate(face[None], size=(small, small), mode="area"), face.shape[-1])[0]
    noise = uniform(0, 0.02, chance) * torch.randn(face.shape, generator=chance)
    return (face + noise).clamp(0, 1)


def _reframe(face: Tensor, chance: Generator) -> Tensor:
    """Turn by up to 4 degrees, scale by up to 5 % and shift by up to 4 pixels."""
    angle = torch.tensor(uniform(-0.07, 0.07, chance))
    scale = uniform(0.95, 1.05, chance)
    shift = [uniform(-0.03, 0.03, chance) for _ in range(2)]
    theta = torch.stack(
        [
            torch.stack([scale * angle.cos(), -scale * angle.sin(), torch.tensor(shift[0])]),
            torch.stack([scale * angle.sin(), scale * angle.cos(), torch.tensor(shift[1])]),
        ]
    )
    grid = F.affine_grid(theta[None], [1, *face.shape], align_corners=False)
    return F.grid_sample(face[None], grid, padding_mode="border", align_corners=False)[0]


class StudentTask:
    """Train student and head to part from the teacher where a face was changed, and only there.

    The distances are optimised collaboratively (Cao et al., arXiv 2302.08769): normal places are pulled
    together and changed ones pushed apart, each weighted by how hard it is; the head learns the grade:
    how far the change moved the teacher's features, so that a swollen cheek counts for what it looks
    like and not for the few pixels whose colour it changes.
    """

    name = "student"

    def __init__(self, net: AppraisalNet) -> None:
        self.net = net
        self._parts = nn.ModuleDict({"student": net.student, "head": net.head})
        self._reach = upsample(net.region.cpu(), FACE_SIZE)[0, 0]

    def parts(self) -> nn.Module:
        """Return student and head."""
        return self._parts

    def loss(self, faces: Tensor, chance: Generator) -> Tensor:
        """Return the loss on faces of which three in four are changed."""
        untouched = len(faces) // 4
        changed = faces.cpu().clone()
        for index in range(untouched, len(faces)):
            changed[index] = corrupt(changed[index], self._reach, chance)
        changed = changed.to(faces, memory_format=torch.channels_last)
        with torch.no_grad():
            features = self.net.teacher(changed)
            grade = feature_change(self.net.teacher(faces), features) * GRADE_SCALE
        disagreement: Disagreement = self.net.head(features, self.net.student(changed))
        region = self.net.region.expand_as(grade)
        weight = region * (1 + 8 * grade)
        verdict = F.binary_cross_entropy_with_logits(disagreement.logit, grade, weight)
        gaps = [
            discrepancy(d, F.adaptive_max_pool2d(grade, d.shape[-1]), _shrink(region, d.shape[-1]))
            for d in disagreement.distances
        ]
        return verdict + 0.3 * (gaps[0] + gaps[1] + gaps[2])


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


class InpainterTask:
    """Train the inpainter to put back what a hole hides, judged by colour and by the teacher's features."""

    name = "inpainter"

    def __init__(self, net: AppraisalNet) -> None:
        self.net = net
        self._reach = upsample(net.region.cpu(), FACE_SIZE)[0, 0]

    def parts(self) -> nn.Module:
        """Return the inpainter."""
        return self.net.inpainter

    def loss(self, faces: Tensor, chance: Generator) -> Tensor:
        """Return the loss over holes drawn like the heatmap's."""
        mask = torch.stack([self._hole(chance) for _ in faces]).to(faces)
        coarse, refined = self.net.inpainter.phases(faces, mask)
        share = mask.mean() + 1e-3
        colour = ((coarse - faces).abs() * mask).mean() + 2 * ((refined - faces).abs() * mask).mean()
        painted = faces + mask * (refined - faces)
        with torch.no_grad():
            truth = self.net.teacher(faces)
        features = sum(
            (unit_channels(a) - unit_channels(b)).square().sum(dim=1).mean()
            for a, b in zip(self.net.teacher(painted), truth, strict=True)
        )
        return (colour + 0.2 * features) / share

    def _hole(self, chance: Generator) -> Tensor:
        """Draw a soft mask [1, 256, 256] of one to four windows."""
        holes = torch.zeros(1, FACE_SIZE, FACE_SIZE)
        for _ in range(int(uniform(1, 5, chance))):
            holes = torch.maximum(holes, random_window(FACE_SIZE, self._reach, chance))
        ramp = (F.adaptive_avg_pool2d(holes[None], HEAT_SIZE) * 5 - 1.5).clamp(0, 1)
        return upsample(grow(ramp, self.net.rule.mask_growth), FACE_SIZE)[0]


def tasks(net: AppraisalNet) -> Iterator[Task]:
    """Yield what is trained, in order; neither needs the other."""
    yield StudentTask(net)
    yield InpainterTask(net)
