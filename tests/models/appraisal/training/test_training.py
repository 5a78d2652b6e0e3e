"""Training: losses, resuming, and the corruptions that stand for anomalies."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Generator, Tensor

from mien.models.appraisal.checkpoint import REFERENCE, load_checkpoint
from mien.models.appraisal.networks.appraisal import AppraisalNet, AppraisalRule, face_region
from mien.models.appraisal.networks.teacher import Features
from mien.models.appraisal.training.camera import Camera, draw_camera
from mien.models.appraisal.training.corruptions import (
    CORRUPTIONS,
    Corruption,
    corrupt,
    detail,
    displace,
    random_window,
    smooth_noise,
    stroke,
)
from mien.models.appraisal.training.deformities import Anomaly
from mien.models.appraisal.training.mixture import Mixture, Pool
from mien.models.appraisal.training.tasks import (
    FineTuningTask,
    InpainterTask,
    StudentTask,
    discrepancy,
    draw_anomalies,
    tasks,
    verdict_loss,
)
from mien.models.appraisal.training.training import Schedule, Task, train
from mien.models.appraisal.training.variation import brightness, vary
from mien.models.errors import ModelsError

SEEDS = st.integers(0, 2**31 - 1)
REACH = face_region(AppraisalRule(), 64)[0, 0]
NAMES = ("student", "fine-tuning", "inpainter")


def rng(seed: int) -> Generator:
    return Generator().manual_seed(seed)


def new_task(name: str) -> Task:
    torch.manual_seed(3)
    net = AppraisalNet(AppraisalRule()).eval()
    return next(task for task in tasks(net) if task.name == name)


def weights(task: Task) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in task.parts().state_dict().items()}


def run(task: Task, face: Tensor, state: Path, schedule: Schedule) -> list[float]:
    losses: list[float] = []
    train(task, mixture(face), schedule, state, lambda _, loss: losses.append(loss))
    return losses


def pool(faces: Tensor, weight: float = 1.0) -> Pool:
    return Pool(faces, weight, torch.ones(len(faces), dtype=torch.bool))


def mixture(face: Tensor) -> Mixture:
    """Return one pool of a face and its mirror image."""
    return Mixture([pool(torch.stack([face, face.flip(2)]))], rate=0.5)


@pytest.mark.parametrize("name", NAMES)
def test_a_stopped_run_goes_on_as_if_it_had_never_stopped(name: str, face: Tensor, tmp_path: Path):
    schedule = Schedule(steps=3, batch=2, learning_rate=1e-3, seed=4, save_every=1, minings=2)
    whole = new_task(name)
    losses = run(whole, face, tmp_path / "whole.state", schedule)
    assert len(losses) == 3
    assert torch.isfinite(torch.tensor(losses)).all()

    def stop(step: int, loss: float) -> None:
        if step == 3:
            raise KeyboardInterrupt

    stopped = new_task(name)
    with pytest.raises(KeyboardInterrupt):
        train(stopped, mixture(face), schedule, tmp_path / "cut.state", stop)
    resumed = new_task(name)
    assert run(resumed, face, tmp_path / "cut.state", schedule) == losses[2:]
    expected, found = weights(whole), weights(resumed)
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[key], found[key]) for key in expected)
    # A run that is done does nothing more.
    assert run(new_task(name), face, tmp_path / "cut.state", schedule) == []


@pytest.mark.parametrize("name", NAMES)
def test_a_step_changes_what_learns_and_leaves_the_teacher_alone(name: str, face: Tensor, tmp_path: Path):
    torch.manual_seed(3)
    net = AppraisalNet(AppraisalRule())
    task = next(task for task in tasks(net) if task.name == name)
    teacher = {key: tensor.clone() for key, tensor in net.teacher.state_dict().items()}
    before = weights(task)
    run(task, face, tmp_path / "state", Schedule(steps=1, batch=2, learning_rate=1e-3))
    assert all(torch.equal(teacher[key], tensor) for key, tensor in net.teacher.state_dict().items())
    assert any(not torch.equal(before[key], tensor) for key, tensor in weights(task).items())
    assert not task.parts().training


def test_another_seed_draws_other_faces(face: Tensor, tmp_path: Path):
    losses = {
        seed: run(new_task("student"), face, tmp_path / str(seed), Schedule(1, 2, 1e-3, seed=seed))[0]
        for seed in (0, 1)
    }
    assert losses[0] != losses[1]


class Recorder:
    """A task of one number that keeps what it was shown."""

    name = "recorder"

    def __init__(self) -> None:
        self.number = torch.nn.Linear(1, 1, bias=False)
        self.batches: list[Tensor] = []

    def parts(self) -> torch.nn.Module:
        return self.number

    def settings(self) -> str:
        return ""

    def loss(self, faces: Tensor, rng: Generator) -> Tensor:
        self.batches.append(faces)
        return self.number.weight.square().sum()

    def cost(self, faces: Tensor) -> Tensor:
        return torch.arange(len(faces)).float()


def test_no_two_steps_and_no_two_seeds_draw_the_same_batch(face: Tensor, tmp_path: Path):
    batches = []
    for seed in (0, 1):
        task = Recorder()
        run(task, face, tmp_path / str(seed), Schedule(3, 2, 1e-3, seed=seed))
        batches += task.batches
    assert len({batch.numpy().tobytes() for batch in batches}) == 6


def test_what_training_gives_is_the_mean_of_the_last_weights(face: Tensor, tmp_path: Path):
    """The number falls towards 0 by about the rate at each step: its mean lies behind it."""
    task = Recorder()
    torch.nn.init.ones_(task.number.weight)
    trained: list[float] = []

    def keep(step: int, loss: float) -> None:
        trained.append(task.number.weight.item())

    train(task, mixture(face), Schedule(40, 1, 1e-2, mean_over=8), tmp_path / "state", keep)
    given = task.number.weight.item()
    assert trained[-1] < given < trained[20]


def test_hard_faces_are_looked_for_at_even_steps_by_the_mean_of_the_weights(face: Tensor, tmp_path: Path):
    task = Recorder()
    torch.nn.init.ones_(task.number.weight)
    seen: list[tuple[int, float]] = []

    def cost(faces: Tensor) -> Tensor:
        seen.append((len(task.batches), task.number.weight.item()))
        return torch.tensor([1.0, 3.0])

    task.cost = cost  # type: ignore[method-assign]
    faces = mixture(face)
    now: list[float] = []
    train(
        task,
        faces,
        Schedule(8, 1, 1e-1, minings=3, mean_over=4),
        tmp_path / "state",
        lambda *_: now.append(task.number.weight.item()),
    )
    assert [step for step, _ in seen] == [2, 4, 6]
    assert all(mean != now[step - 1] for step, mean in seen)
    assert faces.hardness[0].tolist() == pytest.approx([0.35 + 0.5, 0.35 + 1.5])


def _another_seed(face: Tensor) -> tuple[Task, Mixture, Schedule]:
    return Recorder(), mixture(face), Schedule(2, 1, 1e-3, seed=1)


def _other_faces(face: Tensor) -> tuple[Task, Mixture, Schedule]:
    return Recorder(), mixture(face.flip(1)), Schedule(2, 1, 1e-3)


def _other_weights(face: Tensor) -> tuple[Task, Mixture, Schedule]:
    faces = torch.stack([face, face.flip(2)])
    return Recorder(), Mixture([pool(faces, 2.0)], rate=0.5), Schedule(2, 1, 1e-3)


def _other_rate(face: Tensor) -> tuple[Task, Mixture, Schedule]:
    return Recorder(), Mixture(mixture(face).pools, rate=0.1), Schedule(2, 1, 1e-3)


def _more_steps(face: Tensor) -> tuple[Task, Mixture, Schedule]:
    return Recorder(), mixture(face), Schedule(3, 1, 1e-3)


def _other_first_weights(face: Tensor) -> tuple[Task, Mixture, Schedule]:
    task = Recorder()
    torch.nn.init.zeros_(task.number.weight)
    return task, mixture(face), Schedule(2, 1, 1e-3)


@pytest.mark.parametrize(
    ("other", "named"),
    [
        (_another_seed, "seed"),
        (_other_faces, "faces"),
        (_other_weights, "faces"),
        (_other_rate, "settings"),
        (_more_steps, "schedule"),
        (_other_first_weights, "first weights"),
    ],
)
def test_a_state_of_another_training_is_refused_in_one_line(
    face: Tensor,
    tmp_path: Path,
    other: Callable[[Tensor], tuple[Task, Mixture, Schedule]],
    named: str,
    monkeypatch: pytest.MonkeyPatch,
):
    def begin() -> Recorder:
        task = Recorder()
        torch.nn.init.ones_(task.number.weight)
        return task

    schedule, state = Schedule(2, 1, 1e-3), tmp_path / "recorder.state"
    train(begin(), mixture(face), schedule, state, lambda *_: None)
    before = state.read_bytes()
    # The same again is taken up and has nothing left to do.
    train(begin(), mixture(face), schedule, state, lambda *_: pytest.fail("trained again"))
    task, faces, plan = other(face)
    if named != "first weights":
        task.parts().load_state_dict(begin().parts().state_dict())
    with pytest.raises(ModelsError, match=f"recorder.state was begun with other {named}") as refused:
        train(task, faces, plan, state, lambda *_: pytest.fail("trained all the same"))
    assert "\n" not in str(refused.value)
    assert state.read_bytes() == before


@pytest.mark.parametrize("content", [b"", b"not a state"])
def test_a_damaged_state_is_refused_by_name(face: Tensor, tmp_path: Path, content: bytes):
    (tmp_path / "student.state").write_bytes(content)
    with pytest.raises(ModelsError, match=r"student\.state"):
        run(new_task("student"), face, tmp_path / "student.state", Schedule(1, 2, 1e-3))


def test_the_state_of_another_part_is_refused_by_name(face: Tensor, tmp_path: Path):
    torch.save({"parts": {"a": torch.zeros(1)}, "optimizer": {}, "step": 1}, tmp_path / "student.state")
    with pytest.raises(ModelsError, match=r"student\.state"):
        run(new_task("student"), face, tmp_path / "student.state", Schedule(1, 2, 1e-3))


def test_every_part_but_the_teacher_is_trained():
    net = AppraisalNet(AppraisalRule())
    found = list(tasks(net))
    assert [type(task) for task in found] == [StudentTask, FineTuningTask, InpainterTask]
    learning = {id(p) for task in found for p in task.parts().parameters()}
    assert learning == {id(p) for p in net.parameters() if p.requires_grad}


def test_distances_that_part_where_the_change_is_are_rewarded():
    grade = torch.zeros(1, 1, 16, 16)
    grade[..., 4:8, 4:8] = 1
    region = torch.ones_like(grade)
    good, bad = discrepancy(grade * 3, grade, region), discrepancy((1 - grade) * 3, grade, region)
    assert good < 0 < bad


@given(SEEDS)
@settings(max_examples=10)
def test_a_varied_face_keeps_shape_and_range(face: Tensor, seed: int):
    colours = face.float() / 255
    varied = vary(colours, rng(seed))
    assert varied.shape == face.shape
    assert 0 <= varied.min() <= varied.max() <= 1
    assert torch.equal(varied, vary(colours, rng(seed)))


def test_a_batch_is_drawn_from_its_seed(face: Tensor):
    faces = mixture(face)
    first = faces.draw(3, rng(1))
    assert first.shape == (3, 3, 256, 256)
    assert torch.equal(first, faces.draw(3, rng(1)))
    assert not torch.equal(first, faces.draw(3, rng(2)))


def grey(levels: list[int], size: int = 64) -> Tensor:
    return torch.tensor(levels, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, size, size)


def test_rare_dark_faces_are_drawn_often():
    drawn = Mixture([pool(grey([40] * 20 + [200] * 380))]).draw(200, rng(0))
    # Every other face is picked evenly by brightness: a quarter is dark, and some light ones are darkened.
    assert (brightness(drawn) < 0.3).float().mean() > 0.2


def picks(faces: Mixture, count: int = 400) -> Tensor:
    """Return which pool, told by blue, so many faces come from."""
    drawn = faces.draw(count, rng(3))
    return (drawn[:, 2] > drawn[:, 0]).flatten(1).float().mean(dim=1) > 0.5


def coloured(*, blue: bool) -> Tensor:
    face = torch.full((1, 3, 16, 16), 60, dtype=torch.uint8)
    face[:, 2 if blue else 0] = 200
    return face


@pytest.mark.parametrize("weight", [0.0, 1.0, 3.0])
def test_pools_are_mixed_by_their_weights(weight: float):
    share = picks(Mixture([pool(coloured(blue=False)), pool(coloured(blue=True), weight)])).float().mean()
    # Four standard deviations of 400 picks are 0.1 at most.
    assert share == pytest.approx(weight / (1 + weight), abs=0.1 if weight else 0)


def test_hard_faces_are_picked_more_often_and_none_is_forgotten():
    faces = Mixture([pool(torch.cat([coloured(blue=False)] * 9 + [coloured(blue=True)]))])
    before = picks(faces).float().mean()
    faces.mine(0, torch.tensor([0.01] * 9 + [0.5]))
    after = picks(faces).float().mean()
    assert 0.05 < before < 0.2
    assert after > 2 * before
    assert after < 0.75


def test_faces_that_cost_nothing_are_all_alike():
    faces = Mixture([pool(grey([40, 90, 200]))])
    faces.mine(0, torch.zeros(3))
    assert len(set(faces.hardness[0].tolist())) == 1
    assert faces.draw(2, rng(0)).shape == (2, 3, 64, 64)


def test_light_faces_are_sometimes_darkened_but_what_is_white_stays_light():
    light = torch.full((3, 64, 64), 0.6)
    light[:, :8] = 0.95
    varied = torch.stack([vary(light, rng(seed)) for seed in range(60)])
    dark = varied[brightness(varied) < 0.3]
    assert 3 <= len(dark) <= 30
    assert dark[:, :, :4].mean() > 2 * brightness(dark).mean()


@pytest.mark.parametrize("corruption", CORRUPTIONS)
@given(seed=SEEDS)
@settings(max_examples=15)
def test_a_corruption_keeps_the_shape_and_leaves_what_lies_far(
    small: Tensor, corruption: Corruption, seed: int
):
    source = rng(seed)
    window = random_window(64, REACH, source)
    changed = corruption(small, window, 1.0, source)
    assert changed.shape == small.shape
    assert torch.isfinite(changed).all()
    # Windows fall off smoothly and never reach 0: below 0.0001, colours move less than a grey level.
    moved = (changed - small).abs() * (window < 1e-4)
    assert moved.max() < 1 / 255


@given(SEEDS)
def test_a_corrupted_face_stays_in_range_and_follows_its_seed(small: Tensor, seed: int):
    changed = corrupt(small, REACH, rng(seed))
    assert changed.shape == small.shape
    assert 0 <= changed.min() <= changed.max() <= 1
    assert torch.equal(changed, corrupt(small, REACH, rng(seed)))


@pytest.mark.parametrize("corruption", CORRUPTIONS)
def test_a_corruption_grows_with_its_strength_from_nothing(small: Tensor, corruption: Corruption):
    def change(strength: float) -> float:
        pairs = []
        for seed in range(8):
            source = rng(seed)
            window = random_window(64, REACH, source)
            pairs.append((corruption(small, window, strength, source) - small).abs().mean())
        return float(torch.stack(pairs).mean())

    # A displacement by nothing leaves the rounding of its coordinates.
    assert change(0) < 1e-4 < change(0.3) < change(1)


def test_most_corruptions_can_be_seen(small: Tensor):
    changed = torch.stack([corrupt(small, REACH, rng(seed)) for seed in range(20)])
    visible = (changed - small).abs().amax(dim=(1, 2, 3)) > 0.1
    assert visible.float().mean() > 0.5


def test_most_strokes_cover_what_they_cross():
    # Darkening or lightening by a factor would leave black what is black.
    face = torch.full((3, 64, 64), 0.6)
    face[:, 28:36] = 0.0
    window = torch.zeros(1, 64, 64)
    window[:, 16:48, 16:48] = 1
    lightest = torch.stack([stroke(face, window, 1.0, rng(seed))[:, 28:36].max() for seed in range(20)])
    assert (lightest > 0.1).float().mean() > 0.5


def test_details_are_where_the_face_is_not_plain():
    plain = torch.full((3, 64, 64), 0.5)
    plain[:, 30:34, 20:44] = 0.1
    found = detail(plain)
    assert found.mean() == pytest.approx(1)
    assert found[32, 32] > 10 * found[50, 32]


@pytest.fixture(scope="module")
def shipped() -> AppraisalNet:
    return load_checkpoint(REFERENCE).appraisal


def test_a_grade_says_which_places_of_which_faces_were_changed(shipped: AppraisalNet, face: Tensor):
    faces = (face[None].float() / 255).expand(4, -1, -1, -1)
    drawn = draw_anomalies(shipped, faces, 1, rng(5))
    assert drawn.grade.shape == (4, 1, 64, 64)
    # Noise of up to 0.02.
    assert (drawn.faces[0] - faces[0]).std() < 0.025
    assert not drawn.grade[0].any()
    assert drawn.grade[1:].amax(dim=(1, 2, 3)).min() > 0.02
    assert drawn.grade.max() <= 1
    moved = torch.nn.functional.avg_pool2d(drawn.faces - faces, 4).abs().mean(dim=1, keepdim=True)
    assert all(
        torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1] > 0.3
        for a, b in zip(moved[1:], drawn.grade[1:], strict=True)
    )


def blot(colour: float) -> Callable[[Tensor, Tensor, Generator], Anomaly]:
    """Return what covers a part of a face evenly."""

    def draw(face: Tensor, reach: Tensor, source: Generator) -> Anomaly:
        covered = face.clone()
        covered[:, 140:160, 80:110] = colour
        return Anomaly(covered, math.nan)

    return draw


def test_the_noise_of_a_place_does_not_tell_that_it_was_drawn_upon(
    shipped: AppraisalNet, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("mien.models.appraisal.training.tasks.draw_anomaly", blot(0.5))
    drawn = draw_anomalies(shipped, torch.full((1, 3, 256, 256), 0.5), 0, rng(0)).faces[0]
    inside, outside = drawn[:, 140:160, 80:110].std(), drawn[:, 140:160, 120:150].std()
    assert outside > 0.002
    # 1,800 draws each: their deviations differ by some hundredths.
    assert inside == pytest.approx(outside.item(), rel=0.15)


def test_untouched_faces_pull_at_the_loss_of_fine_tuning_by_the_share_of_the_score_they_lose(
    shipped: AppraisalNet, face: Tensor, monkeypatch: pytest.MonkeyPatch
):
    task = FineTuningTask(shipped)
    faces = face[None].expand(4, -1, -1, -1).float() / 255
    with torch.no_grad():
        pulled = task.loss(faces, rng(0))
        monkeypatch.setattr(FineTuningTask, "_pull", 0.0)
        plain = task.loss(faces, rng(0))
    drawn = draw_anomalies(shipped, faces, 1, rng(0), draw_camera)
    with torch.no_grad():
        logit = shipped.verdict(drawn.faces[:1], Features(*(scale[:1] for scale in drawn.features)))
        evidence = shipped.evidence(shipped.in_region(torch.sigmoid(logit)) + 1e-5)
    # Training's own tolerated evidence.
    assert pulled - plain == pytest.approx(float(evidence / (0.0105 + evidence)), rel=1e-2, abs=1e-5)


def test_the_cost_of_a_face_grows_with_what_is_unusual_about_it(shipped: AppraisalNet, face: Tensor):
    spotted = face.clone()
    spotted[:, 140:165, 80:105] = 20
    with torch.no_grad():
        plain, marked = FineTuningTask(shipped).cost(torch.stack([face, spotted]).float() / 255)
    assert 0 <= plain < 0.2 < marked <= 1


def test_a_camera_takes_drawn_and_untouched_faces_alike_and_after_the_drawing(
    shipped: AppraisalNet, face: Tensor, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("mien.models.appraisal.training.tasks.draw_anomaly", blot(0.9))
    monkeypatch.setattr(
        "mien.models.appraisal.training.tasks._camera_noise", lambda shape, _: torch.zeros(shape)
    )
    faces = face[None].expand(2, -1, -1, -1).float() / 255
    camera = Camera(blur=1.2)
    drawn = draw_anomalies(shipped, faces, 1, rng(0), lambda _: camera)
    blotted = blot(0.9)(faces[1], torch.zeros(()), rng(0)).face
    torch.testing.assert_close(drawn.faces, torch.stack([camera.take(faces[0]), camera.take(blotted)]))
    # What the camera does to both is not an anomaly.
    assert drawn.grade[1, 0, :15].max() < 0.02


def test_a_thin_red_line_as_bright_as_the_skin_counts_for_more_than_a_grey_one(
    shipped: AppraisalNet, face: Tensor, monkeypatch: pytest.MonkeyPatch
):
    faces = (face[None].float() / 255).clone()

    def line(colour: tuple[float, float, float]) -> Tensor:
        def drawn(face: Tensor, reach: Tensor, source: Generator) -> Anomaly:
            lined = face.clone()
            lined[:, 150:153, 80:120] += torch.tensor(colour).view(3, 1, 1)
            return Anomaly(lined, math.nan)

        monkeypatch.setattr("mien.models.appraisal.training.tasks.draw_anomaly", drawn)
        return draw_anomalies(shipped, faces, 0, rng(0)).grade[0, 0, 37:39, 20:30].mean()

    # By ITU-R BT.601 the red line leaves the brightness as it was; the grey one moves it by as much as the
    # red one moves its channels on average.
    red, grey, nothing = line((0.2, -0.102, 0.0)), line((0.1, 0.1, 0.1)), line((0.0, 0.0, 0.0))
    assert red > 1.5 * nothing + 0.05
    assert red > grey


def test_the_grade_of_a_known_severity_makes_the_score_fall_evenly(
    shipped: AppraisalNet, face: Tensor, monkeypatch: pytest.MonkeyPatch
):
    severities = (0.5, 0.7, 0.9)
    remaining = iter(severities)

    def blackened(face: Tensor, reach: Tensor, source: Generator) -> Anomaly:
        changed = face.clone()
        changed[:, 150:160, 90:100] *= 0.8
        return Anomaly(changed, next(remaining))

    monkeypatch.setattr("mien.models.appraisal.training.tasks.draw_anomaly", blackened)
    faces = (face[None].float() / 255).expand(3, -1, -1, -1)
    grade = draw_anomalies(shipped, faces, 0, rng(0)).grade
    evidence = shipped.evidence(shipped.in_region(grade))
    # Severity 0.5 takes 0.3 of the score.
    tolerated = evidence[0] * (1 - 0.3) / 0.3
    scores = 100 * tolerated / (tolerated + evidence)
    expected = [100 - 60 * severity for severity in severities]
    # A grade above 1 is cut off.
    assert scores.tolist() == pytest.approx(expected, abs=0.5)


@pytest.mark.parametrize("share", [0.5, 2.0])
def test_heat_that_is_wrong_everywhere_by_a_factor_costs_the_whole_face_too(
    shipped: AppraisalNet, share: float
):
    grade = torch.zeros(1, 1, 64, 64)
    grade[..., 30:40, 30:40] = 0.3
    right, wrong = (torch.logit(heat, eps=1e-4) for heat in (grade, grade * share))
    assert verdict_loss(shipped, right, grade) < verdict_loss(shipped, wrong, grade)


def test_a_head_that_sees_nothing_unusual_has_a_slope(shipped: AppraisalNet):
    logit = torch.full((1, 1, 64, 64), -90.0, requires_grad=True)
    verdict_loss(shipped, logit, torch.zeros(1, 1, 64, 64)).backward()  # type: ignore[no-untyped-call]
    assert logit.grad is not None
    assert torch.isfinite(logit.grad).all()


def test_fine_tuning_moves_student_and_head_and_leaves_their_statistics_as_they_are(
    face: Tensor, tmp_path: Path
):
    task = new_task("fine-tuning")
    assert isinstance(task, FineTuningTask)
    before = weights(task)
    statistics = dict(task.parts().named_buffers())
    run(task, face, tmp_path / "state", Schedule(steps=1, batch=2, learning_rate=1e-3))
    assert statistics
    assert all(torch.equal(before[key], tensor) for key, tensor in statistics.items())
    moved = [key for key, tensor in weights(task).items() if not torch.equal(before[key], tensor)]
    assert {key.split(".")[0] for key in moved} == {"student", "head"}


def test_the_inpainter_learns_to_put_back_what_is_hidden_because_it_is_anomalous(
    shipped: AppraisalNet, face: Tensor, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("mien.models.appraisal.training.tasks.draw_anomaly", blot(0))
    monkeypatch.setattr(InpainterTask, "_hole", lambda task, source: torch.zeros(1, 256, 256))
    seen: list[tuple[Tensor, Tensor]] = []

    def untouched(face: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        seen.append((face, mask))
        return face, face

    monkeypatch.setattr(shipped.inpainter, "phases", untouched)
    loss = InpainterTask(shipped).loss(face[None].expand(2, -1, -1, -1).float() / 255, rng(0))
    shown, mask = seen[0]
    assert mask[0].max() == 0
    assert mask[1, 0, 145:155, 85:105].min() > 0.9
    # Black but for the noise.
    assert shown[1, :, 145:155, 85:105].mean() < 0.02
    # What is given back is black, and the target is not.
    assert loss > 0.1


@given(SEEDS)
def test_a_window_is_soft_and_lies_in_reach(seed: int):
    window = random_window(64, REACH, rng(seed))
    assert window.shape == (1, 64, 64)
    assert 0 <= window.min() <= window.max() <= 1
    assert window.max() > 0.5
    # Its brightest places are near its centre, which was drawn inside the region; its longest radius is 0.2.
    y, x = divmod(int(window.argmax()), 64)
    near = REACH[max(y - 16, 0) : y + 17, max(x - 16, 0) : x + 17]
    assert near.max() == 1


def test_no_displacement_moves_nothing(small: Tensor):
    # Places are computed in float32: a last bit of a coordinate is a little of a colour.
    torch.testing.assert_close(displace(small, torch.zeros(2, 64, 64)), small, atol=1e-4, rtol=0)


def test_a_displacement_of_whole_pixels_is_a_shift(small: Tensor):
    field = torch.zeros(2, 64, 64)
    field[0] = 3 / 64
    moved = displace(small, field)
    torch.testing.assert_close(moved[..., :-3], small[..., 3:], atol=1e-4, rtol=0)


def test_noise_is_smooth_and_seeded():
    noise = smooth_noise(2, 3, 64, rng(1))
    assert noise.shape == (2, 64, 64)
    assert torch.equal(noise, smooth_noise(2, 3, 64, rng(1)))
    assert (noise[..., 1:] - noise[..., :-1]).abs().max() < 0.5 * noise.abs().max()
