"""How far a checkpoint's scores agree with people's ratings of the same photographs."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from mien.models.appraisal.evaluation.evaluation_parts import (
    Bench,
    Part,
    Progress,
    Sheet,
    face_pixels,
    interval_text,
)
from mien.models.appraisal.evaluation.everyday import trait_groups
from mien.models.appraisal.evaluation.figures import EVERYONE, Figure, Key
from mien.models.appraisal.evaluation.ratings.human_ratings import HumanRatings, Scale, read_ratings
from mien.models.appraisal.evaluation.reliability import limits_of_agreement, rater_reliability
from mien.models.appraisal.evaluation.statistics import Interval, Rows, Values, bootstrap, pearson, spearman
from mien.models.appraisal.portraits import cut_faces, read_portraits

KIND = "people's ratings"
CAVEAT = (
    "Agreement with the mean rating of these raters on these photographs. No score can be expected to "
    "correlate with it better than the raters' agreement with each other allows (the ceiling)."
)


@dataclass(frozen=True)
class RatedFaces:
    """Photographs of which people's ``ratings`` and a checkpoint's ``scores`` [N] are known.

    ``skipped`` says of which rated photographs there is no score, and why.
    """

    ratings: HumanRatings
    scores: Values
    skipped: tuple[str, ...]

    @property
    def identities(self) -> list[str]:
        """The person of each photograph."""
        return [portrait.identity for portrait in self.ratings.portraits]


def choose_ratings(
    folder: Path, file: Path, scale: Scale, chosen: Callable[[str], bool]
) -> tuple[HumanRatings, tuple[str, ...]]:
    """Read the ratings of a folder's photographs whose split is ``chosen``; say which others were rated.

    Raises:
        ImageSetError: the folder holds no portrait.
        RequestError: the ratings cannot be used.
    """
    ratings = read_ratings(file, folder, read_portraits(folder), scale)
    rows = np.flatnonzero([chosen(portrait.split) for portrait in ratings.portraits])
    skipped = tuple(
        f"{portrait.name}: its split '{portrait.split}' is not asked for"
        for portrait in ratings.portraits
        if not chosen(portrait.split)
    )
    return ratings.take(rows), skipped


def rate_photographs(ratings: HumanRatings, bench: Bench, progress: Progress) -> RatedFaces:
    """Score the photographs that people rated.

    Raises:
        ImageSetError: none of them shows a usable face.
    """
    faces = cut_faces(ratings.portraits, bench.checkpoint, progress)
    places = {portrait.image: row for row, portrait in enumerate(ratings.portraits)}
    kept = ratings.take(np.array([places[portrait.image] for portrait in faces.portraits], np.intp))
    scores = np.zeros(len(faces.portraits))
    for row in range(len(scores)):
        scores[row] = bench.score(face_pixels(faces, row))
        progress(row + 1, len(scores))
    skipped = tuple(f"{portrait.name}: {reason}" for portrait, reason in faces.skipped)
    return RatedFaces(kept, scores, skipped)


def agreement_part(rated: RatedFaces, name: str, stage: str) -> Part:
    """Compare scores with mean ratings, over everyone and by group."""
    ratings = rated.ratings
    figures = tuple(_figures(rated, stage))
    form, _ = rater_reliability(ratings.table)
    values = {figure.key: figure.value for figure in figures}
    main = {measure: values[Key(measure, stage, KIND)] for measure, _, _ in _MEASURES}
    facts = {
        "faces": name,
        "portraits": len(ratings.portraits),
        "identities": len(set(rated.identities)),
        "raters": len(ratings.raters),
        "reliability": form,
        "skipped": list(rated.skipped),
        "pairs": [
            {"photograph": portrait.name, "score": score, "mean_rating": mean}
            for portrait, score, mean in zip(
                ratings.portraits, rated.scores.tolist(), ratings.means.tolist(), strict=True
            )
        ],
    }
    summary = (
        f"{KIND}, {name}: Pearson {interval_text(main['pearson'])} with the mean of {len(ratings.raters)} "
        f"raters, ceiling {interval_text(main['ceiling'])}; {len(ratings.portraits)} photographs of "
        f"{len(set(rated.identities))} people"
    )
    sheet = _sheet(f"{KIND}, {name}; reliability is {form}", _counts(rated), values, stage)
    return Part("ratings", facts, figures, (sheet,), summary, warnings=ratings.warnings)


def _ratings_alone(measure: str) -> Callable[[Values, HumanRatings, Rows], float]:
    def statistic(_scores: Values, ratings: HumanRatings, rows: Rows) -> float:
        return float(getattr(rater_reliability(ratings.table[rows])[1], measure))

    return statistic


def _limits(end: str) -> Callable[[Values, HumanRatings, Rows], float]:
    return lambda scores, ratings, rows: float(
        getattr(limits_of_agreement(scores[rows], ratings.means[rows]), end)
    )


_MEASURES: Sequence[tuple[str, str, Callable[[Values, HumanRatings, Rows], float]]] = (
    ("pearson", "Pearson", lambda scores, ratings, rows: pearson(scores[rows], ratings.means[rows])),
    ("spearman", "Spearman", lambda scores, ratings, rows: spearman(scores[rows], ratings.means[rows])),
    ("ceiling", "ceiling", _ratings_alone("ceiling")),
    ("icc_single", "raters' ICC, one", _ratings_alone("single")),
    ("icc_mean", "raters' ICC, mean", _ratings_alone("mean")),
    ("bias", "score less rating", _limits("bias")),
    ("limit_low", "95 % from", _limits("low")),
    ("limit_high", "95 % to", _limits("high")),
)
"""Measure, heading, and what it is of some rows of scores and ratings."""


def _figures(rated: RatedFaces, stage: str) -> Iterator[Figure]:
    for group, rows in _groups(rated).items():
        ratings, scores = rated.ratings.take(rows), rated.scores[rows]
        people = [portrait.identity for portrait in ratings.portraits]
        for measure, _, statistic in _MEASURES:
            yield Figure(
                Key(measure, stage, KIND, "", group), bootstrap(people, partial(statistic, scores, ratings))
            )


def _groups(rated: RatedFaces) -> Mapping[str, Rows]:
    return {EVERYONE: np.arange(len(rated.scores))} | dict(trait_groups(rated.ratings.portraits))


def _counts(rated: RatedFaces) -> Mapping[str, int]:
    return {group: len(rows) for group, rows in _groups(rated).items()}


def _sheet(title: str, counts: Mapping[str, int], values: Mapping[Key, Interval], stage: str) -> Sheet:
    rows = tuple(
        (
            f"{group} ({count})",
            *(interval_text(values[Key(measure, stage, KIND, "", group)]) for measure, _, _ in _MEASURES),
        )
        for group, count in counts.items()
    )
    return Sheet(title, ("photographs", *(heading for _, heading, _ in _MEASURES)), rows)
