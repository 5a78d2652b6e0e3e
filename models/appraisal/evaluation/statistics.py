"""How well a rating agrees with what was drawn, and how sure that is: figures and bootstrap intervals.

Intervals are percentiles over people drawn anew: the pictures of one person are not independent witnesses.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

Values = NDArray[np.float64]
Rows = NDArray[np.intp]
"""Indices into the rows of a table."""
RESAMPLES = 1000
FALSE_ALARMS = 0.05
"""The share of untouched faces that score below the line under which an anomaly counts as caught."""
_SEED = 41
_TAILS = (0.025, 0.975)
# A heatmap value counts by its float16 form without the last bits: 1.6 % apart at every magnitude.
_DROPPED_BITS = 4
LEVELS = 1 << (15 - _DROPPED_BITS)
"""How many levels of heat are told apart."""
FALSE_POSITIVES = 0.3
"""Up to this share of false positives the overlap with the regions is integrated."""


@dataclass(frozen=True)
class Interval:
    """An estimate with its 95 % interval; NaN where the figure, or an interval of it, does not exist."""

    estimate: float
    low: float
    high: float


def bootstrap(identities: Sequence[str], statistic: Callable[[Rows], float]) -> Interval:
    """Estimate ``statistic`` of a table's rows, with an interval over its people.

    ``identities`` names the person of each row. Resamples draw as many people as there are, with all
    their rows; the same people are drawn for every statistic of the same table. Resamples in which the
    statistic does not exist are left out. One person alone gives no interval.
    """
    names, owner = np.unique(np.asarray(identities), return_inverse=True)
    estimate = statistic(np.arange(len(owner)))
    if len(names) < 2 or not np.isfinite(estimate):
        return Interval(estimate, np.nan, np.nan)
    own = [np.flatnonzero(owner == person) for person in range(len(names))]
    draws = np.random.default_rng(_SEED).integers(len(names), size=(RESAMPLES, len(names)))
    values = np.array([statistic(np.concatenate([own[person] for person in draw])) for draw in draws])
    low, high = np.nanquantile(values, _TAILS)
    return Interval(estimate, float(low), float(high))


def pearson(x: Values, y: Values) -> float:
    """Return the linear correlation of two samples; NaN if one of them does not vary."""
    x, y = x - x.mean(), y - y.mean()
    scale = float(np.sqrt((x * x).sum() * (y * y).sum()))
    return float((x * y).sum()) / scale if scale > 0 else float("nan")


def spearman(x: Values, y: Values) -> float:
    """Return the correlation of ranks, ties sharing their mean rank."""
    return pearson(rankdata(x), rankdata(y))


def auroc(negatives: Values, positives: Values) -> float:
    """Return how often a positive exceeds a negative, a tie counting half; NaN if one side is empty."""
    if not len(negatives) or not len(positives):
        return float("nan")
    ordered = np.sort(negatives)
    below = np.searchsorted(ordered, positives, "left") + np.searchsorted(ordered, positives, "right")
    return float(below.sum()) / (2 * len(negatives) * len(positives))


def caught(untouched: Values, drawn: Values) -> float:
    """Return the share of drawn faces that score below the 5th percentile of the untouched ones."""
    if not len(untouched) or not len(drawn):
        return float("nan")
    return float((drawn < np.percentile(untouched, 100 * FALSE_ALARMS)).mean())


@dataclass(frozen=True)
class HeatCounts:
    """How much heat lies on pixels by what was done to them, as counts at each level, [..., LEVELS].

    ``unchanged`` and ``changed`` count pixels; ``overlap`` sums over the regions the share of the region
    at each level, and ``regions`` [...] counts them. Counts of several pictures add up.
    """

    unchanged: Values
    changed: Values
    overlap: Values
    regions: Values

    @classmethod
    def none(cls, *shape: int) -> "HeatCounts":
        """Return counts of nothing."""
        unchanged, changed, overlap = (np.zeros((*shape, LEVELS)) for _ in range(3))
        return cls(unchanged, changed, overlap, np.zeros(shape))

    def add(self, place: tuple[int, ...], heat: Values, regions: NDArray[np.int64]) -> None:
        """Count a picture at ``place``: heat [P] >= 0, and each pixel's region by number [P], 0 for none."""
        levels = heat_levels(heat)
        sizes = np.bincount(regions)
        weights = 1 / np.maximum(sizes, 1)[regions]
        inside = regions > 0
        self.unchanged[place] += np.bincount(levels[~inside], minlength=LEVELS)
        self.changed[place] += np.bincount(levels[inside], minlength=LEVELS)
        self.overlap[place] += np.bincount(levels[inside], weights[inside], minlength=LEVELS)
        self.regions[place] += np.count_nonzero(sizes[1:])

    def take(self, rows: Rows) -> "HeatCounts":
        """Return some rows of counts [R, ...] alone."""
        return HeatCounts(self.unchanged[rows], self.changed[rows], self.overlap[rows], self.regions[rows])

    def columns(self, chosen: Rows) -> "HeatCounts":
        """Add up some columns of counts [R, C]; the result has [R]."""
        return HeatCounts(
            self.unchanged[:, chosen].sum(axis=1),
            self.changed[:, chosen].sum(axis=1),
            self.overlap[:, chosen].sum(axis=1),
            self.regions[:, chosen].sum(axis=1),
        )

    def rows(self, chosen: Rows) -> "HeatCounts":
        """Add up some rows of counts [R], which may repeat."""
        times = np.bincount(chosen, minlength=len(self.regions)).astype(np.float64)
        return HeatCounts(
            times @ self.unchanged,
            times @ self.changed,
            times @ self.overlap,
            np.asarray(times @ self.regions),
        )

    def auroc(self) -> float:
        """Return how often a changed pixel is hotter than an unchanged one, ties counting half."""
        colder = np.cumsum(self.unchanged) - self.unchanged / 2
        pairs = float(self.unchanged.sum() * self.changed.sum())
        return float((self.changed * colder).sum()) / pairs if pairs else float("nan")

    def region_overlap(self) -> float:
        """Return PRO: the mean share of a region above a threshold, over false-positive rates of 0..0.3.

        Integrated by trapezes from threshold to threshold and divided by 0.3 (Bergmann et al., MVTec AD,
        IJCV 2021, section 5.2).
        """
        if not self.regions or not self.unchanged.sum():
            return float("nan")
        false = np.concatenate([[0.0], np.cumsum(self.unchanged[::-1])]) / self.unchanged.sum()
        found = np.concatenate([[0.0], np.cumsum(self.overlap[::-1])]) / float(self.regions)
        inside = false <= FALSE_POSITIVES
        at_limit = np.interp(FALSE_POSITIVES, false, found)
        x = np.append(false[inside], FALSE_POSITIVES)
        y = np.append(found[inside], at_limit)
        return float(np.trapezoid(y, x)) / FALSE_POSITIVES


def heat_levels(heat: Values) -> NDArray[np.int64]:
    """Sort heat (>= 0) into ``LEVELS`` levels that rise with it, 0 being one of its own."""
    halves = np.minimum(heat, np.finfo(np.float16).max).astype(np.float16)
    return (halves.view(np.uint16) >> _DROPPED_BITS).astype(np.int64)
