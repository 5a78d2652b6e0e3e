"""Graded anomalies drawn on faces that training never saw, and what a rater makes of each."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol
from zlib import crc32

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import label, uniform_filter

from mien.models.appraisal.portraits import FaceSet, Portrait

from .anomalies import ANOMALIES, FacePlan, draw, to_pixels
from .statistics import HeatCounts, Rows, Values

Pixels = NDArray[np.uint8]
Heat = NDArray[np.float32]

KINDS = tuple(ANOMALIES)
SEVERITIES = (0.25, 0.5, 0.75, 1.0)
UNTOUCHED = "untouched"
DISTANCES = ("l1", "features")
"""How faces are compared: mean colour difference in 0..255, and the teacher's features, 0..4."""
# A pixel is changed where its strongest colour differs by so many grey levels, averaged over so many
# pixels each way: less is not seen, and single pixels are the noise of moving a texture.
CHANGED_BY = 8.0
CHANGED_OVER = 5
SMALLEST_REGION = 20
"""Pixels; a smaller patch of changed ones counts as unchanged."""


@dataclass(frozen=True)
class Case:
    """One aligned face, uint8 [256, 256, 3], with or without a drawn anomaly, and what it was before.

    ``number`` is its place among all cases, from 0.
    """

    number: int
    portrait: Portrait
    kind: str
    severity: float
    face: Pixels
    untouched: Pixels


@dataclass(frozen=True)
class RatedFace:
    """What one stage says of a face: a score, 0..100, 100 typical, and heat >= 0, [256, 256]."""

    score: float
    heatmap: Heat


@dataclass(frozen=True)
class Normalised:
    """The face without what is unusual, uint8 [256, 256, 3], and how far from the untouched one.

    ``before`` and ``after`` hold the distances of the given and of the normalised face, as ``DISTANCES``.
    """

    face: Pixels
    before: tuple[float, float]
    after: tuple[float, float]


@dataclass(frozen=True)
class Rating:
    """The verdicts of every stage, the final one first, and the normalised face if the rater makes one."""

    verdicts: Mapping[str, RatedFace]
    normalised: Normalised | None


class Rater(Protocol):
    """Whatever rates aligned faces. ``stages`` names its verdicts, the final one first."""

    @property
    def stages(self) -> tuple[str, ...]:
        """The names of the verdicts."""
        ...

    def rate(self, case: Case) -> Rating:
        """Rate a face."""
        ...


@dataclass(frozen=True)
class StageScores:
    """What one stage said of P portraits: ``untouched`` [P], ``drawn`` [P, kinds, severities].

    ``heat`` counts the heat of the drawn faces, [P, kinds], by area: the whole aligned ``frame``, or the
    face ``region`` alone.
    """

    untouched: Values
    drawn: Values
    heat: Mapping[str, HeatCounts]

    def take(self, rows: Rows) -> "StageScores":
        """Return the scores of some portraits alone."""
        heat = {area: counts.take(rows) for area, counts in self.heat.items()}
        return StageScores(self.untouched[rows], self.drawn[rows], heat)


@dataclass(frozen=True)
class Distances:
    """How far given and normalised faces are from the untouched ones, the last axis as ``DISTANCES``.

    ``untouched`` [P, 2] of the normalised untouched faces; ``before``, ``after`` [P, kinds, severities, 2]
    of the drawn faces and of what they were normalised to.
    """

    untouched: Values
    before: Values
    after: Values


