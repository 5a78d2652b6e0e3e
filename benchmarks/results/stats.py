"""Statistics of run times: order statistics of what was observed, and bootstrap intervals."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Blocks = Sequence[Sequence[float]]
"""Run times in ms, one sequence for each process that measured."""
_RESAMPLES = 2000
_SEED = 20180501
_TAILS = (0.025, 0.975)


@dataclass(frozen=True)
class Summary:
    """Order statistics of ``n`` times in ms. ``mad`` is the median distance from the median."""

    n: int
    smallest: float
    p50: float
    p90: float
    p99: float
    mad: float


@dataclass(frozen=True)
class Interval:
    """An estimate with its 95 % bootstrap interval."""

    estimate: float
    low: float
    high: float


def quantile(times: Sequence[float], share: float) -> float:
    """Return the smallest observed time that at least ``share`` of all times do not exceed.

    Nothing is interpolated: with 50 times the p99 is the slowest one.

    Raises:
        ValueError: there are no times.
    """
    if not times:
        raise ValueError("no times to summarise")
    return float(np.quantile(np.asarray(times, dtype=np.float64), share, method="inverted_cdf"))


def summarise(times: Sequence[float]) -> Summary:
    """Sum up times in ms.

    Raises:
        ValueError: there are no times.
    """
    middle = quantile(times, 0.5)
    return Summary(
        n=len(times),
        smallest=min(times),
        p50=middle,
        p90=quantile(times, 0.9),
        p99=quantile(times, 0.99),
        mad=quantile([abs(time - middle) for time in times], 0.5),
    )


def block_spread(blocks: Blocks) -> float:
    """Return by how much the slowest block's median exceeds the fastest one's, as a share."""
    medians = [quantile(block, 0.5) for block in blocks]
    return max(medians) / min(medians) - 1


def paired_ratio(before: Blocks, after: Blocks) -> Interval:
    """Return how many times as long ``after`` takes as ``before``, by the medians of all runs.

    Blocks of equal number are a pair and are drawn together; the runs of a drawn block are then drawn
    again, each side for itself (a two-level bootstrap, Davison and Hinkley 1997, section 3.8). Blocks
    and runs that have no partner are left out.

    Raises:
        ValueError: a side has no blocks.
    """
    pairs = min(len(before), len(after))
    if not pairs:
        raise ValueError("no blocks to compare")
    runs = min(len(block) for block in (*before[:pairs], *after[:pairs]))
    first, second = (np.array([block[:runs] for block in side[:pairs]]) for side in (before, after))
    generator = np.random.default_rng(_SEED)
    picks = generator.integers(pairs, size=(_RESAMPLES, pairs, 1))

    def medians(side: NDArray[np.float64]) -> NDArray[np.float64]:
        drawn = side[picks, generator.integers(runs, size=(_RESAMPLES, pairs, runs))]
        return np.asarray(np.median(drawn.reshape(_RESAMPLES, -1), axis=1))

    low, high = np.quantile(medians(second) / medians(first), _TAILS)
    return Interval(float(np.median(second) / np.median(first)), float(low), float(high))
