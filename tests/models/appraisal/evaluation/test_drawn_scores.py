"""Figures of drawn anomalies by kind: from tables whose answer is known, and over real drawings."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from mien.models.appraisal.checkpoint import TEMPLATE, Checkpoint
from mien.models.appraisal.evaluation import statistics
from mien.models.appraisal.evaluation.drawn_scores import (
    KNOWN_KINDS,
    UNSEEN_KINDS,
    Canvas,
    DrawnScores,
    drawn_figures,
    measure_unseen,
    rate_drawn,
    rate_untouched,
)
from mien.models.appraisal.evaluation.evaluation import KINDS, SEVERITIES, Cases
from mien.models.appraisal.evaluation.evaluation_parts import Bench, part_record
from mien.models.appraisal.evaluation.figures import POOLED, Key
from mien.models.appraisal.portraits import FaceSet, Portrait

STAGE = "stage"


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(statistics, "RESAMPLES", 20)


def figures_of(untouched: np.ndarray, drawn: np.ndarray, kinds: tuple[str, ...]) -> dict[Key, float]:
    identities = [str(row) for row in range(len(untouched))]
    scores = DrawnScores(kinds, untouched, drawn)
    return {f.key: f.value.estimate for f in drawn_figures(scores, identities, STAGE)}


def test_mean_r_is_over_kinds_and_does_not_mix_their_severities():
    """Two kinds, each perfectly graded on a scale of its own: pooled they would not correlate so well."""
    untouched = np.full(4, 100.0)
    drawn = np.stack([100 - 10 * np.array(SEVERITIES), 100 - 80 * np.array(SEVERITIES)])
    found = figures_of(untouched, np.repeat(drawn[None], 4, axis=0), ("faint", "strong"))
    assert found[Key("mean_pearson", STAGE)] == pytest.approx(1)
    assert found[Key("pearson", STAGE, "faint")] == pytest.approx(1)
    assert found[Key("drawn_median", STAGE, "strong", "1")] == 20
    assert found[Key("drawn_median", STAGE, POOLED, "1")] == 55


def test_detection_counts_the_drawn_faces_alone():
    untouched = np.arange(81.0, 101.0)
    drawn = np.full((20, 2, 4), np.nan)
    drawn[::2, 0] = (90.0, 85.0, 80.0, 0.0)
    found = figures_of(untouched, drawn, ("one", "none"))
    assert found[Key("caught", STAGE, POOLED, "0.25")] == 0
    assert found[Key("caught", STAGE, POOLED, "0.75")] == found[Key("caught", STAGE, POOLED, "1")] == 1
    assert found[Key("image_auroc", STAGE, "one", "1")] == 1
    # 90 is below ten untouched scores, level with one and above nine.
    assert found[Key("image_auroc", STAGE, "one", "0.25")] == pytest.approx(10.5 / 20)
    assert np.isnan(found[Key("image_auroc", STAGE, "none", "1")])
    assert np.isnan(found[Key("pearson", STAGE, "none")])


def canvas_of(face: Tensor, count: int, noise: float = 0.0) -> Canvas:
    portraits = tuple(Portrait(Path(f"{row}.jpg"), f"person {row}") for row in range(count))
    faces = FaceSet(torch.stack([face] * count), torch.zeros(count, 2, 3), portraits, ())
    return Canvas(faces, TEMPLATE, noise)


def test_kinds_go_round_the_faces(face: Tensor):
    drawn = rate_drawn(canvas_of(face, 7), KNOWN_KINDS, 1, lambda _: 1.0, lambda *_: None)
    met = [np.flatnonzero(np.isfinite(row[:, 0])).tolist() for row in drawn]
    assert met == [[row % len(KINDS)] for row in range(7)]
    assert np.isfinite(drawn).sum() == 7 * len(SEVERITIES)


def test_known_kinds_are_drawn_as_in_the_studio(face: Tensor):
    canvas = canvas_of(face, 1)
    np.testing.assert_array_equal(
        canvas.drawn(KNOWN_KINDS, 0, "scar", 0.5), Cases(canvas.faces, TEMPLATE).draw(0, "scar", 0.5).face
    )


def test_noise_lies_on_untouched_and_drawn_faces(face: Tensor):
    plain, grainy = canvas_of(face, 1), canvas_of(face, 1, noise=3.0)
    apart = grainy.untouched(0).astype(float) - plain.untouched(0)
    assert apart.std() == pytest.approx(3, rel=0.15)
    drawn = grainy.drawn(KNOWN_KINDS, 0, "scar", 0.5).astype(float)
    assert (drawn - plain.drawn(KNOWN_KINDS, 0, "scar", 0.5)).std() == pytest.approx(3, rel=0.15)


class Seeing(Bench):
    """Knows the untouched face, and scores by how much of it was changed."""

    def score(self, face: np.ndarray) -> float:
        return float(100 - np.abs(face.astype(float) - self.untouched).mean())

    untouched: np.ndarray


def test_unseen_kinds_become_a_part(face: Tensor, checkpoint: Checkpoint):
    bench, canvas = Seeing(checkpoint, STAGE), canvas_of(face, 2)
    object.__setattr__(bench, "untouched", canvas.untouched(0).astype(float))
    untouched = rate_untouched(canvas, bench.score, lambda *_: None)
    part = measure_unseen("here", bench, canvas, untouched, len(UNSEEN_KINDS.kinds), lambda *_: None)
    record = part_record(part)
    by_kind = {f["kind"]: f["estimate"] for f in record["figures"] if f["measure"] == "pearson"}
    assert set(by_kind) == set(UNSEEN_KINDS.kinds)
    assert min(by_kind.values()) > 0.9
    mean = next(f["estimate"] for f in record["figures"] if f["measure"] == "mean_pearson")
    assert mean == pytest.approx(np.mean(list(by_kind.values())))
    assert {target["measure"]: target["met"] for target in record["targets"]} == {
        "mean_pearson": True,
        "image_auroc": True,
    }
    assert part.summary.startswith("unseen kinds, here: mean r 0.9")
