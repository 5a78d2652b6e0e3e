"""The vectors for alignment alone: runner, float pipeline and C runner follow them."""

import json
import subprocess
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from mien.mobile_reference.front import alignment as numpy_side
from mien.mobile_reference.front.alignment import SNAP
from mien.mobile_reference.front.vectors import RULE, _from_border, vectors
from mien.models.appraisal import alignment as torch_side
from mien.models.appraisal.checkpoint import Checkpoint
from tests.mobile_reference.front.harness import compiled

FILE = files("mien.mobile_reference.front") / "alignment_vectors.json"
VECTORS = json.loads(FILE.read_text())
CASES = [pytest.param(case, id=case["name"]) for case in VECTORS["cases"]]
ROOT = Path(__file__).parents[3]
# Least squares by other ways of counting, times places of up to 4032 pixels.
CLOSE = 1e-6


def photograph(case: dict[str, Any]) -> NDArray[np.uint8]:
    size = case["photograph"]
    return np.random.default_rng(0).integers(0, 256, (size["height"], size["width"], 3), np.uint8)


def answers(case: dict[str, Any]) -> list[NDArray[np.float32]]:
    """What the detector says at either detection."""
    return [np.array([case[look]["candidate"]], np.float32) for look in ("first_look", "second_look")]


def square(case: dict[str, Any], look: str) -> numpy_side.Square:
    return numpy_side.Square(**case[look]["square"])


def cut(case: dict[str, Any]) -> NDArray[np.uint8]:
    """The face by the matrix of the vectors."""
    return numpy_side.warp(photograph(case), np.array(case["alignment"]["matrix"]), RULE.size)


def assert_same_pixels(face: NDArray[np.uint8], expected: NDArray[np.uint8]) -> None:
    difference = np.abs(face.astype(int) - expected.astype(int))
    # The matrix of the file has nine decimals: a value at a rounding boundary may fall to the other side.
    assert difference.max() <= 1
    assert (difference > 0).mean() < 1e-3


def test_the_file_is_what_the_command_makes():
    made = vectors()
    assert made["rule"] | {"template": [list(p) for p in RULE.template]} == VECTORS["rule"]
    assert (made["snap"], made["epsilon"]) == (VECTORS["snap"], VECTORS["epsilon"]) == (0.125, 1e-6)
    assert [case["name"] for case in made["cases"]] == [case["name"] for case in VECTORS["cases"]]
    for ours, theirs in zip(made["cases"], VECTORS["cases"], strict=True):
        assert ours["first_look"]["snapped"] == theirs["first_look"]["snapped"]
        assert ours["second_look"]["snapped"] == theirs["second_look"]["snapped"]
        np.testing.assert_allclose(
            ours["alignment"]["matrix"], theirs["alignment"]["matrix"], rtol=0, atol=CLOSE
        )


def test_the_rule_is_that_of_the_shipped_checkpoint(checkpoint: Checkpoint):
    shipped = checkpoint.config.alignment
    fields = ("size", "template", "score", "overlap", "second_look", "smallest")
    assert [getattr(shipped, name) for name in fields] == [getattr(RULE, name) for name in fields]
    assert RULE.sure == torch_side.SURE


