"""People's ratings of photographs: a CSV file with the columns photograph, rater and rating."""

import csv
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from mien.mobile_reference.files import check_size
from mien.models.appraisal.errors import RequestError
from mien.models.appraisal.evaluation.statistics import Rows, Values, pearson
from mien.models.appraisal.portraits import Portrait

COLUMNS = ("photograph", "rater", "rating")
LEAST_PHOTOGRAPHS = 3
SMALL_SHARE = 0.25
"""Ratings that span less of their scale than this were perhaps given on another."""
_MAX_BYTES = 16 << 20
# A rater is unlike the others if ratings of the same photographs spread by so many times more or less, lie
# so many points apart in the mean, or run against theirs; judged by at least so many photographs.
_SPREAD, _APART, _AGAINST, _JUDGED_BY = 4.0, 50.0, -0.3, 5


@dataclass(frozen=True)
class Scale:
    """What people rated on: the rating of the severest anomaly and that of a typical face."""

    severe: float = 0.0
    typical: float = 100.0

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read SEVERE:TYPICAL, such as 1:7.

        Raises:
            RequestError: the text is not two different numbers, whose distance is a number too.
        """
        ends = [_number(part) for part in text.split(":")]
        if len(ends) != 2 or not math.isfinite(ends[1] - ends[0]) or ends[0] == ends[1]:
            raise RequestError(
                f"scale '{text:.40}' is not SEVERE:TYPICAL; give the rating of the severest anomaly and that "
                "of a typical face, such as 1:7"
            )
        return cls(*ends)

    def holds(self, rating: float) -> bool:
        """Tell whether a rating lies on the scale."""
        return min(self.severe, self.typical) <= rating <= max(self.severe, self.typical)

    def points(self, rating: float) -> float:
        """Return a rating in points of score, 0..100, 100 typical."""
        return 100 * (rating - self.severe) / (self.typical - self.severe)


@dataclass(frozen=True)
class HumanRatings:
    """What K ``raters`` gave N ``portraits``: ``table`` [N, K] in points of score, NaN if missing."""

    portraits: tuple[Portrait, ...]
    raters: tuple[str, ...]
    table: Values
    warnings: tuple[str, ...] = ()

    @property
    def means(self) -> Values:
        """The mean rating of each photograph, [N]."""
        return np.asarray(np.nanmean(self.table, axis=1))

    def take(self, rows: Rows) -> "HumanRatings":
        """Return the ratings of some photographs alone."""
        portraits = tuple(self.portraits[int(row)] for row in rows)
        return HumanRatings(portraits, self.raters, self.table[rows], self.warnings)


def read_ratings(file: Path, folder: Path, portraits: Sequence[Portrait], scale: Scale) -> HumanRatings:
    """Read ratings of ``portraits``, which lie in ``folder``; photographs without a rating are left out.

    Raises:
        RequestError: the file cannot be read, names a photograph that is not there, rates one twice by one
            rater, has something else than a number on the scale, too few photographs, or no variation.
    """
    given = dict(_entries(file, _by_name(folder, portraits), scale))
    rows = sorted({row for row, _ in given})
    raters = tuple(sorted({rater for _, rater in given}))
    if len(rows) < LEAST_PHOTOGRAPHS:
        raise RequestError(
            f"{file} rates {len(rows)} photographs, at least {LEAST_PHOTOGRAPHS} are needed; add ratings"
        )
    table = np.array([[given.get((row, rater), math.nan) for rater in raters] for row in rows])
    ratings = HumanRatings(tuple(portraits[row] for row in rows), raters, table)
    if np.ptp(ratings.means) == 0:
        raise RequestError(f"{file} gives every photograph the same rating; nothing can agree with that")
    return HumanRatings(ratings.portraits, raters, table, tuple(_warnings(ratings)))


def span(ratings: HumanRatings) -> float:
    """Return which share of the scale the ratings span, 0..1."""
    return float(np.nanmax(ratings.table) - np.nanmin(ratings.table)) / 100


def _by_name(folder: Path, portraits: Sequence[Portrait]) -> Mapping[str, int]:
    """Return the row of a portrait by its path in the folder, and by its file's name if that is unique."""
    names = [portrait.image.name for portrait in portraits]
    rows = {name: row for row, name in enumerate(names) if names.count(name) == 1}
    root = f"{folder.as_posix()}/"
    return rows | {p.image.as_posix().removeprefix(root): row for row, p in enumerate(portraits)}


