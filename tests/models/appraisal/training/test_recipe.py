"""From a folder of faces to a checkpoint: what is normal, the recipe, and the command ``mien train``."""

import copy
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from mien.mobile_reference.commands.console import main
from mien.models.appraisal.checkpoint import REFERENCE, Checkpoint, load_checkpoint
from mien.models.appraisal.portraits import cut_faces, read_portraits
from mien.models.appraisal.training import recipe as recipes
from mien.models.appraisal.training.normal import SCORE_THERE, Untouched, fit_normal
from mien.models.appraisal.training.recipe import Recipe, follow
from mien.models.appraisal.training.sample_portraits import make_samples
from mien.models.appraisal.training.sources import Source
from mien.models.appraisal.training.training import Schedule, digest


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
    fit_normal(net, [Untouched(faces)], lambda *step: told.append(step))
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
        fit_normal(net, [Untouched(face[None])], ignore)
    for name in ("normal_heat", "normal_change", "tolerated_evidence"):
        assert torch.equal(getattr(first, name), getattr(second, name))


def test_the_scale_leaves_every_folder_what_it_shall_score_and_is_no_wider(
    checkpoint: Checkpoint, face: Tensor
):
    noise = torch.randint(0, 120, face.shape, generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    clean, noisy = face[None].repeat(2, 1, 1, 1), (face // 2 + noise)[None].repeat(2, 1, 1, 1)
    sets = (Untouched(clean, 99.3), Untouched(noisy, 94.0))
    net = copy.deepcopy(checkpoint.appraisal)
    fit_normal(net, sets, ignore)
    # All have the same level of what is normal, so that the scale alone tells the folders apart.
    with torch.inference_mode():
        evidence = [float(net.tolerated_evidence * (100 / net(s.faces[:1].float()).score - 1)) for s in sets]
    wanted = [e / (100 / s.score - 1) for e, s in zip(evidence, sets, strict=True)]
    assert wanted[1] > 1.2 * wanted[0]
    assert float(net.tolerated_evidence) == pytest.approx(wanted[1], rel=0.05)


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
            Recipe([Source(portraits)], tmp_path / name, tmp_path / f"{name}.work", seed=3),
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
        f"aligning faces: {portraits.name}",
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


@pytest.fixture
def everyday(samples: list[Path], tmp_path: Path) -> Path:
    """A folder of two faces with an index that tells traits."""
    folder = tmp_path / "everyday"
    folder.mkdir()
    for path in samples[4:8:2]:
        shutil.copy(path, folder)
    index = "image,identity,split,glasses,hat\nnobody-05.jpg,five,train,1,0\nnobody-07.jpg,seven,train,0,0\n"
    (folder / "index.csv").write_text(index)
    return folder


def tensors(folder: Path) -> dict[str, Tensor]:
    return load_checkpoint(folder).state_dict()


@pytest.mark.usefixtures("brief")
def test_a_checkpoint_is_trained_on_by_folders_of_some_weight(
    run: Run, portraits: Path, everyday: Path, tmp_path: Path
):
    """Student, head and what is fitted change; all else stays as it was."""
    code, out, _ = run(
        "train", f"{portraits}=0.4", f"{everyday}=0.6", "-o", tmp_path / "made", "--from", REFERENCE
    )
    assert code == 0
    assert out.strip().endswith(f"checkpoint: {tmp_path / 'made'}")
    assert [file.name for file in (tmp_path / "made.training").iterdir()] == ["fine-tuning.state"]
    before, after = tensors(REFERENCE), tensors(tmp_path / "made")
    changed = {".".join(name.split(".")[:2]) for name in before if not torch.equal(before[name], after[name])}
    fitted = {f"appraisal.{name}" for name in ("normal_heat", "normal_change", "tolerated_evidence")}
    assert changed == {"appraisal.student", "appraisal.head", *fitted}
    shipped, made = (load_checkpoint(folder).config for folder in (REFERENCE, tmp_path / "made"))
    assert made == replace(shipped, name="made")


@pytest.mark.usefixtures("brief")
def test_less_is_asked_of_faces_under_everyday_light_than_in_a_studio(
    portraits: Path, everyday: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    asked: list[tuple[int, float]] = []

    def fit(_net: object, sets: Sequence[Untouched], _progress: object) -> None:
        asked.extend((len(some.faces), some.score) for some in sets)

    monkeypatch.setattr(recipes, "fit_normal", fit)
    sources = [Source(portraits), Source(everyday), Source(tmp_path / "not looked at", 0.0)]
    follow(Recipe(sources, tmp_path / "made", tmp_path / "work", start=REFERENCE), ignore)
    assert asked == [(2, 99.3), (2, 94.0)]


@pytest.mark.parametrize("start", [None, REFERENCE], ids=["from nothing", "from a checkpoint"])
def test_a_run_that_was_stopped_gives_the_same_bytes_as_one_that_was_not(
    portraits: Path,
    everyday: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    start: Path | None,
):
    plan = Schedule(4, 2, 1e-3, save_every=1, minings=1)
    monkeypatch.setattr(recipes, "SCHEDULES", dict.fromkeys(recipes.SCHEDULES, plan))
    sources = [Source(portraits, 1.0), Source(everyday, 2.0)]

    def recipe(name: str) -> Recipe:
        return Recipe(sources, tmp_path / "made", tmp_path / name, seed=2, start=start)

    def stop(step: str, done: int, total: int, remark: str) -> None:
        if step == "training: fine-tuning" and done == 4:
            raise KeyboardInterrupt

    follow(recipe("whole"), ignore)
    whole = (tmp_path / "made" / "model.safetensors").read_bytes()
    shutil.rmtree(tmp_path / "made")
    with pytest.raises(KeyboardInterrupt):
        follow(recipe("stopped"), stop)
    assert not (tmp_path / "made").exists()
    follow(recipe("stopped"), ignore)
    assert (tmp_path / "made" / "model.safetensors").read_bytes() == whole


def test_two_workers_give_the_mean_of_what_either_gives(run: Run, portraits: Path, tmp_path: Path):
    """With the real schedules, since a worker is a process of its own: two steps of eight faces."""
    common = ("train", portraits, "-o", tmp_path / "made", "--from", REFERENCE, "--steps", "0.00025")
    assert run(*common, "--workers", 2, "--work", tmp_path / "work")[0] == 0
    states = sorted((tmp_path / "work").iterdir())
    assert [state.name for state in states] == ["fine-tuning-2.state", "fine-tuning.state"]
    one, two = (torch.load(state, weights_only=True)["mean"] for state in states)
    made = tensors(tmp_path / "made")
    weights = [name for name in one if one[name].is_floating_point()]
    assert any(not torch.equal(one[name], two[name]) for name in weights)
    for name in weights:
        torch.testing.assert_close(made[f"appraisal.{name}"], (one[name] + two[name]) / 2)
    # A single worker of the seeds 0 and 1 draws the same.
    for seed, mean in ((0, two), (1, one)):
        assert run(*common, "--seed", seed, "--work", tmp_path / str(seed))[0] == 0
        alone = torch.load(tmp_path / str(seed) / "fine-tuning.state", weights_only=True)["mean"]
        assert all(torch.equal(alone[name], mean[name]) for name in weights)


def test_workers_that_begin_from_nothing_fine_tune_the_student_that_was_trained_before(
    run: Run, portraits: Path, tmp_path: Path
):
    code, _, _ = run("train", portraits, "-o", tmp_path / "made", "--steps", "0.0001", "--workers", 2)
    assert code == 0
    states = {
        state.name: torch.load(state, weights_only=True) for state in (tmp_path / "made.training").iterdir()
    }
    assert set(states) == {"student.state", "fine-tuning.state", "fine-tuning-2.state", "inpainter.state"}
    first, second = (
        states[name]["identity"]["first weights"] for name in ("fine-tuning.state", "fine-tuning-2.state")
    )
    assert first == second == digest(states["student.state"]["mean"])


def test_a_worker_that_fails_is_named(run: Run, portraits: Path, tmp_path: Path):
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "fine-tuning-2.state").write_bytes(b"damaged")
    options = ("--from", REFERENCE, "--steps", "0.0001", "--workers", 2, "--work", tmp_path / "work")
    code, _, err = run("train", portraits, "-o", tmp_path / "made", *options)
    assert code == 2
    assert "worker 2 ended with exit code 2" in err.strip().splitlines()[-1]
    assert not (tmp_path / "made").exists()


@pytest.mark.usefixtures("brief")
def test_the_work_of_another_seed_is_refused(run: Run, portraits: Path, tmp_path: Path):
    common = ("train", portraits, "-o", tmp_path / "made", "--from", REFERENCE)
    assert run(*common)[0] == 0
    before = (tmp_path / "made" / "model.safetensors").read_bytes()
    code, _, err = run(*common, "--seed", 1)
    assert code == 2
    assert "fine-tuning.state was begun with other seed: 0 there, 1 here" in err.strip().splitlines()[-1]
    assert (tmp_path / "made" / "model.safetensors").read_bytes() == before


@pytest.mark.usefixtures("brief")
def test_the_work_of_other_faces_is_refused(run: Run, portraits: Path, everyday: Path, tmp_path: Path):
    common = ("-o", tmp_path / "made", "--from", REFERENCE)
    assert run("train", portraits, *common)[0] == 0
    code, _, err = run("train", portraits, everyday, *common)
    assert code == 2
    assert "fine-tuning.state was begun with other faces" in err.strip().splitlines()[-1]


@pytest.mark.parametrize(
    ("text", "weight"), [("", 1.0), ("=0.6", 0.6), ("=3", 3.0), ("=0", 0.0), ("=1e-3", 0.001)]
)
def test_a_folder_may_have_a_weight(tmp_path: Path, text: str, weight: float):
    assert Source.parse(f"{tmp_path}{text}") == Source(tmp_path, weight)


def test_a_folder_whose_name_ends_like_a_weight_is_that_folder(tmp_path: Path):
    (tmp_path / "faces=2").mkdir()
    assert Source.parse(str(tmp_path / "faces=2")) == Source(tmp_path / "faces=2")
    assert Source.parse(str(tmp_path / "faces=2") + "=3") == Source(tmp_path / "faces=2", 3.0)


def _weights_of_0(portraits: Path, tmp_path: Path) -> list[object]:
    return ["train", f"{portraits}=0", "-o", tmp_path / "made"]


def _no_number(portraits: Path, tmp_path: Path) -> list[object]:
    return ["train", f"{portraits}=half", "-o", tmp_path / "made"]


def _negative(portraits: Path, tmp_path: Path) -> list[object]:
    return ["train", f"{portraits}=-1", "-o", tmp_path / "made"]


def _not_a_number(portraits: Path, tmp_path: Path) -> list[object]:
    return ["train", f"{portraits}=nan", "-o", tmp_path / "made"]


def _steps(portraits: Path, tmp_path: Path) -> list[object]:
    return ["train", portraits, "-o", tmp_path / "made", "--steps", "nan"]


def _another_architecture(portraits: Path, tmp_path: Path) -> list[object]:
    shutil.copytree(REFERENCE, tmp_path / "other", ignore=shutil.ignore_patterns("README.md"))
    tensors = load_file(tmp_path / "other" / "model.safetensors")
    tensors["appraisal.head.verdict.weight"] = torch.zeros(1, 64, 1, 1)
    save_file(tensors, tmp_path / "other" / "model.safetensors")
    return ["train", portraits, "-o", tmp_path / "made", "--from", tmp_path / "other"]


def _from_nowhere(portraits: Path, tmp_path: Path) -> list[object]:
    return ["train", portraits, "-o", tmp_path / "made", "--from", tmp_path / "nowhere"]


def _from_what_is_made(portraits: Path, tmp_path: Path) -> list[object]:
    (tmp_path / "start").mkdir()
    for name in ("config.json", "model.safetensors"):
        shutil.copy(REFERENCE / name, tmp_path / "start")
    return ["train", portraits, "-o", tmp_path / "start", "--from", tmp_path / "start"]


def _from_with_a_teacher(portraits: Path, tmp_path: Path) -> list[object]:
    return ["train", portraits, "-o", tmp_path / "made", "--from", REFERENCE, "--teacher", tmp_path / "t"]


def _index(portraits: Path, text: str) -> list[object]:
    (portraits / "index.csv").write_text(text)
    return ["train", portraits, "-o", portraits.parent / "made"]


def _unknown_trait(portraits: Path, tmp_path: Path) -> list[object]:
    return _index(portraits, "image,identity,split,glases\nnobody-01.jpg,one,train,0\n")


def _unknown_value(portraits: Path, tmp_path: Path) -> list[object]:
    return _index(portraits, "image,identity,split,glasses\nnobody-01.jpg,one,train,yes\n")


def _both_sides(portraits: Path, tmp_path: Path) -> list[object]:
    return _index(portraits, "image,identity,split\nnobody-01.jpg,one,train\nnobody-03.jpg,one,val\n")


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


def _same_picture(portraits: Path, tmp_path: Path) -> list[object]:
    (tmp_path / "others").mkdir()
    shutil.copy(portraits / "nobody-01.jpg", tmp_path / "others" / "renamed.jpg")
    shutil.copy(portraits / "nobody-03.jpg", tmp_path / "others")
    index = "image,identity,split\nrenamed.jpg,one,val\nnobody-03.jpg,three,train\n"
    (tmp_path / "others" / "index.csv").write_text(index)
    return ["train", portraits, tmp_path / "others", "-o", tmp_path / "made"]


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        (_nowhere, "is not a folder"),
        (_output_is_a_file, "is not a folder"),
        (_output_is_not_ours, "is not a checkpoint"),
        (_device, "no device 'abacus'"),
        (_teacher, "not the weights file"),
        (_detector, "nowhere.tflite"),
        (_weights_of_0, "sum to 0"),
        (_no_number, "is 'half'"),
        (_negative, "is '-1'"),
        (_not_a_number, "is 'nan'"),
        (_steps, "steps nan"),
        (_another_architecture, "has shape (1, 64, 1, 1)"),
        (_from_nowhere, "does not exist"),
        (_from_what_is_made, "--from names, too"),
        (_from_with_a_teacher, "leave --teacher"),
        (_unknown_trait, "unknown column 'glases'"),
        (_unknown_value, "'yes' for glasses"),
        (_both_sides, "in the splits 'train' and 'val'"),
        (_same_picture, "are one picture in the splits 'val' and ''"),
    ],
)
def test_bad_input_is_refused_before_the_training(
    run: Run,
    portraits: Path,
    tmp_path: Path,
    case: Callable[[Path, Path], list[object]],
    reason: str,
    monkeypatch: pytest.MonkeyPatch,
):
    def train(*_: object) -> None:
        raise AssertionError("trained all the same")

    monkeypatch.setattr(recipes, "train", train)
    code, out, err = run(*case(portraits, tmp_path))
    assert code == 2
    assert "checkpoint:" not in out
    last = err.strip().splitlines()[-1]
    assert last.startswith("mien: ")
    assert reason in last
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
