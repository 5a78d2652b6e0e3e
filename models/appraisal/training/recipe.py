"""The recipe of a checkpoint: parts trained on faces of some folders, normality and scale fitted."""

import multiprocessing
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from mien.mobile_reference.output.folder import OutputFolder
from mien.mobile_reference.report.progress import Report
from mien.models.appraisal.checkpoint import (
    CHECKPOINT,
    REFERENCE,
    Checkpoint,
    Config,
    load_checkpoint,
    save_checkpoint,
)
from mien.models.appraisal.errors import CalibrationError, RecipeError
from mien.models.appraisal.networks.detector import packaged_detector
from mien.models.appraisal.networks.teacher import packaged_teacher
from mien.models.appraisal.training.mixture import Mixture
from mien.models.appraisal.training.normal import Untouched, fit_normal
from mien.models.appraisal.training.sources import Source, gather, list_sources
from mien.models.appraisal.training.tasks import FineTuningTask, tasks
from mien.models.appraisal.training.training import Schedule, Task, mean_of_states, train
from mien.models.errors import ModelsError

SCHEDULES = {
    "student": Schedule(steps=1800, batch=8, learning_rate=2e-3),
    "fine-tuning": Schedule(steps=8000, batch=8, learning_rate=4e-4, minings=3),
    "inpainter": Schedule(steps=4000, batch=4, learning_rate=1e-3),
}
"""How long each part trains. The model card tells what came of a former schedule."""
_MOST_STEPS = 1000
# How often ordinary things are drawn on faces, in units of ``nuisance.NUISANCES``.
_ORDINARY = 0.5


@dataclass(frozen=True)
class Recipe:
    """What to train: portraits of ``sources``, a checkpoint to make in ``output``.

    ``work`` keeps the resumable states. ``steps`` scales all schedules. So many ``workers`` fine-tune at a
    time, each in a process and with a seed of its own, and the mean of their weights is what comes of it.
    With ``start``, a checkpoint, its student and head are trained on, and the rest stays; otherwise all
    parts are trained from nothing, and the frozen ones come from the files of the packages that publish
    them, or from the shipped checkpoint where none is named.
    """

    sources: Sequence[Source]
    output: Path
    work: Path
    device: str = "cpu"
    seed: int = 0
    steps: float = 1.0
    workers: int = 1
    start: Path | None = None
    teacher: Path | None = None
    detector: Path | None = None


def follow(recipe: Recipe, report: Report) -> Checkpoint:
    """Train a checkpoint, save it and return it; a run that was stopped goes on where it was.

    Raises:
        ImageSetError: a folder has no usable portraits, or an index that cannot be used.
        UsageError: the output holds something that is not a checkpoint as training wrote it.
        RecipeError: there is no such device, or no weight is positive.
        CheckpointError: a file of the frozen parts is not what its package publishes, ``start`` is not a
            checkpoint, or a state is of another training.
    """
    output = _output(recipe)
    _check_settings(recipe)
    beginning = _begin(recipe, report)
    checkpoint, mixture = beginning.checkpoint, beginning.mixture
    schedules = _schedules(recipe)
    for task in tasks(checkpoint.appraisal):
        if task.name in schedules:
            state = recipe.work / f"{task.name}.state"
            with _others(task, recipe, report) as states:
                _train(task, mixture, schedules[task.name], state, report)
            if states:
                task.parts().load_state_dict(mean_of_states([state, *states]))
    checkpoint.to("cpu").eval()
    calibrate(checkpoint, beginning.untouched, report)
    with output.staged() as folder:
        save_checkpoint(checkpoint, folder)
    return checkpoint


@dataclass(frozen=True)
class _Beginning:
    """A checkpoint to be trained, faces to train on, and photographs to fit what is normal on."""

    checkpoint: Checkpoint
    mixture: Mixture
    untouched: list[Untouched]


def _begin(recipe: Recipe, report: Report) -> _Beginning:
    listed = list_sources(recipe.sources)
    checkpoint = _begun(recipe.start, recipe.output.name) if recipe.start else _untrained(recipe)
    weights = sum(source.weight for source in listed)
    faces = [
        gather(s, portraits, checkpoint, s.weight / weights * _faces_drawn(recipe), recipe.seed, report)
        for s, portraits in listed.items()
    ]
    checkpoint.appraisal.to(memory_format=torch.channels_last).to(recipe.device)
    mixture = Mixture([pool for some in faces for pool in some.pools()], _ORDINARY)
    return _Beginning(checkpoint, mixture, [some.untouched() for some in faces])


