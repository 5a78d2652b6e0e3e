"""``mien fit-score``: the scale of simulated raters is found again, and nothing is written otherwise."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from mien.mobile_reference.commands.console import main
from mien.models.appraisal.alignment import align
from mien.models.appraisal.checkpoint import (
    REFERENCE,
    Checkpoint,
    Config,
    ScoreFit,
    checkpoint_hash,
    load_checkpoint,
)
from mien.models.appraisal.errors import RequestError
from mien.models.appraisal.evaluation.ratings.fit_score import (
    cross_validated,
    fit_scale,
    root_mean_square,
    scaled,
)
from mien.models.appraisal.portraits import read_image
from mien.models.errors import CheckpointError


def run(*arguments: object) -> object:
    with pytest.raises(SystemExit) as left:
        main([str(argument) for argument in arguments])
    return left.value.code


@pytest.fixture(scope="module")
def scores(samples: list[Path], checkpoint: Checkpoint) -> np.ndarray:
    found = []
    for sample in samples:
        face = align(read_image(sample), checkpoint.detector, checkpoint.config.alignment).pixels
        with torch.inference_mode():
            found.append(float(checkpoint.appraisal(face[None].float()).score))
    return np.array(found)


@pytest.mark.parametrize("truth", [0.1, 0.5, 1.0, 7.0])
def test_the_truth_of_simulated_ratings_is_found(truth: float):
    rng = np.random.default_rng(2)
    evidence = rng.lognormal(0, 1.5, 300)
    points = scaled(evidence, truth) + rng.normal(0, 8, 300)
    assert fit_scale(evidence, points) == pytest.approx(truth, rel=0.15)
    left_out = cross_validated(evidence, points, [str(n // 2) for n in range(300)])
    assert root_mean_square(left_out - points) == pytest.approx(8, abs=1)


def test_people_left_out_do_not_set_their_own_scale():
    """Two kinds of people on two scales: who is left out gets the scale of the others."""
    evidence = np.tile([0.2, 1.0, 5.0], 10)
    points = scaled(evidence, 1.0)
    points[:3] = scaled(evidence[:3], 20.0)
    people = [str(n // 3) for n in range(30)]
    left_out = cross_validated(evidence, points, people)
    np.testing.assert_allclose(left_out[:3], scaled(evidence[:3], 1.0), atol=0.1)
    assert root_mean_square(left_out - points) > root_mean_square(
        scaled(evidence, fit_scale(evidence, points)) - points
    )


@pytest.mark.parametrize("level", [0.0, 100.0])
def test_ratings_of_one_end_have_no_scale(level: float):
    with pytest.raises(RequestError, match="scale more than 1000 times"):
        fit_scale(np.array([0.5, 1.0, 2.0]), np.full(3, level))


def write_ratings(file: Path, samples: list[Path], means: np.ndarray) -> Path:
    rng = np.random.default_rng(8)
    lines = [
        f"{sample.name},{rater},{min(100, max(0, mean + rng.normal(0, 2))):.2f}"
        for sample, mean in zip(samples, means, strict=True)
        for rater in ("x", "y", "z")
    ]
    file.write_text("\n".join(("photograph,rater,rating", *lines)) + "\n")
    return file


def test_a_fitted_checkpoint_rates_as_the_raters_do(
    tmp_path: Path, samples: list[Path], sample_folder: Path, scores: np.ndarray, checkpoint: Checkpoint
):
    ratings = write_ratings(tmp_path / "r.csv", samples, scaled(100 / scores - 1, 0.25))
    assert run("fit-score", REFERENCE, sample_folder, "--ratings", ratings, "-o", tmp_path / "new") == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "r.csv"]
    fitted = load_checkpoint(tmp_path / "new")
    fit = fitted.config.score_fit
    assert fit is not None
    before = float(checkpoint.appraisal.tolerated_evidence)
    assert fit.tolerated_before == pytest.approx(before)
    assert float(fitted.appraisal.tolerated_evidence) == pytest.approx(0.25 * before, rel=0.1)
    assert fit.tolerated_evidence == pytest.approx(float(fitted.appraisal.tolerated_evidence))
    assert (fit.photographs, fit.people, fit.raters, fit.folds) == (18, 18, 3, 5)
    assert fit.error_left_out < 3 < fit.error_before
    assert fit.checkpoint == checkpoint_hash(checkpoint)
    # Everything else is as it was.
    old, new = checkpoint.state_dict(), fitted.state_dict()
    assert [name for name in old if not torch.equal(old[name], new[name])] == ["appraisal.tolerated_evidence"]
    assert fitted.config.appraisal == checkpoint.config.appraisal


def test_what_cannot_be_fitted_leaves_nothing_behind(
    tmp_path: Path,
    samples: list[Path],
    sample_folder: Path,
    scores: np.ndarray,
    capsys: pytest.CaptureFixture[str],
):
    out = tmp_path / "new"

    def refused(ratings: Path, *more: object) -> str:
        there = sorted(tmp_path.iterdir())
        assert run("fit-score", REFERENCE, sample_folder, "--ratings", ratings, "-o", out, *more) == 2
        assert sorted(tmp_path.iterdir()) == there
        return capsys.readouterr().err.strip().splitlines()[-1]

    own = write_ratings(tmp_path / "own.csv", samples, scores)
    assert "keep the checkpoint, or rate more photographs" in refused(own)
    assert "the ratings do not rise with the scores" in refused(own, "--scale", "100:0")
    assert "span" in refused(own, "--scale", "0:1000")
    few = tmp_path / "few.csv"
    few.write_text("\n".join(own.read_text().splitlines()[:13]) + "\n")
    assert "4 people were rated, a fit needs at least 10" in refused(few)
    assert "cannot be read" in refused(tmp_path / "nowhere.csv")
    out.mkdir()
    assert "cannot be made; give a new folder" in refused(own)


def test_a_config_without_a_fit_keeps_its_bytes(checkpoint: Checkpoint):
    assert checkpoint.config.to_json() == (REFERENCE / "config.json").read_text()
    assert checkpoint.config.score_fit is None


def test_the_record_of_a_fit_is_read_strictly():
    text = Config("fitted", score_fit=ScoreFit(people=12)).to_json()
    assert Config.from_json(text).score_fit == ScoreFit(people=12)

    def refused(**change: object) -> str:
        values = json.loads(text)
        values["score_fit"] |= change
        with pytest.raises(CheckpointError) as error:
            Config.from_json(json.dumps(values))
        return str(error.value)

    assert "people is 1.5" in refused(people=1.5)
    assert "severe is" in refused(severe="low")
    assert "it holds nan at score_fit/error_before" in refused(error_before=float("nan"))
    assert "unexpected keyword" in refused(other=1)
    missing = json.loads(text)
    del missing["score_fit"]["raters"]
    with pytest.raises(CheckpointError, match="ScoreFit lacks raters"):
        Config.from_json(json.dumps(missing))
