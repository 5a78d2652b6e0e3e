"""What an evaluation comes to: one flat list of figures, the targets, and the cases that cost most."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from mien.models.appraisal.portraits import Portrait

from .evaluation import DISTANCES, KINDS, SEVERITIES, UNTOUCHED, Distances, Evaluation, StageScores
from .raters import Cost
from .statistics import HeatCounts, Interval, Rows, Values, auroc, bootstrap, caught, pearson, spearman

POOLED = "pooled"
EVERYONE = "everyone"
GROUPED_BY = ("ethnicity", "gender", "expression")
"""Columns of an index by which the figures are split."""
STRONG = 0.5
"""From this severity on an anomaly must be seen."""
AT_LEAST_STRONG = f">={STRONG:g}"
WORST = 12


@dataclass(frozen=True)
class Key:
    """Which figure: its measure, the stage, the kind, a severity, area or distance, and whose faces."""

    measure: str
    stage: str
    kind: str = POOLED
    at: str = ""
    group: str = EVERYONE


@dataclass(frozen=True)
class Figure:
    """One measured figure with its interval."""

    key: Key
    value: Interval


@dataclass(frozen=True)
class Bound:
    """A bound that the checkpoint which ships shall keep. ``sign`` 1: at least ``bound``; -1: at most."""

    text: str
    measure: str
    bound: float
    sign: int
    kind: str = POOLED
    at: str = ""


TARGETS = (
    Bound("cleft: correlation with severity", "pearson", 0.95, 1, "cleft"),
    Bound("correlation with severity, mean of the kinds", "mean_pearson", 0.90, 1),
    Bound("untouched against severity >= 0.5, AUROC", "image_auroc", 0.99, 1, at=AT_LEAST_STRONG),
    Bound("untouched against severity 0.5, AUROC", "image_auroc", 0.98, 1, at="0.5"),
    Bound("untouched against severity 0.25, AUROC", "image_auroc", 0.85, 1, at="0.25"),
    Bound("changed pixels in the whole frame, AUROC", "pixel_auroc", 0.95, 1, at="frame"),
    Bound("changed pixels in the face region, AUROC", "pixel_auroc", 0.95, 1, at="region"),
    Bound("untouched faces, median score", "untouched_median", 99, 1, UNTOUCHED),
    Bound("untouched faces, 5th percentile of the score", "untouched_p5", 97, 1, UNTOUCHED),
    Bound("untouched medians, highest less lowest group", "group_gap", 3, -1, UNTOUCHED),
    Bound("10^9 multiply-accumulates", "giga_macs", 2, -1, ""),
    Bound("10^6 bytes of weights", "megabytes", 12, -1, ""),
)


@dataclass(frozen=True)
class Judged:
    """A target, what was measured, and whether that keeps the bound; a figure that is missing does not."""

    target: Bound
    value: Interval

    @property
    def met(self) -> bool:
        """Whether the estimate keeps the bound."""
        return bool(self.target.sign * (self.value.estimate - self.target.bound) >= 0)


def figures(evaluation: Evaluation, cost: Cost | None) -> list[Figure]:
    """Compute every figure: of each stage over everyone, and of the final stage for each group, pooled."""
    final, *_ = evaluation.stages
    everyone = np.arange(len(evaluation.portraits))
    found: list[Figure] = []
    for stage in evaluation.stages:
        found += _stage_figures(evaluation, stage, everyone, (POOLED, *KINDS), EVERYONE)
    if evaluation.distances:
        found += _distance_figures(evaluation.identities, evaluation.distances, final)
    for group, rows in groups(evaluation.portraits).items():
        found += _stage_figures(evaluation, final, rows, (POOLED,), group)
    gap = group_gap(evaluation)
    found.append(Figure(Key("group_gap", final, UNTOUCHED), Interval(gap, np.nan, np.nan)))
    for measure in ("giga_macs", "megabytes") if cost else ():
        value = getattr(cost, measure)
        found.append(Figure(Key(measure, final, ""), Interval(value, np.nan, np.nan)))
    return found


def groups(portraits: Sequence[Portrait]) -> Mapping[str, Rows]:
    """Return the rows of each group, by 'column value'; of people of whom a column says nothing, none."""
    found: dict[str, Rows] = {}
    for column in GROUPED_BY:
        told = [portrait.attributes.get(column, "") for portrait in portraits]
        for value in sorted(set(told) - {""}):
            found[f"{column} {value}"] = np.flatnonzero(np.array(told) == value)
    return found


def group_gap(evaluation: Evaluation) -> float:
    """Return the widest gap between the untouched medians of two groups of one column; NaN without groups."""
    final, *_ = evaluation.stages
    untouched = evaluation.stages[final].untouched
    medians: dict[str, list[float]] = {}
    for group, rows in groups(evaluation.portraits).items():
        medians.setdefault(group.split()[0], []).append(float(np.median(untouched[rows])))
    return max((max(values) - min(values) for values in medians.values()), default=float("nan"))


def judge(found: Sequence[Figure], final: str) -> list[Judged]:
    """Hold the figures of everyone and the ``final`` stage against the targets."""
    values = {figure.key: figure.value for figure in found}
    missing = Interval(np.nan, np.nan, np.nan)
    return [Judged(t, values.get(Key(t.measure, final, t.kind, t.at), missing)) for t in TARGETS]


def _stage_figures(
    evaluation: Evaluation, stage: str, rows: Rows, kinds: Sequence[str], group: str
) -> Iterator[Figure]:
    """Compute the figures of one stage over the portraits in ``rows``."""
    identities = [evaluation.identities[row] for row in rows]
    for key, statistic in _statistics(stage, evaluation.stages[stage].take(rows), kinds):
        yield Figure(replace(key, group=group), bootstrap(identities, statistic))


Statistic = Callable[[Rows], float]


def _statistics(stage: str, scores: StageScores, kinds: Sequence[str]) -> Iterator[tuple[Key, Statistic]]:
    """Yield what can be computed of any rows of ``scores``."""
    for measure, share in (("untouched_median", 50), ("untouched_p5", 5)):
        yield Key(measure, stage, UNTOUCHED), partial(_percentile, scores, share)
    yield Key("mean_pearson", stage), partial(_mean_agreement, scores)
    for kind in kinds:
        columns = _columns(kind)
        for name, correlation in (("pearson", pearson), ("spearman", spearman)):
            yield Key(name, stage, kind), partial(_agreement, scores, columns, correlation)
        for at, strengths in _strengths():
            yield Key("image_auroc", stage, kind, at), partial(_detection, scores, columns, strengths)
            yield Key("caught", stage, kind, at), partial(_caught, scores, columns, strengths)
        for area, heat in scores.heat.items():
            of_kind = heat.columns(columns)
            yield Key("pixel_auroc", stage, kind, area), partial(_of_heat, of_kind, HeatCounts.auroc)
            yield Key("pro", stage, kind, area), partial(_of_heat, of_kind, HeatCounts.region_overlap)


def _columns(kind: str) -> Rows:
    return np.arange(len(KINDS)) if kind == POOLED else np.array([KINDS.index(kind)])


def _strengths() -> Iterator[tuple[str, Rows]]:
    """Yield each severity, and all strong ones together, with their places among the severities."""
    for place, severity in enumerate(SEVERITIES):
        yield f"{severity:g}", np.array([place])
    yield AT_LEAST_STRONG, np.flatnonzero(np.array(SEVERITIES) >= STRONG)


def _percentile(scores: StageScores, share: float, rows: Rows) -> float:
    return float(np.percentile(scores.untouched[rows], share))


def _agreement(
    scores: StageScores, kinds: Rows, correlation: Callable[[Values, Values], float], rows: Rows
) -> float:
    return correlation(*_severity_and_evidence(scores, rows, kinds))


def _mean_agreement(scores: StageScores, rows: Rows) -> float:
    """Return the mean over kinds of each one's r: severities of different kinds are not a common unit."""
    return float(np.mean([_agreement(scores, _columns(kind), pearson, rows) for kind in KINDS]))


