"""Training: steps that can be resumed, on faces varied as another camera would have seen them.

Only normal faces are used. Every step draws from a generator seeded by the run's seed and the step, so a
resumed run goes on as if it had never stopped. What is learned from them is told in ``tasks``.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from mien.models.appraisal.networks.layers import upsample
from mien.models.errors import CheckpointError

from .corruptions import pick, smooth_noise, uniform

# Of how many faces about as bright one is picked.
_NEAREST = 16
# How often a face is given the brightness of another skin, and how bright skins are, 0..1. What is white
# in the face stays lighter than what is not.
_OTHER_SKIN = 0.25
_SKINS = (0.18, 0.6)


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
    bright = brightness(faces)
    parts.train()
    for step in range(first, schedule.steps):
        for group in optimizer.param_groups:
            group["lr"] = schedule.learning_rate * _warmth(step, schedule.steps)
        chance = torch.Generator().manual_seed(schedule.seed * 1_000_003 + step)
        batch = draw_batch(faces, bright, schedule.batch, chance)
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


def brightness(faces: Tensor) -> Tensor:
    """Return how bright the middle of each face [K, 3, S, S] is, [K] in their unit: mostly its skin."""
    low, high = faces.shape[-1] * 3 // 8, faces.shape[-1] * 3 // 4
    return faces[:, :, low:high, low:high].float().mean(dim=(1, 2, 3))


def draw_batch(faces: Tensor, bright: Tensor, size: int, chance: Generator) -> Tensor:
    """Draw faces and vary what is normal about them (see ``vary``).

    Every other face is picked evenly from darkest to brightest by its brightness ``bright`` [K], so that dark
    skin, rare among the faces at hand, is seen no less often than light skin.
    """
    picks = [pick(len(faces), chance) if i % 2 else _pick_evenly(bright, chance) for i in range(size)]
    return torch.stack([vary(faces[i].float() / 255, chance) for i in picks])


def _pick_evenly(bright: Tensor, chance: Generator) -> int:
    """Pick one of the nearest faces to a level between the darkest and the brightest."""
    level = uniform(float(bright.min()), float(bright.max()), chance)
    nearest = (bright - level).abs().topk(min(_NEAREST, len(bright)), largest=False).indices
    return int(nearest[pick(len(nearest), chance)])


def vary(face: Tensor, chance: Generator) -> Tensor:
    """Return a face [3, S, S] as another camera, light and detector, or a like person, might have it."""
    if uniform(0, 1, chance) < 0.5:
        face = face.flip(2)
    face = _reframe(face, chance)
    gamma = uniform(0.75, 1.35, chance)
    if uniform(0, 1, chance) < _OTHER_SKIN:
        skin = float(brightness(face[None]).clamp(0.05, 0.95))
        gamma = max(math.log(uniform(*_SKINS, chance)) / math.log(skin), 0.75)
    gain = uniform(0.8, 1.15, chance) + 0.06 * torch.randn(3, 1, 1, generator=chance)
    light = 1 + 0.12 * smooth_noise(1, 3, face.shape[-1], chance)
    face = (face.clamp(1e-3, 1) ** gamma * gain * light).clamp(0, 1)
    if uniform(0, 1, chance) < 0.3:
        small = int(face.shape[-1] * uniform(0.4, 0.9, chance))
        face = upsample(F.interpolate(face[None], size=(small, small), mode="area"), face.shape[-1])[0]
    return face.clamp(0, 1)


def _proportions(size: int, chance: Generator) -> Tensor:
    """Draw by how much another face is shaped otherwise, alike on both halves, [2, S, S] in shares of it."""
    across, down = smooth_noise(2, 5, size, chance) * uniform(0, 0.012, chance)
    return torch.stack([across - across.flip(1), down + down.flip(1)]) / 2


def _reframe(face: Tensor, chance: Generator) -> Tensor:
    """Turn by up to 4 degrees, scale by up to 5 %, shift by up to 4 pixels and change proportions."""
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
    grid = grid + 2 * _proportions(face.shape[-1], chance).permute(1, 2, 0)
    return F.grid_sample(face[None], grid, padding_mode="border", align_corners=False)[0]
