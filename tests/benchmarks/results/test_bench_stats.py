"""The statistics against their definitions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mien.benchmarks.results.stats import block_spread, paired_ratio, quantile, summarise

TIMES = st.lists(st.floats(0.001, 1e6), min_size=1, max_size=200)


@given(TIMES, st.floats(0.01, 1))
def test_a_quantile_is_the_smallest_time_that_enough_do_not_exceed(times: list[float], share: float) -> None:
    found = quantile(times, share)
    # A share such as 0.07 * 100 is not exact in binary; one part in 1e9 of a run is not a run.
    needed = share * len(times) - 1e-9
    assert found in times
    assert sum(time <= found for time in times) >= needed
    assert sum(time < found for time in times) < needed + 1e-6


def test_quantiles_of_ten_known_times() -> None:
    summary = summarise([float(n) for n in range(1, 11)])
    assert (summary.n, summary.smallest, summary.p50, summary.p90, summary.p99) == (10, 1, 5, 9, 10)
    assert summary.mad == 2


def test_no_times_are_refused() -> None:
    with pytest.raises(ValueError, match="no times"):
        summarise([])


def test_block_spread_compares_the_medians() -> None:
    assert block_spread([[1, 1, 9], [2, 2, 2], [1.5, 1, 3]]) == pytest.approx(1.0)


def _blocks(seed: int, scale: float) -> list[list[float]]:
    generator = np.random.default_rng(seed)
    return [(scale * generator.lognormal(0, 0.05, 20)).tolist() for _ in range(5)]


def test_the_interval_holds_a_known_ratio_and_excludes_one() -> None:
    found = paired_ratio(_blocks(1, 10), _blocks(2, 12))
    assert found.low < 1.2 < found.high
    assert found.low > 1


def test_equal_programs_are_rarely_told_apart() -> None:
    told = 0
    for seed in range(20):
        found = paired_ratio(_blocks(2 * seed, 10), _blocks(2 * seed + 1, 10))
        told += not found.low <= 1 <= found.high
    # A 95 % interval of 20 comparisons: 1 is expected, 5 or more have a chance below 0.3 %.
    assert told < 5


def test_a_pair_of_slow_blocks_cancels() -> None:
    slow = [[10.0] * 9, [30.0] * 9, [10.0] * 9]
    found = paired_ratio(slow, [[1.1 * time for time in block] for block in slow])
    assert found.low == pytest.approx(found.high) == pytest.approx(1.1)


def test_the_bootstrap_is_seeded() -> None:
    assert paired_ratio(_blocks(1, 1), _blocks(2, 1)) == paired_ratio(_blocks(1, 1), _blocks(2, 1))
