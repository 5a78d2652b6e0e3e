"""Figures of an evaluation against cases worked out by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mien.models.appraisal.evaluation.statistics import (
    LEVELS,
    HeatCounts,
    Interval,
    auroc,
    bootstrap,
    heat_levels,
    pearson,
    spearman,
)

values = st.lists(st.integers(0, 5), min_size=1, max_size=12).map(lambda v: np.array(v, float))


def test_correlations_of_three_points():
    x, y = np.array([0.0, 1.0, 2.0]), np.array([0.0, 1.0, 5.0])
    # Centred: (-1, 0, 1) and (-2, -1, 3): 5 / sqrt(2 * 14).
    assert pearson(x, y) == pytest.approx(5 / math.sqrt(28))
    assert spearman(x, y) == pytest.approx(1)
    # Ranks (1, 2, 3) and (1, 2.5, 2.5): 1.5 / sqrt(2 * 1.5).
    assert spearman(x, np.array([0.0, 4.0, 4.0])) == pytest.approx(1.5 / math.sqrt(3))
    assert math.isnan(pearson(x, np.ones(3)))


def test_auroc_counts_ties_as_half():
    # Pairs: 1 beats 0, 1 ties 1, 2 beats both: 3.5 of 4.
    assert auroc(np.array([0.0, 1.0]), np.array([1.0, 2.0])) == 3.5 / 4
    assert auroc(np.ones(3), np.ones(2)) == 0.5
    assert math.isnan(auroc(np.ones(3), np.array([])))


@given(values, values)
def test_auroc_is_the_share_of_pairs(negatives: np.ndarray, positives: np.ndarray):
    pairs = np.sign(positives[:, None] - negatives[None])
    assert auroc(negatives, positives) == pytest.approx((pairs.mean() + 1) / 2)


def test_an_interval_repeats_and_holds_the_estimate():
    people = [str(number // 2) for number in range(20)]
    sample = np.random.default_rng(0).normal(size=20)

    def mean(rows: np.ndarray) -> float:
        return float(sample[rows].mean())

    found = bootstrap(people, mean)
    assert found == bootstrap(people, mean)
    assert found.low < found.estimate < found.high
    assert found.estimate == pytest.approx(sample.mean())


def test_pictures_of_one_person_are_drawn_together():
    """Two people who say 0 and 1: a resample's mean is 0, 0.5 or 1, however many pictures each has."""
    sample = np.repeat([0.0, 1.0], 50)
    seen: set[float] = set()

    def mean(rows: np.ndarray) -> float:
        seen.add(float(sample[rows].mean()))
        return float(sample[rows].mean())

    found = bootstrap(["anna"] * 50 + ["bo"] * 50, mean)
    assert seen == {0.0, 0.5, 1.0}
    assert found == Interval(0.5, 0.0, 1.0)


def test_one_person_gives_no_interval():
    found = bootstrap(["anna", "anna"], lambda rows: float(len(rows)))
    assert found.estimate == 2
    assert math.isnan(found.low)


@given(st.lists(st.floats(0, 1e9), min_size=2, max_size=20).map(sorted))
def test_levels_rise_with_heat(heat: list[float]):
    levels = heat_levels(np.array(heat))
    assert (np.diff(levels) >= 0).all()
    assert 0 <= levels.min() <= levels.max() < LEVELS
    assert heat_levels(np.zeros(1))[0] == 0
    assert heat_levels(np.array([1.0]))[0] < heat_levels(np.array([1.05]))[0]


def counts(heat: list[float], regions: list[int]) -> HeatCounts:
    found = HeatCounts.none(1)
    found.add((0,), np.array(heat), np.array(regions))
    return found.rows(np.array([0]))


def test_pixels_and_regions_of_a_hand_made_map():
    # Changed: 0.9 (region 1), 0.2 and 0.6 (region 2); unchanged: 0.4 and 0.1.
    found = counts([0.9, 0.2, 0.6, 0.4, 0.1], [1, 2, 2, 0, 0])
    # Of 6 pairs only 0.2 against 0.4 is lost.
    assert found.auroc() == pytest.approx(5 / 6)
    # Before the first false positive (rate 0.5) the overlap is (1 + 1/2) / 2; 0.2 follows it. By trapezes
    # the line runs level from (0, 0.75) to (0.5, 0.75), so it is 0.75 up to 0.3 as well.
    assert found.region_overlap() == pytest.approx(0.75)


def test_a_perfect_and_a_blind_map():
    assert counts([1.0, 1.0, 0.0, 0.0], [1, 1, 0, 0]).region_overlap() == pytest.approx(1)
    blind = counts([1.0, 1.0, 1.0, 1.0], [1, 1, 0, 0])
    assert blind.auroc() == 0.5
    # The diagonal from (0, 0) to (1, 1) up to 0.3: 0.3 * 0.3 / 2 / 0.3.
    assert blind.region_overlap() == pytest.approx(0.15)
    assert math.isnan(counts([1.0, 0.0], [0, 0]).auroc())
    assert math.isnan(counts([1.0, 0.0], [0, 0]).region_overlap())


def test_counts_add_up_over_rows_and_columns():
    table = HeatCounts.none(2, 2)
    table.add((0, 0), np.array([0.9, 0.1]), np.array([1, 0]))
    table.add((0, 1), np.array([0.2, 0.4]), np.array([1, 0]))
    table.add((1, 1), np.array([0.7, 0.7]), np.array([0, 0]))
    both = table.columns(np.array([0, 1]))
    assert both.rows(np.array([0])).auroc() == pytest.approx(3 / 4)
    twice = both.rows(np.array([0, 0, 1]))
    assert twice.changed.sum() == 4
    assert twice.unchanged.sum() == 6
    assert twice.regions == 4
    assert table.take(np.array([1])).columns(np.array([1])).unchanged.sum() == 2