def _severity_and_evidence(scores: StageScores, rows: Rows, kinds: Rows) -> tuple[Values, Values]:
    """Return the severities of untouched and drawn faces, and 100 less their scores."""
    drawn = scores.drawn[np.ix_(rows, kinds)]
    severities = np.concatenate([np.zeros(len(rows)), np.tile(SEVERITIES, len(rows) * len(kinds))])
    return severities, 100 - np.concatenate([scores.untouched[rows], drawn.ravel()])


def _detection(scores: StageScores, kinds: Rows, strengths: Rows, rows: Rows) -> float:
    return auroc(-scores.untouched[rows], -scores.drawn[np.ix_(rows, kinds, strengths)].ravel())


def _caught(scores: StageScores, kinds: Rows, strengths: Rows, rows: Rows) -> float:
    return caught(scores.untouched[rows], scores.drawn[np.ix_(rows, kinds, strengths)].ravel())


def _of_heat(heat: HeatCounts, measure: Callable[[HeatCounts], float], rows: Rows) -> float:
    return measure(heat.rows(rows))


def _distance_figures(identities: Sequence[str], distances: Distances, stage: str) -> Iterator[Figure]:
    for key, statistic in _distance_statistics(distances, stage):
        yield Figure(key, bootstrap(identities, statistic))


