"""Training: steps that can be resumed and repeated.

Only normal faces are used. Every step draws from a generator seeded by the run's seed and the step, so a
resumed run goes on as if it had never stopped. What is learned from them is told in ``tasks``.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Generator, Tensor, nn

from mien.models.appraisal.training.mixture import Mixture
from mien.models.errors import CheckpointError

# How many faces are looked through for hard ones at once.
_LOOK = 16


@dataclass(frozen=True)
class Schedule:
    """How long and how fast a part is trained.

    ``save_every`` counts steps between resumable states. ``mean_over`` is the number of steps that the
    running mean of the weights reaches back, which is what training gives in the end. ``minings`` is how
    often, at even steps, hard faces are looked for.
    """

    steps: int
    batch: int
    learning_rate: float
    seed: int = 0
    save_every: int = 200
    mean_over: int = 200
    minings: int = 0


class Task(Protocol):
    """One part to be trained: its parameters, and the loss of a batch."""

    name: str

    def parts(self) -> nn.Module:
        """Return the modules that learn."""
        ...

    def settings(self) -> str:
        """Tell what else the loss depends on, in words that change with it."""
        ...

    def loss(self, faces: Tensor, rng: Generator) -> Tensor:
        """Return the loss of a batch of normal faces [N, 3, 256, 256] in 0..1, on the device of the net."""
        ...

    def cost(self, faces: Tensor) -> Tensor:
        """Return how badly each of such faces is judged untouched, [N] of at least 0."""
        ...


def train(
    task: Task, faces: Mixture, schedule: Schedule, state: Path, progress: Callable[[int, float], None]
) -> None:
    """Train ``task``, resuming from ``state`` if it exists, and leave it the running mean of its weights.

    ``progress`` is told the step and its loss.

    Raises:
        CheckpointError: ``state`` is damaged, or of another training: other faces, another seed.
    """
    run = _Run(task, faces, schedule)
    run.resume(state)
    run.parts.train()
    while run.step < schedule.steps:
        loss = run.advance()
        progress(run.step, loss)
        if run.step % schedule.save_every == 0 or run.step == schedule.steps:
            run.save(state)
    run.parts.load_state_dict(run.mean)
    run.parts.eval()


class _Run:
    """One training under way."""

    def __init__(self, task: Task, faces: Mixture, schedule: Schedule) -> None:
        self.task, self.faces, self.schedule = task, faces, schedule
        self.parts = task.parts()
        self.device = next(self.parts.parameters()).device
        self.learning = list(self.parts.parameters())
        self.optimizer = torch.optim.AdamW(self.learning, schedule.learning_rate, weight_decay=1e-4)
        self.mean = {name: tensor.clone() for name, tensor in self.parts.state_dict().items()}
        self.step = 0
        for pool, hardness in zip(faces.pools, faces.hardness, strict=True):
            hardness.copy_(torch.ones(len(pool.faces)))
        self.identity = {
            "faces": faces.digest(),
            "first weights": digest(self.mean),
            "schedule": repr({k: v for k, v in asdict(schedule).items() if k not in ("seed", "save_every")}),
            "seed": str(schedule.seed),
            "settings": f"{task.name}; {task.settings()}; ordinary things {faces.rate}",
        }

    def advance(self) -> float:
        """Make one step and return its loss."""
        if self._is_time_to_mine():
            self._mine()
        for group in self.optimizer.param_groups:
            group["lr"] = self.schedule.learning_rate * _warmth(self.step, self.schedule.steps)
        rng = torch.Generator().manual_seed(self.schedule.seed * 1_000_003 + self.step)
        batch = self.faces.draw(self.schedule.batch, rng)
        loss = self.task.loss(batch.to(self.device, memory_format=torch.channels_last), rng)
        self.optimizer.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(self.learning, 1.0)
        self.optimizer.step()
        self.step += 1
        self._follow()
        return loss.item()

    def _follow(self) -> None:
        """Let the mean follow the weights, at first closely: where they began must be forgotten."""
        kept = min(1 - 1 / self.schedule.mean_over, self.step / (self.step + 10))
        for name, tensor in self.parts.state_dict().items():
            if tensor.is_floating_point():
                self.mean[name].lerp_(tensor, 1 - kept)
            else:
                self.mean[name].copy_(tensor)

    def _is_time_to_mine(self) -> bool:
        every = self.schedule.steps // (self.schedule.minings + 1)
        return self.schedule.minings > 0 and self.step > 0 and every > 0 and self.step % every == 0

    @torch.no_grad()
    def _mine(self) -> None:
        """Have faces that the mean of the weights judges badly picked more often."""
        now = {name: tensor.clone() for name, tensor in self.parts.state_dict().items()}
        self.parts.load_state_dict(self.mean)
        self.parts.eval()
        for which, pool in enumerate(self.faces.pools):
            if pool.mined:
                looks = (faces.to(self.device).float() / 255 for faces in torch.split(pool.faces, _LOOK))
                self.faces.mine(which, torch.cat([self.task.cost(faces).cpu() for faces in looks]))
        self.parts.load_state_dict(now)
        self.parts.train()

    def save(self, state: Path) -> None:
        """Write beside and move into place, so that a stop in mid-write loses nothing."""
        state.parent.mkdir(parents=True, exist_ok=True)
        partial = state.with_suffix(".partial")
        content = {
            "identity": self.identity,
            "parts": self.parts.state_dict(),
            "mean": self.mean,
            "optimizer": self.optimizer.state_dict(),
            "hardness": self.faces.hardness,
            "step": self.step,
        }
        torch.save(content, partial)
        partial.replace(state)

    def resume(self, state: Path) -> None:
        """Go on from a state, if there is one."""
        if not state.exists():
            return
        saved = _read(state)
        identity = saved["identity"]
        for key, here in self.identity.items():
            if (there := str(identity.get(key))) != here:
                raise CheckpointError(
                    f"{state} was begun with other {key}: {there:.60} there, {here:.60} here; "
                    "train with what it was begun with, or in another work folder"
                )
        self.parts.load_state_dict(saved["parts"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.mean = {name: tensor.to(self.device) for name, tensor in saved["mean"].items()}
        self.faces.hardness[:] = saved["hardness"]
        self.step = int(saved["step"])


def mean_of_states(states: Sequence[Path]) -> dict[str, Tensor]:
    """Return the mean of what trainings with these states gave, as a state of their parts.

    Raises:
        CheckpointError: a state is missing or damaged.
    """
    given = [_read(state)["mean"] for state in states]
    return {
        name: torch.stack([one[name].double() for one in given]).mean(dim=0).to(tensor.dtype)
        for name, tensor in given[0].items()
    }


def _read(state: Path) -> dict[str, Any]:
    """Read a state, whose keys are those that ``_Run.save`` writes."""
    try:
        saved = torch.load(state, map_location="cpu", weights_only=True)
        return {key: saved[key] for key in ("identity", "parts", "mean", "optimizer", "hardness", "step")}
    except Exception as error:  # torch raises many kinds for a foreign file
        raise CheckpointError(f"{state} is not a state of a training; delete it to start anew") from error


def digest(tensors: Mapping[str, Tensor]) -> str:
    """Return a hash of tensors and their names."""
    state = sha256()
    for name, tensor in sorted(tensors.items()):
        state.update(name.encode())
        state.update(tensor.cpu().contiguous().numpy().tobytes())
    return state.hexdigest()


def _warmth(step: int, steps: int) -> float:
    """Rise over the first 2 % of the steps, then fall along a half cosine."""
    rise = max(steps // 50, 1)
    if step < rise:
        return (step + 1) / rise
    done = torch.tensor((step - rise) / max(steps - rise, 1))
    return float(0.5 * (1 + torch.cos(torch.pi * done))) + 1e-3