@pytest.mark.parametrize("case", CASES)
def test_a_case_follows_the_text_of_the_manifest(case: dict[str, Any]):
    """Worked out here from docs/manifest.md alone, with none of the code under test."""
    width, height = case["photograph"]["width"], case["photograph"]["height"]
    side = max(width, height)
    assert case["first_look"]["square"] == {"x": width / 2, "y": height / 2, "side": side}
    assert case["first_look"]["reduction"] == max(1, int(side / 128 + 1e-6))
    corner = np.array([width / 2 - side / 2, height / 2 - side / 2])
    shares = np.array(case["first_look"]["candidate"], np.float32).astype(float)
    box = [*(shares[1:3] * side + corner - 0.5), *(shares[3:5] * side)]
    np.testing.assert_allclose(case["first_look"]["box"], box, rtol=0, atol=1e-8)
    x, y, *sides = np.floor(8 * np.array(box) + 0.5) / 8
    assert case["first_look"]["snapped"] == [x, y, *sides]
    assert case["second_look"]["square"] == {"x": x + 0.5, "y": y + 0.5, "side": 2 * max(sides)}
    side = 2 * max(sides)
    shares = np.array(case["second_look"]["candidate"], np.float32).astype(float)[5:13].reshape(4, 2)
    keypoints = shares * side + np.array([x, y]) + 0.5 - side / 2 - 0.5
    np.testing.assert_allclose(case["second_look"]["keypoints"], keypoints, rtol=0, atol=1e-8)
    snapped = np.floor(8 * keypoints + 0.5) / 8
    assert case["second_look"]["snapped"] == snapped.tolist()
    assert_best(np.array(case["alignment"]["matrix"]), snapped, np.array(VECTORS["rule"]["template"]))
    scale = np.hypot(*np.array(case["alignment"]["matrix"])[0, :2])
    assert case["alignment"]["reduction"] == max(1, int(1 / scale + 1e-6))


def assert_best(matrix: NDArray[np.float64], points: NDArray[np.float64], goal: NDArray[np.float64]) -> None:
    """A similarity is the best one where no small change of turn, scale or shift comes nearer."""
    (a, minus_b, x), (b, same_a, y) = matrix
    assert (a, b) == (same_a, -minus_b)

    def apart(values: NDArray[np.float64]) -> float:
        a, b, x, y = values
        return float(((points @ np.array([[a, b], [-b, a]]) + (x, y) - goal) ** 2).sum())

    best = np.array([a, b, x, y])
    for change in np.vstack([np.eye(4), -np.eye(4)]) * (1e-3, 1e-3, 0.1, 0.1):
        assert apart(best) < apart(best + change)


def test_without_the_snap_the_vectors_would_differ():
    far = [
        np.abs(np.subtract(case["second_look"]["keypoints"], case["second_look"]["snapped"])).max()
        for case in VECTORS["cases"]
    ]
    assert min(far) > 0.01
    assert max(far) == 0.0625  # the ties


@pytest.mark.parametrize("case", CASES)
def test_the_runner_follows_the_vectors(case: dict[str, Any], monkeypatch: pytest.MonkeyPatch):
    seen, looks = [], []
    similarity, warp, said = numpy_side.similarity, numpy_side.warp, iter(answers(case))
    monkeypatch.setattr(numpy_side, "similarity", lambda p, t: seen.append(p.tolist()) or similarity(p, t))
    monkeypatch.setattr(numpy_side, "warp", lambda p, m, s: looks.append(m) or warp(p, m, s))
    face = numpy_side.align(photograph(case), lambda picture: next(said), RULE)
    assert seen == [case["second_look"]["snapped"]]
    for matrix, look in zip(looks, ("first_look", "second_look"), strict=False):
        np.testing.assert_allclose(matrix, square(case, look).matrix(RULE.detector_size), rtol=0, atol=CLOSE)
    np.testing.assert_allclose(face.matrix, case["alignment"]["matrix"], rtol=0, atol=CLOSE)
    assert_same_pixels(face.pixels, cut(case))


@pytest.mark.parametrize("case", CASES)
def test_the_float_pipeline_follows_the_vectors(case: dict[str, Any], monkeypatch: pytest.MonkeyPatch):
    seen, said = [], iter(answers(case))
    similarity = torch_side.similarity
    monkeypatch.setattr(torch_side, "similarity", lambda p, t: seen.append(p.tolist()) or similarity(p, t))
    rule = torch_side.AlignmentRule(RULE.size, RULE.template)
    photo = torch.from_numpy(photograph(case)).permute(2, 0, 1)
    face = torch_side.align(photo, lambda picture: torch.from_numpy(next(said))[None], rule)
    assert seen == [case["second_look"]["snapped"]]
    np.testing.assert_allclose(face.matrix.numpy(), case["alignment"]["matrix"], rtol=0, atol=CLOSE)
    assert_same_pixels(face.pixels.permute(1, 2, 0).numpy(), cut(case))


