"""Scores of faces with and without drawn anomalies, of any catalogue of kinds, and what they come to."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from mien.models.appraisal.evaluation.anomalies import FacePlan, draw
from mien.models.appraisal.evaluation.drawings.unseen_anomalies import UNSEEN, draw_unseen
from mien.models.appraisal.evaluation.evaluation import KINDS, SEVERITIES, drawing_seed
from mien.models.appraisal.evaluation.evaluation_parts import (
    Bench,
    Part,
    Pixels,
    Progress,
    Score,
    Sheet,
    face_pixels,
    interval_text,
    judge_part,
    noisy,
    people_facts,
    target_sheet,
)
from mien.models.appraisal.evaluation.figures import POOLED, Bound, Figure, Key
from mien.models.appraisal.evaluation.statistics import (
    Interval,
    Rows,
    Values,
    auroc,
    bootstrap,
    caught,
    pearson,
)
from mien.models.appraisal.portraits import FaceSet


@dataclass(frozen=True)
class Catalogue:
    """Kinds of anomaly, and what draws them: of a kind, on a face, by a plan, a severity and a seed."""

    kinds: tuple[str, ...]
    draw: Callable[[str, Pixels, FacePlan, float, int], Pixels]


KNOWN_KINDS = Catalogue(KINDS, draw)
UNSEEN_KINDS = Catalogue(tuple(UNSEEN), draw_unseen)


@dataclass(frozen=True)
class DrawnScores:
    """Scores of P faces: ``untouched`` [P]; ``drawn`` [P, kinds, severities], NaN where none was drawn."""

    kinds: tuple[str, ...]
    untouched: Values
    drawn: Values

    def of_severity(self, rows: Rows, severity: int) -> Values:
        """Return the scores of what was drawn on faces at one of the severities, of all kinds."""
        scores = self.drawn[rows, :, severity].ravel()
        return np.asarray(scores[~np.isnan(scores)])


@dataclass(frozen=True)
class Canvas:
    """Faces to draw on: ``template`` holds eyes, nose and mouth, ``noise`` is a camera's in grey levels."""

    faces: FaceSet
    template: Sequence[tuple[float, float]]
    noise: float

    def untouched(self, row: int) -> Pixels:
        """Return a face as it is, but for the noise."""
        return noisy(face_pixels(self.faces, row), self.noise, row)

    def drawn(self, catalogue: Catalogue, row: int, kind: str, severity: float) -> Pixels:
        """Draw on a face; side and chance follow a hash of person and kind."""
        seed = drawing_seed(self.faces.portraits, row, kind)
        right_eye, left_eye, nose, mouth = self.template
        plan = FacePlan(right_eye, left_eye, nose, mouth, side=1 if seed % 2 else -1)
        picture = catalogue.draw(kind, face_pixels(self.faces, row), plan, severity, seed)
        return noisy(picture, self.noise, (seed + round(1000 * severity)) % 2**32)


def rate_untouched(canvas: Canvas, score: Score, progress: Progress) -> Values:
    """Score every face as it is, [P]."""
    count = len(canvas.faces.portraits)
    scores = np.zeros(count)
    for row in range(count):
        scores[row] = score(canvas.untouched(row))
        progress(row + 1, count)
    return scores


def rate_drawn(
    canvas: Canvas, catalogue: Catalogue, kinds_per_face: int, score: Score, progress: Progress
) -> Values:
    """Score faces with so many kinds each, by turns, at every severity: [P, kinds, severities]."""
    count, kinds = len(canvas.faces.portraits), catalogue.kinds
    scores = np.full((count, len(kinds), len(SEVERITIES)), np.nan)
    for row in range(count):
        for index in range(kinds_per_face):
            place = (row * kinds_per_face + index) % len(kinds)
            for column, severity in enumerate(SEVERITIES):
                picture = canvas.drawn(catalogue, row, kinds[place], severity)
                scores[row, place, column] = score(picture)
        progress(row + 1, count)
    return scores


def drawn_figures(scores: DrawnScores, identities: Sequence[str], stage: str) -> Iterator[Figure]:
    """Yield r by kind and its mean, and AUROC, share caught and median score by severity."""
    for key, statistic in _statistics(scores, stage):
        yield Figure(key, bootstrap(identities, statistic))


def _statistics(scores: DrawnScores, stage: str) -> Iterator[tuple[Key, Callable[[Rows], float]]]:
    yield Key("mean_pearson", stage), partial(mean_agreement, scores)
    for column, name in enumerate(scores.kinds):
        yield Key("pearson", stage, name), partial(_agreement, scores, column)
    for kind_scores, kind in ((scores, POOLED), *((_only(scores, k), k) for k in scores.kinds)):
        for place, severity in enumerate(SEVERITIES):
            at = f"{severity:g}"
            for measure, function in _BY_SEVERITY:
                yield Key(measure, stage, kind, at), partial(function, kind_scores, place)


