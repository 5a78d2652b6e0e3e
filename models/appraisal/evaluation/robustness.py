"""What costs points and should not: nuisances on studio faces, and the same person rated again."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from mien.models.appraisal.alignment import align, warp
from mien.models.appraisal.evaluation.anomalies import FacePlan
from mien.models.appraisal.evaluation.drawings.nuisances import FRAMINGS, ON_FACES, jpeg, with_nuisance
from mien.models.appraisal.evaluation.drawn_scores import Canvas
from mien.models.appraisal.evaluation.evaluation import drawing_seed
from mien.models.appraisal.evaluation.evaluation_parts import (
    Bench,
    Part,
    Pixels,
    Progress,
    Sheet,
    face_pixels,
    interval_text,
    judge_part,
    people_facts,
    target_sheet,
)
from mien.models.appraisal.evaluation.figures import Bound, Figure, Key
from mien.models.appraisal.evaluation.reliability import icc_single
from mien.models.appraisal.evaluation.statistics import Interval, Rows, Values, bootstrap
from mien.models.appraisal.portraits import FaceSet, read_image
from mien.models.errors import NoFaceError

NUISANCES = (*ON_FACES, *FRAMINGS)
RETEST_TARGET = 3.0
"""Points."""


def measure_nuisances(name: str, bench: Bench, canvas: Canvas, untouched: Values, progress: Progress) -> Part:
    """Rate every face with every nuisance; ``untouched`` [P] are the scores without."""
    faces = canvas.faces
    lost = np.zeros((len(faces.portraits), len(NUISANCES)))
    for row in range(len(faces.portraits)):
        for column, picture in enumerate(_with_nuisances(canvas, row)):
            lost[row, column] = untouched[row] - bench.score(picture)
        progress(row + 1, len(faces.portraits))
    identities = [portrait.identity for portrait in faces.portraits]
    figures = []
    for column, nuisance in enumerate(NUISANCES):
        for measure, _, statistic in _LOST:
            value = bootstrap(identities, partial(statistic, lost[:, column]))
            figures.append(Figure(Key(measure, bench.stage, nuisance), value))
    means = dict(zip(NUISANCES, lost.mean(axis=0), strict=True))
    worst = max(means, key=lambda nuisance: means[nuisance])
    sheet = _sheet(
        f"nuisances, {name}: points of score lost", "nuisance", NUISANCES, _LOST, figures, bench.stage
    )
    summary = f"nuisances, {name}: worst is {worst}, {means[worst]:.1f} points lost in the mean"
    facts = {"faces": name, **people_facts(faces)}
    return Part("nuisances", facts, tuple(figures), (sheet,), summary)


_Statistic = Callable[[Values, Rows], float]
_Columns = Sequence[tuple[str, str, _Statistic]]
_LOST: _Columns = (
    ("lost_mean", "mean", lambda lost, rows: float(lost[rows].mean())),
    ("lost_median", "median", lambda lost, rows: float(np.median(lost[rows]))),
    ("lost_p95", "95th percentile", lambda lost, rows: float(np.percentile(lost[rows], 95))),
)


def _with_nuisances(canvas: Canvas, row: int) -> Iterator[Pixels]:
    """Yield a face with every one of ``NUISANCES``."""
    faces = canvas.faces
    right_eye, left_eye, nose, mouth = canvas.template
    for nuisance in ON_FACES:
        seed = drawing_seed(faces.portraits, row, nuisance)
        plan = FacePlan(right_eye, left_eye, nose, mouth, side=1 if seed % 2 else -1)
        yield with_nuisance(nuisance, face_pixels(faces, row), plan, seed)
    photo = read_image(faces.portraits[row].image)
    for similarity in FRAMINGS.values():
        framed = torch.from_numpy(similarity) @ torch.cat([faces.matrices[row].double(), _LAST_ROW])
        yield warp(photo, framed, faces.faces.shape[-1]).permute(1, 2, 0).contiguous().numpy()


_LAST_ROW = torch.tensor([[0.0, 0.0, 1.0]], dtype=torch.float64)


def measure_retest(name: str, bench: Bench, faces: FaceSet, untouched: Values, progress: Progress) -> Part:
    """Rate the same people twice: in another expression, cropped twice, and compressed twice."""
    identities = [portrait.identity for portrait in faces.portraits]
    again = np.full((len(identities), len(_AGAIN)), np.nan)
    for row, portrait in enumerate(faces.portraits):
        photo = read_image(portrait.image)
        for column, change in enumerate(_AGAIN):
            again[row, column] = _rated_again(change(photo, faces.matrices[row], row), bench)
        progress(row + 1, len(identities))
    expressions = expression_pairs(faces, untouched)
    own = {"expressions": expressions} if np.isfinite(expressions).any() else {}
    pairs = {
        **own,
        "crops": again[:, 0:2],
        "JPEG, qualities 85 and 50": again[:, 2:4],
    }
    figures, warnings = [], []
    for kind, both in pairs.items():
        rated = np.isfinite(both).all(axis=1)
        missing = int((~rated).sum())
        if missing and kind != "expressions":
            warnings.append(f"{kind}: of {missing} of {len(both)} photographs no face was found again")
        people = [identities[row] for row in np.flatnonzero(rated)]
        for measure, _, statistic in _RETEST:
            value = Interval(np.nan, np.nan, np.nan)
            if len(people) > 1:
                value = bootstrap(people, partial(statistic, both[rated]))
            figures.append(Figure(Key(measure, bench.stage, kind), value))
    targets = judge_part(
        [Bound(f"retest SD, {kind}", "retest_sd", RETEST_TARGET, -1, kind) for kind in pairs],
        figures,
        bench.stage,
    )
    title = f"retest, {name}"
    sheet = _sheet(
        f"{title}: the same person rated twice", "pairs", tuple(pairs), _RETEST, figures, bench.stage
    )
    deviations = {
        figure.key.kind: figure.value.estimate for figure in figures if figure.key.measure == "retest_sd"
    }
    told = ", ".join(f"{kind} {value:.2f}" for kind, value in deviations.items() if np.isfinite(value))
    facts = {"faces": name, **people_facts(faces)}
    return Part(
        "retest",
        facts,
        tuple(figures),
        (target_sheet(f"{title}: targets", targets), sheet),
        f"{title}: SD in points: {told}",
        targets,
        tuple(warnings),
    )


def _within(pairs: Values, rows: Rows) -> float:
    """Return the standard deviation within pairs, [N, 2]: what one rating differs by chance."""
    return float(np.sqrt((np.diff(pairs[rows], axis=1) ** 2).mean() / 2))


_RETEST: _Columns = (
    ("retest_sd", "SD within a person", _within),
    ("retest_icc", "ICC(1,1)", lambda pairs, rows: icc_single(pairs[rows])),
)


def expression_pairs(faces: FaceSet, untouched: Values) -> Values:
    """Return scores [P, 2] of a portrait and of the same person's next in another expression, or NaN."""
    portraits = faces.portraits
    pairs = np.full((len(portraits), 2), np.nan)
    for row, portrait in enumerate(portraits):
        mine = portrait.attributes.get("expression", "")
        for other in range(row + 1, len(portraits)):
            theirs = portraits[other].attributes.get("expression", "")
            if portraits[other].identity == portrait.identity and mine and theirs and mine != theirs:
                pairs[row] = untouched[row], untouched[other]
                break
    return pairs