@pytest.fixture(scope="module")
def harness(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled("align", tmp_path_factory.mktemp("harness"))


@pytest.mark.parametrize("case", CASES)
def test_the_c_runner_follows_the_vectors(case: dict[str, Any], harness: Path):
    pixels = photograph(case)
    squares = [
        case[look]["square"][key] for look in ("first_look", "second_look") for key in ("x", "y", "side")
    ]
    numbers = [RULE.score, RULE.overlap, RULE.second_look, RULE.smallest, *np.ravel(RULE.template), *squares]
    sizes = np.array([pixels.shape[1], pixels.shape[0], RULE.size, RULE.detector_size], np.int32)
    given = b"".join(a.tobytes() for a in (sizes, np.array(numbers), *answers(case), pixels))
    done = subprocess.run([harness], input=given, capture_output=True, check=True)
    found = np.frombuffer(done.stdout[: 18 * 8])
    assert found[:4].tolist() == case["first_look"]["snapped"]
    assert found[4:12].reshape(4, 2).tolist() == case["second_look"]["snapped"]
    np.testing.assert_allclose(found[12:].reshape(2, 3), case["alignment"]["matrix"], rtol=0, atol=CLOSE)
    face = np.frombuffer(done.stdout[18 * 8 :], np.uint8).reshape(RULE.size, RULE.size, 3)
    assert_same_pixels(face, cut(case))


@pytest.mark.parametrize(
    "scores", [(0.6, 0.9, 0.7, 0.65), (0.6, 0.7, 0.9, 0.65), (0.6, 0.5, 0.55, 0.9), (0.6,) * 4]
)
def test_the_c_runner_turns_a_photograph_as_the_runner_does(scores: tuple[float, ...], harness: Path):
    """The surest of the four is framed; of the same places each turn makes another face."""
    case = VECTORS["cases"][7]
    first, second = answers(case)
    said = [np.array([score, *one[0, 1:]], np.float32) for score in scores for one in (first, second)]
    pixels, looks = photograph(case), iter(said)
    expected = numpy_side.align(pixels, lambda picture: next(looks)[None], RULE)
    sizes = np.array([pixels.shape[1], pixels.shape[0], RULE.size, RULE.detector_size], np.int32)
    rule = np.array([RULE.score, RULE.overlap, RULE.second_look, RULE.smallest, *np.ravel(RULE.template)])
    given = b"".join(a.tobytes() for a in (sizes, rule, np.zeros(6), *said, pixels))
    done = subprocess.run([harness, str(RULE.sure)], input=given, capture_output=True, check=True)
    face = np.frombuffer(done.stdout, np.uint8).reshape(RULE.size, RULE.size, 3)
    assert_same_pixels(face, expected.pixels)
    turn = (0, 2, 1, 3)[scores.index(max(scores))]
    roll = np.degrees(np.arctan2(expected.matrix[1, 0], expected.matrix[0, 0]))
    upright = np.array(case["alignment"]["matrix"])
    tilt = np.degrees(np.arctan2(upright[1, 0], upright[0, 0]))
    assert (roll - tilt + 90 * turn + 180) % 360 - 180 == pytest.approx(0, abs=1)


def test_how_near_a_place_is_to_the_border_of_a_step() -> None:
    """On a step it is half of one away from where the next begins."""
    for steps, near in ((0.0, 0.5), (3.0, 0.5), (0.5, 0.0), (2.75, 0.25), (2.25, 0.25)):
        assert _from_border(np.array([steps * SNAP])) == pytest.approx(near)
    assert _from_border(np.array([0.0, 0.5 * SNAP])) == 0.0