def _only(scores: DrawnScores, kind: str) -> DrawnScores:
    place = scores.kinds.index(kind)
    return DrawnScores((kind,), scores.untouched, scores.drawn[:, place : place + 1])


def mean_agreement(scores: DrawnScores, rows: Rows) -> float:
    """Return the mean, over the kinds that were drawn, of severity's correlation with 100 less score."""
    each = np.array([_agreement(scores, kind, rows) for kind in range(len(scores.kinds))])
    known = each[np.isfinite(each)]
    return float(known.mean()) if len(known) else float("nan")


def _agreement(scores: DrawnScores, kind: int, rows: Rows) -> float:
    """Correlate over the faces on which this kind was drawn, each untouched and at every severity."""
    with_it = rows[~np.isnan(scores.drawn[rows, kind, 0])]
    if not len(with_it):
        return float("nan")
    evidence = 100 - np.concatenate([scores.untouched[with_it], scores.drawn[with_it, kind].ravel()])
    severities = np.concatenate([np.zeros(len(with_it)), np.tile(SEVERITIES, len(with_it))])
    return pearson(severities, evidence)


def _detected(scores: DrawnScores, severity: int, rows: Rows) -> float:
    return auroc(-scores.untouched[rows], -scores.of_severity(rows, severity))


def _caught(scores: DrawnScores, severity: int, rows: Rows) -> float:
    return caught(scores.untouched[rows], scores.of_severity(rows, severity))


def _median(scores: DrawnScores, severity: int, rows: Rows) -> float:
    drawn = scores.of_severity(rows, severity)
    return float(np.median(drawn)) if len(drawn) else float("nan")


_BY_SEVERITY = (("image_auroc", _detected), ("caught", _caught), ("drawn_median", _median))


def drawn_sheet(title: str, kinds: Sequence[str], figures: Sequence[Figure], stage: str) -> Sheet:
    """Lay out by kind what the figures say of severities 0.5 and 1."""
    values = {figure.key: figure.value for figure in figures}
    missing = Interval(np.nan, np.nan, np.nan)
    columns = [
        ("image_auroc", "AUROC at 0.5", "0.5"),
        ("image_auroc", "at 1", "1"),
        ("caught", "caught at 0.5", "0.5"),
        ("caught", "at 1", "1"),
        ("drawn_median", "median score at 1", "1"),
    ]
    headings = ("kind", "r", *(heading for _, heading, _ in columns))
    rows = []
    for kind in (POOLED, *kinds):
        agreement = Key("mean_pearson" if kind == POOLED else "pearson", stage, kind)
        keys = [agreement, *(Key(measure, stage, kind, at) for measure, _, at in columns)]
        name = "all (r: mean of kinds)" if kind == POOLED else kind
        rows.append((name, *(interval_text(values.get(key, missing)) for key in keys)))
    return Sheet(title, headings, tuple(rows))


UNSEEN_TARGETS = (
    Bound("unseen kinds: correlation with severity, mean of the kinds", "mean_pearson", 0.85, 1),
    Bound("unseen kinds at 0.5, AUROC", "image_auroc", 0.97, 1, POOLED, "0.5"),
)


def measure_unseen(
    name: str, bench: Bench, canvas: Canvas, untouched: Values, kinds_per_face: int, progress: Progress
) -> Part:
    """Rate faces, of which the ``untouched`` scores [P] are known, with kinds that training never draws."""
    kinds = UNSEEN_KINDS.kinds
    drawn = rate_drawn(canvas, UNSEEN_KINDS, kinds_per_face, bench.score, progress)
    identities = [portrait.identity for portrait in canvas.faces.portraits]
    figures = tuple(drawn_figures(DrawnScores(kinds, untouched, drawn), identities, bench.stage))
    targets = judge_part(UNSEEN_TARGETS, figures, bench.stage)
    values = {figure.key: figure.value.estimate for figure in figures}
    each = {kind: values[Key("pearson", bench.stage, kind)] for kind in kinds}
    worst = min(kinds, key=lambda kind: each[kind] if np.isfinite(each[kind]) else np.inf)
    summary = (
        f"unseen kinds, {name}: mean r {values[Key('mean_pearson', bench.stage)]:.3f}, "
        f"AUROC at 0.5 {values[Key('image_auroc', bench.stage, POOLED, '0.5')]:.3f}; "
        f"worst kind {worst}: r {each[worst]:.3f}"
    )
    sheets = (
        target_sheet(f"unseen kinds, {name}: targets", targets),
        drawn_sheet(f"unseen kinds, {name}: {kinds_per_face} a face", kinds, figures, bench.stage),
    )
    facts = {"faces": name, **people_facts(canvas.faces)}
    return Part("unseen kinds", facts, figures, sheets, summary, targets)
