"""Intraclass correlations against a published example and against simulated raters; limits of agreement."""

import numpy as np
import pytest

from mien.models.appraisal.evaluation.reliability import (
    icc_single,
    limits_of_agreement,
    one_way,
    rater_reliability,
    two_way,
)

# Shrout and Fleiss (1979), table 2: six targets, four judges. Their table 4 gives the coefficients.
JUDGES = np.array(
    [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]], np.float64
)


def test_the_published_example():
    assert one_way(JUDGES).single == pytest.approx(0.17, abs=0.005)
    assert one_way(JUDGES).mean == pytest.approx(0.44, abs=0.005)
    assert two_way(JUDGES).single == pytest.approx(0.29, abs=0.005)
    assert two_way(JUDGES).mean == pytest.approx(0.62, abs=0.005)
    # Its ICC(3,4) is 0.91: the judges' biases do not lower a correlation with their mean.
    assert two_way(JUDGES).ceiling == pytest.approx(np.sqrt(0.91), abs=0.003)


def test_raters_that_differ_by_chance_alone_have_the_reliability_they_were_given():
    rng = np.random.default_rng(3)
    truth = rng.normal(0, 20, (4000, 1))
    table = truth + rng.normal(0, 10, (4000, 3))
    assert two_way(table).single == pytest.approx(0.8, abs=0.01)
    assert two_way(table).mean == pytest.approx(400 / (400 + 100 / 3), abs=0.01)
    # Without a third of the ratings the single rating's reliability is the same.
    table[rng.random(table.shape) < 1 / 3] = np.nan
    form, found = rater_reliability(table)
    assert form.startswith("ICC(1)")
    assert found.single == pytest.approx(0.8, abs=0.01)


def test_what_cannot_be_known_is_not_a_number():
    for table in (np.ones((5, 3)), JUDGES[:1], JUDGES[:, :1], np.full((3, 2), np.nan)):
        assert np.isnan(icc_single(table))
        assert np.isnan(rater_reliability(table)[1].mean)


def test_limits_of_agreement_hold_95_percent():
    rng = np.random.default_rng(3)
    first = rng.uniform(0, 100, 5000)
    second = first - 4 + rng.normal(0, 5, 5000)
    found = limits_of_agreement(first, second)
    assert found.bias == pytest.approx(4, abs=0.3)
    assert np.mean((first - second > found.low) & (first - second < found.high)) == pytest.approx(
        0.95, abs=0.01
    )


def test_the_ceiling_is_what_the_truth_itself_reaches():
    rng = np.random.default_rng(7)
    truth = rng.normal(0, 10, 20_000)
    table = truth[:, None] + rng.normal(0, 15, (20_000, 3)) + np.array([-20, 0, 30])
    reached = np.corrcoef(truth, table.mean(axis=1))[0, 1]
    assert rater_reliability(table)[1].ceiling == pytest.approx(reached, abs=0.01)
    assert rater_reliability(rng.normal(0, 1, (2000, 3)))[1].ceiling == pytest.approx(0, abs=0.3)
