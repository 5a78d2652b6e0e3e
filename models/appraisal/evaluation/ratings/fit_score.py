"""Fit the score's scale to people's ratings, into a new checkpoint.

A score is 100 t / (t + e) of the evidence e. The fit chooses t, the evidence at which the score is 50, and
nothing else: the score still falls with the evidence, the order of faces stays, and the graph is the same.
"""

from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
from scipy.optimize import minimize_scalar

from mien.mobile_reference.output.folder import OutputFolder
from mien.mobile_reference.report.progress import Report as Progress
from mien.models.appraisal.checkpoint import (
    CHECKPOINT,
    Checkpoint,
    ScoreFit,
    checkpoint_hash,
    load_checkpoint,
    save_checkpoint,
)
from mien.models.appraisal.errors import RequestError
from mien.models.appraisal.evaluation.evaluation_parts import Bench
from mien.models.appraisal.evaluation.raters import HEAT_AND_COMPARISON
from mien.models.appraisal.evaluation.ratings.human_ratings import SMALL_SHARE, HumanRatings, Scale, span
from mien.models.appraisal.evaluation.ratings.rating_agreement import (
    RatedFaces,
    choose_ratings,
    rate_photographs,
)
from mien.models.appraisal.evaluation.statistics import Values, pearson

LEAST_PEOPLE = 10
FOLDS = 5
_SEED = 43
_REACH = 1e3
"""The scale may grow or shrink by so much; who asks for more rates something else."""


@dataclass(frozen=True)
class FitRequest:
    """What to fit to which ratings; ``split`` None takes every rated photograph that is not held out."""

    checkpoint: Path
    photographs: Path
    ratings: Path
    output: Path
    scale: Scale
    split: str | None = None
    threads: int = 1


def fit_score(request: FitRequest, held_out: str, progress: Progress) -> tuple[ScoreFit, tuple[str, ...]]:
    """Fit, write the new checkpoint, and return the fit and what weakens it.

    Raises:
        RequestError: the output exists, the ratings cannot be used, or no scale fits better than the
            one there is on people who were left out.
        CheckpointError: the checkpoint cannot be used.
        ImageSetError: no rated photograph shows a usable face.
    """
    if request.output.exists() or not request.output.parent.is_dir():
        raise RequestError(f"{request.output} cannot be made; give a new folder in one that exists")
    output = OutputFolder.at(request.output, CHECKPOINT)
    ratings, _ = choose_ratings(
        request.photographs,
        request.ratings,
        request.scale,
        lambda split: split == request.split if request.split is not None else split != held_out,
    )
    _check(ratings)
    torch.set_num_threads(request.threads)
    checkpoint = load_checkpoint(request.checkpoint)
    bench = Bench(checkpoint, HEAT_AND_COMPARISON)
    rated = rate_photographs(ratings, bench, lambda done, total: progress("rating", done, total, ""))
    _check(rated.ratings)
    _check_order(rated)
    fit = _fit(checkpoint, rated, request)
    checkpoint.appraisal.tolerated_evidence.fill_(fit.tolerated_evidence)
    checkpoint.config = replace(checkpoint.config, name=request.output.name, score_fit=fit)
    with output.staged() as folder:
        save_checkpoint(checkpoint, folder)
    return fit, rated.ratings.warnings


def _fit(checkpoint: Checkpoint, rated: RatedFaces, request: FitRequest) -> ScoreFit:
    people = set(rated.identities)
    before, means = float(checkpoint.appraisal.tolerated_evidence), rated.ratings.means
    evidence = 100 / rated.scores - 1
    growth = fit_scale(evidence, means)
    left_out = cross_validated(evidence, means, rated.identities)
    error_before, error_left_out = root_mean_square(rated.scores - means), root_mean_square(left_out - means)
    if error_left_out >= error_before:
        raise RequestError(
            f"on people left out a fitted scale errs by {error_left_out:.2f} points, the one there is by "
            f"{error_before:.2f}; keep the checkpoint, or rate more photographs"
        )
    return ScoreFit(
        checkpoint=checkpoint_hash(checkpoint),
        ratings=sha256(request.ratings.read_bytes()).hexdigest(),
        severe=request.scale.severe,
        typical=request.scale.typical,
        photographs=len(means),
        people=len(people),
        raters=len(rated.ratings.raters),
        folds=min(FOLDS, len(people)),
        tolerated_before=before,
        tolerated_evidence=before * growth,
        error_before=error_before,
        error_left_out=error_left_out,
        pearson_before=pearson(rated.scores, means),
        pearson_left_out=pearson(left_out, means),
    )


def _check(ratings: HumanRatings) -> None:
    """Refuse ratings of too few people, or of a small part of their scale."""
    people = len({portrait.identity for portrait in ratings.portraits})
    if people < LEAST_PEOPLE:
        raise RequestError(f"{people} people were rated, a fit needs at least {LEAST_PEOPLE}; rate more")
    if span(ratings) < SMALL_SHARE:
        raise RequestError(
            f"the ratings span {100 * span(ratings):.0f} % of their scale; if they were given on another, "
            "name it with --scale SEVERE:TYPICAL"
        )


def _check_order(rated: RatedFaces) -> None:
    """Refuse ratings that do not rise with the scores: no scale makes them agree."""
    r = pearson(rated.scores, rated.ratings.means)
    if not r > 0:
        raise RequestError(
            f"the ratings do not rise with the scores (r {r:.2f}); is the scale SEVERE:TYPICAL turned round?"
        )


def fit_scale(evidence: Values, points: Values) -> float:
    """Return what to multiply the tolerated evidence by: least squares of score and rating, in points.

    ``evidence`` [N] is in units of the tolerated one, ``points`` [N] are mean ratings.

    Raises:
        RequestError: the best scale lies beyond what can be meant.
    """
    steps = np.linspace(-np.log(_REACH), np.log(_REACH), 400)
    errors = [root_mean_square(scaled(evidence, float(np.exp(step))) - points) for step in steps]
    best = int(np.argmin(errors))
    if best in (0, len(steps) - 1):
        raise RequestError(
            f"the ratings ask for a scale more than {_REACH:g} times as wide or as narrow; are they all "
            "of one end of the scale? give its ends with --scale SEVERE:TYPICAL"
        )
    found = minimize_scalar(
        lambda step: root_mean_square(scaled(evidence, float(np.exp(step))) - points),
        bounds=(steps[best - 1], steps[best + 1]),
        method="bounded",
        options={"xatol": 1e-6},
    )
    return float(np.exp(found.x))


def scaled(evidence: Values, growth: float) -> Values:
    """Return the scores of evidence [N], given in units of the tolerated one, if that grows."""
    return 100 * growth / (growth + evidence)


def cross_validated(evidence: Values, points: Values, identities: list[str]) -> Values:
    """Return scores [N], each by a scale that was fitted without its person."""
    people = np.array(sorted(set(identities)))
    fold = dict(
        zip(np.random.default_rng(_SEED).permutation(people), np.arange(len(people)) % FOLDS, strict=True)
    )
    folds = np.array([fold[person] for person in identities])
    scores = np.zeros(len(points))
    for number in np.unique(folds):
        others = folds != number
        scores[~others] = scaled(evidence[~others], fit_scale(evidence[others], points[others]))
    return scores


def root_mean_square(values: Values) -> float:
    """Return the root of the mean square."""
    return float(np.sqrt(np.mean(values**2)))