@contextmanager
def _others(task: Task, recipe: Recipe, report: Report) -> Iterator[list[Path]]:
    """Have the other workers fine-tune by seeds of their own meanwhile, and yield their states.

    What they begin with they make for themselves: the same faces, and the student that was trained before.
    """
    numbers = range(1, recipe.workers if task.name == FineTuningTask.name else 1)
    context = multiprocessing.get_context("spawn")
    threads = torch.get_num_threads()
    processes = [context.Process(target=_work, args=(recipe, n, threads), daemon=True) for n in numbers]
    for process in processes:
        process.start()
    try:
        yield [_state_of(recipe, number) for number in numbers]
        for done, process in enumerate(processes):
            report("waiting for the other workers", done, len(processes), "")
            process.join()
            if process.exitcode:
                raise RecipeError(
                    f"worker {done + 2} ended with exit code {process.exitcode}; "
                    "mend what it says above, and run the same command to go on"
                )
    finally:
        for process in processes:
            process.terminate()


def _state_of(recipe: Recipe, number: int) -> Path:
    return recipe.work / f"{FineTuningTask.name}-{number + 1}.state"


def _work(recipe: Recipe, number: int, threads: int) -> None:
    """Fine-tune as another worker, in a process of its own that ends with the one that started it."""
    torch.set_num_threads(threads)
    parent = os.getppid()

    def alive(_step: int, _loss: float) -> None:
        if os.getppid() != parent:
            sys.exit(1)

    try:
        beginning = _begin(recipe, lambda *_: None)
        schedules = _schedules(recipe, number)
        for task in tasks(beginning.checkpoint.appraisal):
            shared = task.name == FineTuningTask.name
            state = _state_of(recipe, number) if shared else recipe.work / f"{task.name}.state"
            if task.name in schedules:
                train(task, beginning.mixture, schedules[task.name], state, alive)
            if shared:
                return
    except KeyboardInterrupt:
        sys.exit(130)
    except (CalibrationError, ModelsError) as error:
        print(f"mien: worker {number + 1}: {error}", file=sys.stderr)  # noqa: T201 - a process of its own
        sys.exit(error.exit_code)


def _schedules(recipe: Recipe, worker: int = 0) -> dict[str, Schedule]:
    """Return the schedules of what is trained, by the task's name, in order.

    Workers have seeds of their own for what they share.
    """
    seeds = {FineTuningTask.name: recipe.seed * recipe.workers + worker}
    return {
        name: replace(plan, steps=max(1, round(plan.steps * recipe.steps)), seed=seeds.get(name, recipe.seed))
        for name, plan in SCHEDULES.items()
        if name == FineTuningTask.name or not recipe.start
    }


def _faces_drawn(recipe: Recipe) -> int:
    return sum(schedule.steps * schedule.batch for schedule in _schedules(recipe).values())


def _train(task: Task, mixture: Mixture, schedule: Schedule, state: Path, report: Report) -> None:
    mean = 0.0

    def progress(step: int, loss: float) -> None:
        nonlocal mean
        mean = loss if not mean else mean + 0.02 * (loss - mean)
        report(f"training: {task.name}", step, schedule.steps, f"loss {mean:.3f}")

    train(task, mixture, schedule, state, progress)


def calibrate(checkpoint: Checkpoint, sets: Sequence[Untouched], report: Report) -> None:
    """Fit what is normal at each place, and the score's scale, on untouched faces."""

    def progress(done: int, total: int) -> None:
        report("fitting what is normal", done, total, "")

    fit_normal(checkpoint.appraisal, sets, progress)


def _output(recipe: Recipe) -> OutputFolder:
    """Find out before hours of training what would fail after them."""
    output = recipe.output
    if recipe.start and output.exists() and recipe.start.resolve() == output.resolve():
        raise RecipeError(f"{output} is what --from names, too; give another folder for the checkpoint")
    return OutputFolder.at(output, CHECKPOINT)


def _check_settings(recipe: Recipe) -> None:
    if not 0 < recipe.steps <= _MOST_STEPS:
        raise RecipeError(
            f"steps {recipe.steps} are not above 0 and at most {_MOST_STEPS}; give 1 for the recipe"
        )
    if not sum(source.weight for source in recipe.sources):
        raise RecipeError("the weights of the folders sum to 0; give at least one a weight above 0")
    if recipe.start and (recipe.teacher or recipe.detector):
        raise RecipeError(
            "--from keeps the checkpoint's teacher and detector; leave --teacher and --detector out"
        )
    try:
        torch.zeros(1, device=recipe.device)
    except (RuntimeError, AssertionError) as error:  # torch asserts that it was built for the device
        raise RecipeError(
            f"torch has no device '{recipe.device}' here; give cpu or a device it has"
        ) from error


def _begun(start: Path, name: str) -> Checkpoint:
    """Return the checkpoint that is trained on, under its new name."""
    checkpoint = load_checkpoint(start)
    checkpoint.config = replace(checkpoint.config, name=name)
    return checkpoint


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
