"""From a folder of faces to a checkpoint: what is normal, the recipe, and the command ``mien train``."""

import copy
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from mien.mobile_reference.commands.console import main
from mien.models.appraisal.checkpoint import Checkpoint, load_checkpoint
from mien.models.appraisal.portraits import cut_faces, read_portraits
from mien.models.appraisal.training import recipe as recipes
from mien.models.appraisal.training.normal import SCORE_THERE, fit_normal
from mien.models.appraisal.training.recipe import Recipe, follow
from mien.models.appraisal.training.sample_portraits import make_samples
from mien.models.appraisal.training.training import Schedule


def ignore(*_: object) -> None:
    pass


def test_fitting_sets_what_is_normal_and_the_scores_scale(checkpoint: Checkpoint, face: Tensor):
    net = copy.deepcopy(checkpoint.appraisal)
    for buffer in (net.normal_heat, net.normal_change, net.tolerated_evidence):
        buffer.fill_(123)
    told: list[tuple[int, int]] = []
    # Noise lights the heatmap up, so that there is something to tolerate.
    noise = torch.randint(0, 90, face.shape, generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    faces = torch.stack([face // 2 + noise, face])
    fit_normal(net, faces, lambda *step: told.append(step))
    assert 0 <= net.normal_heat.min() <= net.normal_heat.max() <= 1
    assert 0 <= net.normal_change.min() <= net.normal_change.max() <= 4
    assert net.normal_heat.max() > 0.01
    with torch.inference_mode():
        both = torch.cat([faces, faces.flip(3)]).float()
        scores = torch.cat([net(one).score for one in both.split(1)])
        evidence = net.tolerated_evidence * (100 / scores - 1)
    expected = np.quantile(evidence.numpy(), 0.95) / (100 / SCORE_THERE - 1)
    # The least evidence that is tolerated is kept off 0; scores are float32 near 100.
    assert float(net.tolerated_evidence) == pytest.approx(
        max(expected, 1e-6 / (100 / SCORE_THERE - 1)), rel=0.02
    )
    assert told == sorted(told)
    assert all(total == told[0][1] for _, total in told)


def test_fitting_again_gives_the_same_buffers(checkpoint: Checkpoint, face: Tensor):
    first, second = (copy.deepcopy(checkpoint.appraisal) for _ in range(2))
    second.normal_heat.fill_(0.7)
    for net in (first, second):
        fit_normal(net, face[None], ignore)
    for name in ("normal_heat", "normal_change", "tolerated_evidence"):
        assert torch.equal(getattr(first, name), getattr(second, name))


@pytest.fixture
def portraits(samples: list[Path], tmp_path: Path) -> Path:
    """A folder of two faces and a file that is none."""
    folder = tmp_path / "faces"
    folder.mkdir()
    for path in samples[:4:2]:
        shutil.copy(path, folder)
    (folder / "broken.jpg").write_bytes(b"broken")
    return folder


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """One step of two faces for each part."""
    monkeypatch.setattr(recipes, "SCHEDULES", dict.fromkeys(recipes.SCHEDULES, Schedule(1, 2, 1e-3)))


@pytest.mark.usefixtures("brief")
def test_a_recipe_makes_a_checkpoint_that_loads_and_repeats(
    portraits: Path, tmp_path: Path, checkpoint: Checkpoint
):
    steps: list[str] = []
    made = [
        follow(
            Recipe(portraits, tmp_path / name, tmp_path / f"{name}.work", seed=3),
            lambda step, done, total, remark: steps.append(step),
        )
        for name in ("first", "second")
    ]
    loaded = load_checkpoint(tmp_path / "first")
    assert loaded.config.name == "first"
    assert not made[0].training
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("first", "second")]
    assert weights[0] == weights[1]
    assert set(steps) == {
        "aligning faces",
        "training: student",
        "training: fine-tuning",
        "training: inpainter",
        "fitting what is normal",
    }
    # The frozen parts are those of the shipped checkpoint.
    for own, shipped in (
        (loaded.detector, checkpoint.detector),
        (loaded.appraisal.teacher, checkpoint.appraisal.teacher),
    ):
        before = shipped.state_dict()
        assert all(
            torch.equal(tensor, before[name])
            for name, tensor in own.state_dict().items()
            if not name.endswith("num_batches_tracked")
        )
    assert not torch.equal(
        loaded.appraisal.student.stem[0].weight, checkpoint.appraisal.student.stem[0].weight
    )


Run = Callable[..., tuple[object, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*arguments: object) -> tuple[object, str, str]:
        with pytest.raises(SystemExit) as left:
            main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return left.value.code, captured.out, captured.err

    return call


@pytest.mark.usefixtures("brief")
def test_the_command_trains_and_goes_on_where_it_was(run: Run, portraits: Path, tmp_path: Path):
    code, out, _ = run("train", portraits, "-o", tmp_path / "made")
    assert code == 0
    assert out.strip().endswith(f"checkpoint: {tmp_path / 'made'}")
    states = sorted(file.name for file in (tmp_path / "made.training").iterdir())
    assert states == ["fine-tuning.state", "inpainter.state", "student.state"]
    first = (tmp_path / "made" / "model.safetensors").read_bytes()
    assert run("train", portraits, "-o", tmp_path / "made")[0] == 0
    assert (tmp_path / "made" / "model.safetensors").read_bytes() == first


def test_only_the_training_split_is_used(portraits: Path, tmp_path: Path, run: Run):
    (portraits / "index.csv").write_text("image,identity,split\nnobody-01.jpg,one,test\n")
    code, _, err = run("train", portraits, "-o", tmp_path / "made")
    assert code == 2
    assert "no portrait" in err
    assert not (tmp_path / "made").exists()


def _nowhere(portraits: Path, tmp_path: Path) -> list[object]:
    return ["train", tmp_path / "nowhere", "-o", tmp_path / "made"]


def _output_is_a_file(portraits: Path, tmp_path: Path) -> list[object]:
    (tmp_path / "file").write_text("mine")
    return ["train", portraits, "-o", tmp_path / "file"]


def _output_is_not_ours(portraits: Path, tmp_path: Path) -> list[object]:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "thesis.txt").write_text("years of work")
    return ["train", portraits, "-o", tmp_path / "theirs"]


def _device(portraits: Path, tmp_path: Path) -> list[object]:
    return ["train", portraits, "-o", tmp_path / "made", "--device", "abacus"]


def _teacher(portraits: Path, tmp_path: Path) -> list[object]:
    (tmp_path / "teacher.pth").write_bytes(b"no weights")
    return ["train", portraits, "-o", tmp_path / "made", "--teacher", tmp_path / "teacher.pth"]


def _detector(portraits: Path, tmp_path: Path) -> list[object]:
    return ["train", portraits, "-o", tmp_path / "made", "--detector", tmp_path / "nowhere.tflite"]


@pytest.mark.parametrize(
    "case", [_nowhere, _output_is_a_file, _output_is_not_ours, _device, _teacher, _detector]
)
def test_bad_input_is_refused_before_the_training(
    run: Run, portraits: Path, tmp_path: Path, case: Callable[[Path, Path], list[object]], monkeypatch: Any
):
    def train(*_: object) -> None:
        raise AssertionError("trained all the same")

    monkeypatch.setattr(recipes, "train", train)
    code, out, err = run(*case(portraits, tmp_path))
    assert code == 2
    assert "checkpoint:" not in out
    assert err.strip().splitlines()[-1].startswith("mien: ")
    assert not (tmp_path / "made").exists()


def test_samples_are_made_from_several_people_each(
    samples: list[Path], checkpoint: Checkpoint, tmp_path: Path
):
    """The maker, on samples that stand for people: 72 are needed, 4 for each of 18."""
    points = np.array([(180, 200), (330, 200), (256, 280), (256, 360), (210, 360), (300, 360)], float)
    np.savetxt(tmp_path / "points.csv", points, delimiter=",", header="x,y", comments="")
    people = [replace(p, landmarks=tmp_path / "points.csv") for p in read_portraits(samples[0].parent)]
    cut = cut_faces(people, checkpoint, ignore)
    times = 4
    many = replace(
        cut,
        faces=cut.faces.repeat(times, 1, 1, 1),
        matrices=cut.matrices.repeat(times, 1, 1),
        portraits=cut.portraits * times,
    )
    make_samples(many, checkpoint.config.alignment.template, tmp_path / "made")
    made = read_portraits(tmp_path / "made")
    assert len(made) == 18
    index = (tmp_path / "made" / "index.csv").read_text()
    # What ships was made by this very code: its index is the same.
    assert index == (samples[0].parent / "index.csv").read_text()
    assert len(cut_faces(made[:2], checkpoint, ignore).faces) == 2