def _rated_again(photo: Tensor, bench: Bench) -> float:
    """Find the face of a photograph anew and rate it; NaN without a face."""
    try:
        face = align(photo, bench.checkpoint.detector, bench.checkpoint.config.alignment)
    except NoFaceError:
        return float("nan")
    return bench.score(face.pixels.permute(1, 2, 0).contiguous().numpy())


def _cropped(photo: Tensor, matrix: Tensor, row: int, which: int) -> Tensor:
    """Cut up to 80 % of what lies about the face off each side."""
    rng = np.random.default_rng([row, which])
    inverse = torch.linalg.inv(torch.cat([matrix.double(), _LAST_ROW]))[:2].numpy()
    corners = np.array([[30.0, 10.0, 1.0], [226.0, 10.0, 1.0], [30.0, 246.0, 1.0], [226.0, 246.0, 1.0]])
    places = corners @ inverse.T
    height, width = photo.shape[1:]
    (left, top), (right, bottom) = places.min(axis=0), places.max(axis=0)
    share = rng.uniform(0, 0.8, 4)
    x0, y0 = int(max(0, left) * share[0]), int(max(0, top) * share[1])
    x1, y1 = width - int(max(0, width - right) * share[2]), height - int(max(0, height - bottom) * share[3])
    return photo[:, y0:y1, x0:x1].contiguous()


def _compressed(photo: Tensor, _matrix: Tensor, _row: int, quality: int) -> Tensor:
    pixels = jpeg(photo.permute(1, 2, 0).contiguous().numpy(), quality)
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()


_AGAIN: tuple[Callable[[Tensor, Tensor, int], Tensor], ...] = (
    partial(_cropped, which=0),
    partial(_cropped, which=1),
    partial(_compressed, quality=85),
    partial(_compressed, quality=50),
)


def _sheet(
    title: str, what: str, kinds: Sequence[str], columns: _Columns, figures: Sequence[Figure], stage: str
) -> Sheet:
    values = {figure.key: figure.value for figure in figures}
    rows = tuple(
        (kind, *(interval_text(values[Key(measure, stage, kind)]) for measure, _, _ in columns))
        for kind in kinds
    )
    return Sheet(title, (what, *(heading for _, heading, _ in columns)), rows)