@dataclass(frozen=True)
class Evaluation:
    """Everything that was measured of P ``portraits``, by stage; ``distances`` if faces were normalised."""

    portraits: tuple[Portrait, ...]
    stages: Mapping[str, StageScores]
    distances: Distances | None

    @property
    def identities(self) -> tuple[str, ...]:
        """The person of each portrait."""
        return tuple(portrait.identity for portrait in self.portraits)


Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Cases:
    """Every case of a set of faces; ``template`` holds eyes, nose and mouth of the aligned frame.

    ``noise`` is the standard deviation, in grey levels, of the noise that a camera adds to each case.
    """

    faces: FaceSet
    template: Sequence[tuple[float, float]]
    noise: float = 0.0

    def __len__(self) -> int:
        return len(self.faces.portraits) * (1 + len(KINDS) * len(SEVERITIES))

    def __iter__(self) -> Iterator[tuple[int, Case]]:
        """Yield every portrait's row and face: untouched, then with every kind at every severity."""
        for row in range(len(self.faces.portraits)):
            yield row, self.draw(row, UNTOUCHED, 0.0)
            for kind in KINDS:
                for severity in SEVERITIES:
                    yield row, self.draw(row, kind, severity)

    def draw(self, row: int, kind: str, severity: float) -> Case:
        """Draw one case.

        Side, place and tone follow a hash of the person, which of its portraits this is, and the kind:
        they do not depend on which other people there are, and are the same at every severity.
        """
        portrait = self.faces.portraits[row]
        face = self.faces.faces[row].permute(1, 2, 0).contiguous().numpy()
        number = row * (1 + len(KINDS) * len(SEVERITIES))
        if kind == UNTOUCHED:
            return self._photographed(Case(number, portrait, kind, severity, face, face))
        number += 1 + KINDS.index(kind) * len(SEVERITIES) + SEVERITIES.index(severity)
        seed = drawing_seed(self.faces.portraits, row, kind)
        right_eye, left_eye, nose, mouth = self.template
        plan = FacePlan(right_eye, left_eye, nose, mouth, side=1 if seed % 2 else -1)
        changed = draw(kind, face, plan, severity, seed)
        return self._photographed(Case(number, portrait, kind, severity, changed, face))

    def _photographed(self, case: Case) -> Case:
        """Add noise to a case and to what it was before, the same to both."""
        if self.noise == 0:
            return case
        noise = np.random.default_rng(case.number).normal(0, self.noise, case.face.shape)
        face, untouched = (to_pixels(pixels + noise) for pixels in (case.face, case.untouched))
        return replace(case, face=face, untouched=untouched)


def drawing_seed(portraits: Sequence[Portrait], row: int, kind: str) -> int:
    """Hash the person of a portrait, which of that person's portraits it is, and a kind of anomaly."""
    identity = portraits[row].identity
    earlier = sum(other.identity == identity for other in portraits[:row])
    return crc32(f"{identity} {earlier} {kind}".encode())


def changed_regions(case: Case) -> NDArray[np.int64]:
    """Number the connected regions that a drawing changed, [256, 256]; 0 is unchanged."""
    difference = np.abs(case.face.astype(np.float64) - case.untouched).max(axis=2)
    numbers, _ = label(uniform_filter(difference, CHANGED_OVER) > CHANGED_BY)
    large = np.bincount(numbers.ravel()) >= SMALLEST_REGION
    large[0] = False
    return np.where(large, np.cumsum(large), 0)[numbers]


def evaluate(cases: Cases, region: NDArray[np.bool_], rater: Rater, progress: Progress) -> Evaluation:
    """Let ``rater`` rate all ``cases``; ``region`` [256, 256] is the face region."""
    portraits = cases.faces.portraits
    shape = (len(portraits), len(KINDS), len(SEVERITIES))
    areas = {"frame": np.ones_like(region), "region": region}
    stages = {stage: _no_scores(shape, areas) for stage in rater.stages}
    distances = Distances(np.zeros((shape[0], 2)), np.zeros((*shape, 2)), np.zeros((*shape, 2)))
    normalises = False
    for done, (row, case) in enumerate(cases, start=1):
        rating = rater.rate(case)
        _enter(stages, case, row, rating, areas)
        if rating.normalised:
            normalises = True
            _enter_distances(distances, case, row, rating.normalised)
        progress(done, len(cases))
    return Evaluation(portraits, stages, distances if normalises else None)


def _no_scores(shape: tuple[int, int, int], areas: Iterable[str]) -> StageScores:
    heat = {area: HeatCounts.none(*shape[:2]) for area in areas}
    return StageScores(np.zeros(shape[0]), np.zeros(shape), heat)


def _enter(
    stages: Mapping[str, StageScores],
    case: Case,
    row: int,
    rating: Rating,
    areas: Mapping[str, NDArray[np.bool_]],
) -> None:
    if case.kind == UNTOUCHED:
        for stage, verdict in rating.verdicts.items():
            stages[stage].untouched[row] = verdict.score
        return
    kind = KINDS.index(case.kind)
    regions = changed_regions(case)
    for stage, verdict in rating.verdicts.items():
        stages[stage].drawn[row, kind, SEVERITIES.index(case.severity)] = verdict.score
        for area, inside in areas.items():
            heat = verdict.heatmap[inside].astype(np.float64)
            stages[stage].heat[area].add((row, kind), heat, regions[inside])


def _enter_distances(distances: Distances, case: Case, row: int, normalised: Normalised) -> None:
    if case.kind == UNTOUCHED:
        distances.untouched[row] = normalised.after
        return
    place = (row, KINDS.index(case.kind), SEVERITIES.index(case.severity))
    distances.before[place] = normalised.before
    distances.after[place] = normalised.after
