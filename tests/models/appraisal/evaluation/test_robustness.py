"""Nuisances and retests: measured by a rater whose answers are known."""

from pathlib import Path

import numpy as np
import pytest
import torch

from mien.models.appraisal.alignment import align
from mien.models.appraisal.checkpoint import TEMPLATE, Checkpoint
from mien.models.appraisal.evaluation import statistics
from mien.models.appraisal.evaluation.drawings.nuisances import FRAMINGS, jpeg
from mien.models.appraisal.evaluation.drawn_scores import Canvas, rate_untouched
from mien.models.appraisal.evaluation.evaluation_parts import Bench
from mien.models.appraisal.evaluation.robustness import (
    NUISANCES,
    _cropped,
    expression_pairs,
    measure_nuisances,
    measure_retest,
)
from mien.models.appraisal.portraits import FaceSet, Portrait, cut_faces

STAGE = "stage"


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(statistics, "RESAMPLES", 20)


class Brightness(Bench):
    """Scores a face by its mean colour: it knows nothing of faces, and any change of light costs points."""

    def score(self, face: np.ndarray) -> float:
        return float(face.mean()) / 2.55


@pytest.fixture(scope="module")
def cut(samples: list[Path], checkpoint: Checkpoint) -> FaceSet:
    portraits = [
        Portrait(samples[number], name, attributes={"expression": expression})
        for number, name, expression in ((0, "a", "neutral"), (2, "a", "smiling"), (4, "b", "neutral"))
    ]
    return cut_faces(portraits, checkpoint, lambda *_: None)


def test_every_nuisance_is_said_with_the_points_it_costs(cut: FaceSet, checkpoint: Checkpoint):
    bench, canvas = Brightness(checkpoint, STAGE), Canvas(cut, TEMPLATE, 0.0)
    untouched = rate_untouched(canvas, bench.score, lambda *_: None)
    part = measure_nuisances("here", bench, canvas, untouched, lambda *_: None)
    lost = {f.key.kind: f.value.estimate for f in part.figures if f.key.measure == "lost_mean"}
    assert set(lost) == set(NUISANCES)
    # Shadows take light, compression and noise hardly any.
    assert lost["side light"] > 5
    assert lost["hat's shadow"] > 2
    assert abs(lost["JPEG, quality 50"]) < 1
    assert "side light" in part.summary or "thick dark" in part.summary


def test_framings_cut_the_photograph_anew(cut: FaceSet, checkpoint: Checkpoint):
    """A face that is framed as it was stays the same; another frame moves it by what it says."""
    canvas = Canvas(cut, TEMPLATE, 0.0)
    from mien.models.appraisal.evaluation.robustness import _with_nuisances

    shifted = list(_with_nuisances(canvas, 0))[NUISANCES.index("shifted by 3 pixels")]
    found = align(
        torch.from_numpy(shifted).permute(2, 0, 1), checkpoint.detector, checkpoint.config.alignment
    )
    untouched = align(cut.faces[0], checkpoint.detector, checkpoint.config.alignment)
    moved = (untouched.matrix[:, 2] - found.matrix[:, 2]).numpy()
    np.testing.assert_allclose(moved, FRAMINGS["shifted by 3 pixels"][:, 2], atol=1.5)


def test_a_person_is_paired_with_another_expression_of_theirs(cut: FaceSet):
    pairs = expression_pairs(cut, np.array([90.0, 80.0, 70.0]))
    np.testing.assert_array_equal(pairs, [[90, 80], [np.nan, np.nan], [np.nan, np.nan]])


def test_retests_find_the_face_again(cut: FaceSet, checkpoint: Checkpoint):
    bench = Brightness(checkpoint, STAGE)
    part = measure_retest("here", bench, cut, np.array([90.0, 80.0, 70.0]), lambda *_: None)
    deviations = {f.key.kind: f.value.estimate for f in part.figures if f.key.measure == "retest_sd"}
    assert list(deviations) == ["expressions", "crops", "JPEG, qualities 85 and 50"]
    assert deviations["crops"] < 1
    assert deviations["JPEG, qualities 85 and 50"] < 1
    assert part.warnings == ()


def test_a_face_that_is_not_found_again_is_told(
    cut: FaceSet, checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
):
    from mien.models.appraisal.evaluation import robustness

    monkeypatch.setattr(robustness, "_rated_again", lambda *_: float("nan"))
    part = measure_retest(
        "here", Brightness(checkpoint, STAGE), cut, np.array([90.0, 80.0, 70.0]), lambda *_: None
    )
    assert part.warnings[0] == "crops: of 3 of 3 photographs no face was found again"
    assert not any(judged.met for judged in part.targets if judged.target.kind == "crops")


def test_crops_keep_the_face_and_differ(cut: FaceSet, portrait: torch.Tensor):
    first, second = (_cropped(portrait, cut.matrices[0], 0, which) for which in (0, 1))
    assert first.shape != second.shape
    assert min(first.shape[1:]) > 0.4 * min(portrait.shape[1:])


def test_compression_is_lossy_and_repeatable(cut: FaceSet):
    face = cut.faces[0].permute(1, 2, 0).contiguous().numpy()
    np.testing.assert_array_equal(jpeg(face, 50), jpeg(face, 50))
    assert (jpeg(face, 50) != face).any()
