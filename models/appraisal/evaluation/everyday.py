"""Everyday faces beside the studio's: what they score untouched, by trait, and what is seen on them."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from mien.mobile_reference.output.text import path_text
from mien.models.appraisal.errors import ImageSetError, RequestError
from mien.models.appraisal.evaluation.drawn_scores import (
    KNOWN_KINDS,
    Canvas,
    DrawnScores,
    drawn_figures,
    drawn_sheet,
    rate_drawn,
    rate_untouched,
)
from mien.models.appraisal.evaluation.evaluation import KINDS, UNTOUCHED
from mien.models.appraisal.evaluation.evaluation_parts import (
    Bench,
    Part,
    Progress,
    Sheet,
    interval_text,
    judge_part,
    people_facts,
    target_sheet,
)
from mien.models.appraisal.evaluation.figures import EVERYONE, POOLED, Bound, Figure, Key, groups
from mien.models.appraisal.evaluation.statistics import Interval, Rows, Values, bootstrap
from mien.models.appraisal.portrait_checks import image_hash
from mien.models.appraisal.portraits import INDEX, Portrait, read_portraits

TRAITS = (
    "glasses",
    "beard",
    "hat",
    "child",
    "elderly",
    "dark_skin",
    "hard_light",
    "teeth",
    "eyes_closed",
)
"""Columns of an index that say of a face 1 (yes), 0 (no) or nothing."""
TURN = "turn"
"""The column of the turn of the head: ears' distances from the nose, their difference by their sum."""
TURN_BANDS = ((0.0, 0.1), (0.1, 0.3), (0.3, 0.6), (0.6, math.inf))
LEAST_PEOPLE = 5
"""A trait of fewer people says too little to be called the worst."""
HIGH, LOW = 90.0, 50.0
TARGETS = (
    Bound("everyday faces, median score", "untouched_median", 98.5, 1, UNTOUCHED),
    Bound("everyday faces, 5th percentile", "untouched_p5", 92, 1, UNTOUCHED),
    Bound("everyday faces, share below 50", "share_low", 0, -1, UNTOUCHED),
    Bound("widest gap of a trait's median", "trait_gap", 1.5, -1, UNTOUCHED),
    Bound("lowest 5th percentile of a trait", "trait_p5", 85, 1, UNTOUCHED),
    Bound("drawn at 0.5, AUROC", "image_auroc", 0.88, 1, POOLED, "0.5"),
    Bound("drawn at 1, AUROC", "image_auroc", 0.97, 1, POOLED, "1"),
    Bound("drawn at 0.5, caught at 5 % false alarms", "caught", 0.60, 1, POOLED, "0.5"),
    Bound("drawn at 1, caught at 5 % false alarms", "caught", 0.90, 1, POOLED, "1"),
    Bound("drawn at 1, median score", "drawn_median", 55, -1, POOLED, "1"),
    Bound("drawn at 0.5, median score", "drawn_median", 88, -1, POOLED, "0.5"),
)


def read_everyday(folder: Path, split: str, evaluated: Sequence[Portrait]) -> list[Portrait]:
    """List the everyday faces of a folder: of its split ``split`` if it has it, or all.

    Raises:
        ImageSetError: the folder holds no portrait, or its index says something unknown of a trait.
        RequestError: a person or a file of it also stands among the ``evaluated`` portraits.
    """
    listed = read_portraits(folder)
    held_out = [portrait for portrait in listed if portrait.split == split]
    chosen = held_out or [portrait for portrait in listed if not portrait.split]
    if not chosen:
        splits = ", ".join(sorted({portrait.split for portrait in listed}))
        raise ImageSetError(f"{folder} holds no face of split '{split}'; its splits are {splits}")
    for portrait in chosen:
        _check_traits(portrait, folder)
    _check_apart(chosen, evaluated)
    return chosen


def _check_traits(portrait: Portrait, folder: Path) -> None:
    for trait in TRAITS:
        value = portrait.attributes.get(trait, "")
        if value not in ("", "0", "1"):
            raise ImageSetError(
                f"{folder / INDEX} says {trait} '{value:.40}' of {portrait.name}; expected 0, 1 or nothing"
            )
    turn = portrait.attributes.get(TURN, "")
    if turn and not math.isfinite(_number(turn)):
        raise ImageSetError(
            f"{folder / INDEX} says {TURN} '{turn:.40}' of {portrait.name}; expected a number or nothing"
        )


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _check_apart(everyday: Sequence[Portrait], evaluated: Sequence[Portrait]) -> None:
    """Refuse people who are evaluated twice: by name, or by the bytes of a file."""
    people = {portrait.identity: portrait for portrait in evaluated}
    files = {image_hash(portrait): portrait for portrait in evaluated if portrait.image.is_file()}
    for portrait in everyday:
        same = people.get(portrait.identity)
        if same is None and portrait.image.is_file():
            same = files.get(image_hash(portrait))
        if same:
            raise RequestError(
                f"person {portrait.identity} of {portrait.image} also stands in the evaluation "
                f"({same.image}); remove one of them, or give different people different identities"
            )


