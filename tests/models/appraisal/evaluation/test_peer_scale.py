"""How a peer's anomaly scores become mien's: the map alone; anomalib is not needed."""

import numpy as np
import pytest

from mien.models.appraisal.evaluation.statistics import spearman
from mien.models.appraisal.training.normal import SCORE_THERE
from tests.models.appraisal.peers.scale import Scale, fit_scale


@pytest.mark.parametrize("unit", [1e-4, 1.0, 1e3])
def test_a_scale_places_typical_and_unusual_faces_in_any_unit(unit: float):
    scale = fit_scale(unit * np.arange(101.0))
    # The lowest scores 100, the 95th percentile what mien's own calibration gives that rank.
    np.testing.assert_allclose(scale.score(unit * np.array([-1, 0, 95])), [100, 100, SCORE_THERE])
    assert scale.score(unit * np.array([1e12]))[0] == pytest.approx(0, abs=1e-3)


def test_the_most_typical_face_scores_no_more_than_100():
    # 100 t / t is more than 100 for about one t in twenty.
    tolerated = np.random.default_rng(0).uniform(0, 10, 500)
    assert max(Scale(0.0, t).score(np.zeros(1))[0] for t in tolerated) == 100


def test_a_scale_keeps_the_order():
    anomaly = np.random.default_rng(0).normal(5, 1, 500)
    assert spearman(anomaly, fit_scale(anomaly).score(anomaly)) == pytest.approx(-1)


def test_scores_without_spread_have_no_scale():
    with pytest.raises(ValueError, match="20 anomaly scores about 3 have no spread"):
        fit_scale(np.full(20, 3.0))
