"""The recipe of a checkpoint: faces cut and multiplied, parts trained, normality and scale fitted."""

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from mien.mobile_reference.report.progress import Report
from mien.models.appraisal.checkpoint import (
    CONFIG,
    REFERENCE,
    Checkpoint,
    Config,
    load_checkpoint,
    save_checkpoint,
)
from mien.models.appraisal.errors import RecipeError
from mien.models.appraisal.networks.detector import packaged_detector
from mien.models.appraisal.networks.teacher import packaged_teacher
from mien.models.appraisal.portraits import FaceSet, cut_faces, read_portraits

from .morphs import morphed_faces
from .normal import fit_normal
from .tasks import tasks
from .training import Schedule, train

SCHEDULES = {
    "student": Schedule(steps=1800, batch=8, learning_rate=2e-3),
    "fine-tuning": Schedule(steps=8000, batch=8, learning_rate=4e-4),
    "inpainter": Schedule(steps=4000, batch=4, learning_rate=1e-3),
}
"""An hour and a half on two cores. The model card tells what came of it, and how the shipped one was made."""
MORPHS_PER_FACE = 48
# Photographs are seen so often for every time that a morph is: no morph has a smile or a blemish of its own.
_PHOTOGRAPHS = 24


@dataclass(frozen=True)
class Recipe:
    """What to train: portraits in ``faces``, a checkpoint to make in ``output``.

    ``work`` keeps the resumable states. ``steps`` scales all schedules. The frozen parts come from
    the files of the packages that publish them, or from the shipped checkpoint where none is named.
    """

    faces: Path
    output: Path
    work: Path
    device: str = "cpu"
    seed: int = 0
    steps: float = 1.0
    teacher: Path | None = None
    detector: Path | None = None


def follow(recipe: Recipe, report: Report) -> Checkpoint:
    """Train a checkpoint, save it and return it; a run that was stopped goes on where it was.

    Raises:
        ImageSetError: the folder has no usable portraits.
        RecipeError: the output is not ours to replace, or there is no such device.
        CheckpointError: a file of the frozen parts is not what its package publishes.
    """
    _check(recipe)
    checkpoint = _untrained(recipe)
    faces = _cut(recipe, checkpoint, report)
    morphs = _morphs(faces, recipe, report)
    training = torch.cat([faces.faces] * _PHOTOGRAPHS + [morphs])
    net = checkpoint.appraisal.to(memory_format=torch.channels_last).to(recipe.device)
    for task in tasks(net):
        plan = SCHEDULES[task.name]
        schedule = replace(plan, steps=max(1, round(plan.steps * recipe.steps)), seed=recipe.seed)

        def progress(step: int, loss: float, name: str = task.name, total: int = schedule.steps) -> None:
            report(f"training: {name}", step, total, f"loss {loss:.3f}")

        train(task, training, schedule, recipe.work / f"{task.name}.state", progress)
    checkpoint.to("cpu").eval()
    calibrate(checkpoint, faces.faces, report)
    save_checkpoint(checkpoint, recipe.output)
    return checkpoint


def calibrate(checkpoint: Checkpoint, faces: Tensor, report: Report) -> None:
    """Fit what is normal at each place, and the score's scale, on untouched faces."""

    def progress(done: int, total: int) -> None:
        report("fitting what is normal", done, total, "")

    fit_normal(checkpoint.appraisal, faces, progress)


def _check(recipe: Recipe) -> None:
    """Find out before hours of training what would fail after them."""
    output = recipe.output
    if output.exists() and not output.is_dir():
        raise RecipeError(f"{output} is a file; give a folder for the checkpoint")
    if output.is_dir() and any(output.iterdir()) and not (output / CONFIG).is_file():
        raise RecipeError(f"{output} exists and is no checkpoint; give a new folder")
    try:
        torch.zeros(1, device=recipe.device)
    except (RuntimeError, AssertionError) as error:  # torch asserts that it was built for the device
        raise RecipeError(
            f"torch has no device '{recipe.device}' here; give cpu or a device it has"
        ) from error


def _untrained(recipe: Recipe) -> Checkpoint:
    """Return a checkpoint whose trained parts are drawn from the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        checkpoint = Checkpoint(Config(recipe.output.name))
    teacher = packaged_teacher(recipe.teacher) if recipe.teacher else _shipped().appraisal.teacher
    detector = packaged_detector(recipe.detector) if recipe.detector else _shipped().detector
    checkpoint.appraisal.teacher.load_state_dict(teacher.state_dict())
    checkpoint.detector.load_state_dict(detector.state_dict())
    return checkpoint.eval()


def _shipped() -> Checkpoint:
    return load_checkpoint(REFERENCE)


def _cut(recipe: Recipe, checkpoint: Checkpoint, report: Report) -> FaceSet:
    portraits = read_portraits(recipe.faces)
    chosen = [p for p in portraits if p.split in ("", "train")]

    def progress(done: int, total: int) -> None:
        report("aligning faces", done, total, "")

    return cut_faces(chosen, checkpoint, progress)


def _morphs(faces: FaceSet, recipe: Recipe, report: Report) -> Tensor:
    def progress(done: int, total: int) -> None:
        report("making faces of nobody", done, total, "")

    return morphed_faces(faces, MORPHS_PER_FACE * len(faces.faces), recipe.seed, progress)
