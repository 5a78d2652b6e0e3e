"""How well several ratings of the same things agree: intraclass correlations and limits of agreement.

Shrout and Fleiss, "Intraclass correlations: uses in assessing rater reliability", Psychological Bulletin
86 (1979); Bland and Altman, "Statistical methods for assessing agreement between two methods of clinical
measurement", Lancet 327 (1986).
"""

from dataclasses import dataclass

import numpy as np

from mien.models.appraisal.evaluation.statistics import Values


@dataclass(frozen=True)
class Reliability:
    """Intraclass correlations of one rater's rating and of the mean of all raters of a thing.

    ``ceiling`` is the best correlation with mean ratings to be expected of what knows the truth. Where the
    same raters rate everything, that one is lenient and another strict does not lower it.
    """

    single: float
    mean: float
    ceiling: float


_UNKNOWN = Reliability(np.nan, np.nan, np.nan)


def icc_single(table: Values) -> float:
    """Return ICC(1,1) of things by ratings [N, K]; a rating that is missing is NaN."""
    return one_way(table).single


def one_way(table: Values) -> Reliability:
    """Return ICC(1,1) and ICC(1,k): raters may differ from thing to thing, some ratings may be NaN.

    Things rated once say nothing of the raters, yet count among the things; where numbers of ratings
    differ, k is Donner's mean number (International Statistical Review 54, 1986).
    """
    there = np.isfinite(table)
    counts = there.sum(axis=1)
    table, there, counts = table[counts > 0], there[counts > 0], counts[counts > 0]
    total, things = int(counts.sum()), len(counts)
    if things < 2 or total <= things:
        return _UNKNOWN
    filled = np.where(there, table, 0.0)
    means = filled.sum(axis=1) / counts
    within = float((np.where(there, table - means[:, None], 0.0) ** 2).sum()) / (total - things)
    between = float((counts * (means - filled.sum() / total) ** 2).sum()) / (things - 1)
    each = (total - float((counts**2).sum()) / total) / (things - 1)
    own = (between - within) / each
    return _reliability(own, within, within, each)


def two_way(table: Values) -> Reliability:
    """Return ICC(2,1) and ICC(2,k), absolute agreement: the same K raters rate all of N things, [N, K]."""
    things, raters = table.shape
    if things < 2 or raters < 2:
        return _UNKNOWN
    grand, means, biases = table.mean(), table.mean(axis=1), table.mean(axis=0)
    rest = table - means[:, None] - biases[None, :] + grand
    error = float((rest**2).sum()) / ((things - 1) * (raters - 1))
    between = raters * float(((means - grand) ** 2).sum()) / (things - 1)
    bias = things * float(((biases - grand) ** 2).sum()) / (raters - 1)
    own = (between - error) / raters
    return _reliability(own, error + (bias - error) / things, error, raters)


def _reliability(own: float, noise: float, error: float, raters: float) -> Reliability:
    """Return shares of variance that are the things' ``own``; of ``noise``, ``error`` is not raters' bias."""
    if own + noise <= 0 or own + noise / raters <= 0:
        return _UNKNOWN
    ceiling = float(np.sqrt(own / (own + error / raters))) if own > 0 else 0.0
    return Reliability(own / (own + noise), own / (own + noise / raters), ceiling)


def rater_reliability(table: Values) -> tuple[str, Reliability]:
    """Return the form's name and the reliability of things by raters [N, K], NaN where one is missing."""
    if np.isfinite(table).all():
        return "ICC(2), same raters throughout", two_way(table)
    return "ICC(1), raters differ between photographs", one_way(table)


@dataclass(frozen=True)
class Agreement:
    """Bland and Altman's mean difference of two measurements, and limits that hold 95 % of differences."""

    bias: float
    low: float
    high: float


def limits_of_agreement(first: Values, second: Values) -> Agreement:
    """Return the limits of agreement of ``first`` less ``second``, [N] each."""
    difference = first - second
    bias, spread = float(difference.mean()), float(difference.std(ddof=1)) if len(difference) > 1 else np.nan
    return Agreement(bias, bias - 1.96 * spread, bias + 1.96 * spread)