def _entries(
    file: Path, photographs: Mapping[str, int], scale: Scale
) -> Iterator[tuple[tuple[int, str], float]]:
    """Yield (row of the photograph, rater) and the rating in points."""
    seen: dict[tuple[int, str], int] = {}
    for line, (photograph, rater, rating) in _lines(file):
        row = photographs.get(photograph)
        if row is None:
            raise RequestError(
                f"{file}, line {line}: there is no photograph '{photograph:.80}'; give its path in the folder"
            )
        if (row, rater) in seen:
            raise RequestError(
                f"{file}, line {line}: rater {rater:.40} rates {photograph:.80} again (line "
                f"{seen[row, rater]}); keep one rating"
            )
        seen[row, rater] = line
        value = _number(rating)
        if not math.isfinite(value):
            raise RequestError(f"{file}, line {line}: rating '{rating:.40}' is not a number")
        if not scale.holds(value):
            raise RequestError(
                f"{file}, line {line}: rating {value:g} is not on the scale "
                f"{scale.severe:g}:{scale.typical:g}; give the raters' scale with --scale SEVERE:TYPICAL"
            )
        yield (row, rater), scale.points(value)


def _lines(file: Path) -> Iterator[tuple[int, tuple[str, str, str]]]:
    """Yield the number and the three columns of every line below the headings."""
    try:
        check_size(file, _MAX_BYTES)
        with file.open(newline="", encoding="utf-8-sig") as text:
            reader = csv.DictReader(text, restval="")
            if reader.fieldnames is None or not set(COLUMNS) <= set(reader.fieldnames):
                raise RequestError(f"{file} needs the columns {', '.join(COLUMNS)}")
            for row in reader:
                values = tuple(row[column].strip() for column in COLUMNS)
                if not all(values):
                    raise RequestError(f"{file}, line {reader.line_num}: {', '.join(COLUMNS)} must be filled")
                yield reader.line_num, (values[0], values[1], values[2])
    except OSError as error:
        raise RequestError(f"{file} cannot be read ({error.strerror}); give a CSV file of ratings") from error
    except (ValueError, csv.Error) as error:
        raise RequestError(f"{file} cannot be read, it is not a CSV file in UTF-8: {error}") from error


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _warnings(ratings: HumanRatings) -> Iterator[str]:
    """Name what weakens ratings: one rater, one who is unlike the others, a scale of which little is used."""
    if len(ratings.raters) == 1:
        yield f"one rater ({ratings.raters[0]}): how far raters agree with each other is unknown"
    if span(ratings) < SMALL_SHARE:
        yield (
            f"the ratings span {100 * span(ratings):.0f} % of their scale; if they were given on another, "
            "name it with --scale SEVERE:TYPICAL"
        )
    for column, rater in enumerate(ratings.raters):
        own = ratings.table[:, column]
        others = np.delete(ratings.table, column, axis=1)
        both = np.isfinite(own) & np.isfinite(others).any(axis=1)
        if both.sum() >= _JUDGED_BY:
            yield from _unlike(rater, own[both], np.nanmean(others[both], axis=1))


def _unlike(rater: str, own: Values, others: Values) -> Iterator[str]:
    """Say how a rater's ratings are unlike those that others gave to the same photographs."""
    if np.ptp(own) == 0:
        yield f"rater {rater} gave every photograph the same rating"
    elif np.ptp(others) > 0 and not 1 / _SPREAD < own.std() / others.std() < _SPREAD:
        times = own.std() / others.std()
        yield f"rater {rater} uses a scale unlike the others: the ratings spread {times:.2g} times as far"
    elif abs(own.mean() - others.mean()) > _APART:
        yield (
            f"rater {rater} uses a scale unlike the others: the ratings lie "
            f"{abs(own.mean() - others.mean()):.0f} points from theirs"
        )
    if pearson(own, others) < _AGAINST:
        yield f"rater {rater}'s ratings run against the others' (r {pearson(own, others):.2f})"