def trait_groups(portraits: Sequence[Portrait]) -> Mapping[str, Rows]:
    """Return the rows of each trait, of each band of turn, and of each group of people, if not empty."""
    found = {
        trait: np.flatnonzero([portrait.attributes.get(trait) == "1" for portrait in portraits])
        for trait in TRAITS
    }
    turns = np.abs([_number(portrait.attributes.get(TURN, "")) for portrait in portraits])
    for low, high in TURN_BANDS:
        name = f"turn over {low:g}" if math.isinf(high) else f"turn {low:g} to {high:g}"
        found[name] = np.flatnonzero((turns >= low) & (turns < high))
    found |= groups(portraits)
    return {name: rows for name, rows in found.items() if len(rows)}


def measure_everyday(folder: Path, bench: Bench, canvas: Canvas, progress: Progress) -> tuple[Part, Values]:
    """Rate everyday faces untouched, and each with one of the known kinds at every severity.

    Returns the part, and the scores of the untouched faces, [P].
    """
    portraits = canvas.faces.portraits
    untouched = rate_untouched(canvas, bench.score, progress)
    drawn = DrawnScores(KINDS, untouched, rate_drawn(canvas, KNOWN_KINDS, 1, bench.score, progress))
    figures = list(untouched_figures(portraits, untouched, bench.stage))
    figures += drawn_figures(drawn, [portrait.identity for portrait in portraits], bench.stage)
    targets = judge_part(TARGETS, figures, bench.stage)
    title = f"everyday, {path_text(folder.name)}"
    sheets = (
        target_sheet(f"{title}: targets", targets),
        _untouched_sheet(f"{title}: untouched", portraits, figures, bench.stage),
        drawn_sheet(f"{title}: drawn, one kind a face", KINDS, figures, bench.stage),
    )
    facts = {"faces": path_text(folder.name), **people_facts(canvas.faces)}
    summary = _summary(path_text(folder.name), portraits, figures, bench.stage)
    left_out = tuple(f"left out {reason}" for reason in facts["skipped"])
    return Part("everyday", facts, tuple(figures), sheets, summary, targets, left_out), untouched


_UNTOUCHED: Sequence[tuple[str, str, Callable[[Values, Rows], float]]] = (
    ("untouched_median", "median", lambda scores, rows: float(np.median(scores[rows]))),
    ("untouched_p5", "5th percentile", lambda scores, rows: float(np.percentile(scores[rows], 5))),
    ("share_high", f"share >= {HIGH:g}", lambda scores, rows: float((scores[rows] >= HIGH).mean())),
    ("share_low", f"share < {LOW:g}", lambda scores, rows: float((scores[rows] < LOW).mean())),
)
"""Measure, heading, and what it is of some rows of scores."""


def untouched_figures(portraits: Sequence[Portrait], scores: Values, stage: str) -> Iterator[Figure]:
    """Yield what untouched faces score: over everyone, by trait, and how far the traits lie apart."""
    all_rows = {EVERYONE: np.arange(len(portraits))} | dict(trait_groups(portraits))
    for group, rows in all_rows.items():
        identities = [portraits[int(row)].identity for row in rows]
        for measure, _, statistic in _UNTOUCHED:
            value = bootstrap(identities, partial(statistic, scores[rows]))
            yield Figure(Key(measure, stage, UNTOUCHED, "", group), value)
    traits = [rows for group, rows in all_rows.items() if group in TRAITS and len(rows) >= LEAST_PEOPLE]
    if traits:
        middle = float(np.median(scores))
        gap = max(abs(float(np.median(scores[rows])) - middle) for rows in traits)
        lowest = min(float(np.percentile(scores[rows], 5)) for rows in traits)
        for measure, number in (("trait_gap", gap), ("trait_p5", lowest)):
            yield Figure(Key(measure, stage, UNTOUCHED), Interval(number, np.nan, np.nan))


def _untouched_sheet(
    title: str, portraits: Sequence[Portrait], figures: Sequence[Figure], stage: str
) -> Sheet:
    values = {figure.key: figure.value for figure in figures}
    counts = {EVERYONE: len(portraits)} | {name: len(rows) for name, rows in trait_groups(portraits).items()}
    rows = tuple(
        (
            f"{group} ({count})",
            *(
                interval_text(values[Key(measure, stage, UNTOUCHED, "", group)])
                for measure, _, _ in _UNTOUCHED
            ),
        )
        for group, count in counts.items()
    )
    return Sheet(title, ("faces", *(heading for _, heading, _ in _UNTOUCHED)), rows)


def _summary(name: str, portraits: Sequence[Portrait], figures: Sequence[Figure], stage: str) -> str:
    """Say in one line what everyday faces score, and name the group with the lowest 5th percentile."""
    values = {figure.key: figure.value.estimate for figure in figures}

    def told(group: str) -> str:
        median, low, high_share, low_share = (
            values[Key(measure, stage, UNTOUCHED, "", group)] for measure, _, _ in _UNTOUCHED
        )
        return (
            f"median {median:.1f}, 5th percentile {low:.1f}, "
            f"{100 * high_share:.0f} % >= {HIGH:g}, {100 * low_share:.0f} % < {LOW:g}"
        )

    enough = {
        group: len(rows) for group, rows in trait_groups(portraits).items() if len(rows) >= LEAST_PEOPLE
    }
    line = f"everyday, {name}: {len(portraits)} faces, {told(EVERYONE)}"
    if not enough:
        return f"{line}; no group of {LEAST_PEOPLE} faces or more is told apart"
    worst = min(enough, key=lambda group: values[Key("untouched_p5", stage, UNTOUCHED, "", group)])
    return f"{line}; worst group {worst} ({enough[worst]} faces): {told(worst)}"