def _distance_statistics(distances: Distances, stage: str) -> Iterator[tuple[Key, Statistic]]:
    for place, at in enumerate(DISTANCES):
        changes = distances.untouched[:, place]
        yield Key("normalising_changes", stage, UNTOUCHED, at), partial(_mean, changes)
        for kind in (POOLED, *KINDS):
            parts = (distances.before, distances.after)
            before, after = (part[..., place][:, _columns(kind)].mean(axis=(1, 2)) for part in parts)
            yield Key("distance_before", stage, kind, at), partial(_mean, before)
            yield Key("distance_after", stage, kind, at), partial(_mean, after)
            yield Key("removed", stage, kind, at), partial(_removed, before, after)


def _mean(values: Values, rows: Rows) -> float:
    return float(values[rows].mean())


def _removed(before: Values, after: Values, rows: Rows) -> float:
    """Return which share of the distance to the untouched faces normalising took; negative if it added."""
    return 1 - _mean(after, rows) / _mean(before, rows)


@dataclass(frozen=True)
class Miss:
    """A case by its portrait's row, and how far its score lies from what its severity let expect.

    ``points`` is positive where the face was rated less typical than its severity let expect.
    """

    row: int
    kind: str
    severity: float
    score: float
    points: float


def worst_cases(evaluation: Evaluation) -> list[Miss]:
    """Return the cases furthest from the line of score on severity: they cost the correlation most."""
    final, *_ = evaluation.stages
    scores = evaluation.stages[final]
    rows, kinds = np.arange(len(evaluation.portraits)), np.arange(len(KINDS))
    severities, evidence = _severity_and_evidence(scores, rows, kinds)
    slope, offset = np.polyfit(severities, evidence, 1)
    cases = [(row, UNTOUCHED, 0.0) for row in rows.tolist()]
    cases += [(row, kind, severity) for row in rows.tolist() for kind in KINDS for severity in SEVERITIES]
    points = evidence - (slope * severities + offset)
    order = np.argsort(-np.abs(points), kind="stable")[:WORST]
    misses = []
    for place in order.tolist():
        row, kind, severity = cases[place]
        misses.append(Miss(row, kind, severity, float(100 - evidence[place]), float(points[place])))
    return misses
