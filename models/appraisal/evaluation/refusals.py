"""What is refused of everyday photographs, by trait, and of photographs that should not be rated."""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from mien.mobile_reference.errors import PhotographError
from mien.mobile_reference.front.photograph import read_photograph
from mien.mobile_reference.front.quality import NOTE, REFUSE
from mien.mobile_reference.output.text import path_text
from mien.models.appraisal.appraiser import CheckpointAppraiser
from mien.models.appraisal.errors import ImageSetError
from mien.models.appraisal.evaluation.evaluation import UNTOUCHED
from mien.models.appraisal.evaluation.evaluation_parts import Bench, Part, Sheet, judge_part, target_sheet
from mien.models.appraisal.evaluation.everyday import TRAITS, TURN, trait_groups
from mien.models.appraisal.evaluation.figures import EVERYONE, Bound, Figure, Key
from mien.models.appraisal.evaluation.spoilt import SPOILERS, Pixels
from mien.models.appraisal.evaluation.statistics import Rows, bootstrap
from mien.models.appraisal.portraits import Portrait
from mien.models.errors import NoFaceError

FRONTAL, SPOILT = "frontal", "spoilt"
_MOST_TURNED = 0.3
"""A face is frontal up to this turn, or where the index says nothing of it."""
_NO_FACE = "no face"
TARGETS = (
    Bound("frontal faces refused", "frontal_refused", 0.03, -1, UNTOUCHED),
    *(Bound(f"{kind}: refused or noted", "flagged", 0.95, 1, kind) for kind in SPOILERS),
)


@dataclass(frozen=True)
class PhotographVerdict:
    """What was made of one photograph: the measures that refuse it, and those that give a note."""

    refused: tuple[str, ...]
    noted: tuple[str, ...]


def judge_photograph(photograph: Pixels, appraiser: CheckpointAppraiser) -> PhotographVerdict:
    """Measure a photograph, RGB [H, W, 3]; one in which no face is found is refused."""
    try:
        findings = appraiser.prepare(photograph).findings
    except NoFaceError:
        return PhotographVerdict((_NO_FACE,), ())
    named = {
        verdict: tuple(finding.measure for finding in findings if finding.verdict == verdict)
        for verdict in (REFUSE, NOTE)
    }
    return PhotographVerdict(named[REFUSE], named[NOTE])


def measure_refusals(
    folder: Path, bench: Bench, portraits: Sequence[Portrait], progress: Callable[[int, int], None]
) -> Part:
    """Judge every photograph as it is, and frontal ones as each spoiler makes them.

    Raises:
        ImageSetError: no photograph can be read.
    """
    appraiser = CheckpointAppraiser(bench.checkpoint)
    read, verdicts = [], []
    spoilt: dict[str, dict[str, PhotographVerdict]] = {kind: {} for kind in SPOILERS}
    for done, portrait in enumerate(portraits, start=1):
        try:
            photograph = read_photograph(portrait.image)
        except PhotographError:
            continue
        read.append(portrait)
        verdicts.append(judge_photograph(photograph, appraiser))
        if _frontal(portrait) and not verdicts[-1].refused:
            for kind, verdict in _spoil(portrait, photograph, appraiser):
                spoilt[kind][portrait.identity] = verdict
        progress(done, len(portraits))
    if not read:
        raise ImageSetError(f"no photograph of {folder} can be read; the first is {portraits[0].image}")
    figures = tuple(refusal_figures(read, verdicts, spoilt, bench.stage))
    targets = judge_part(TARGETS, figures, bench.stage)
    title = f"refusals, {path_text(folder.name)}"
    sheets = (
        target_sheet(f"{title}: targets", targets),
        _group_sheet(f"{title}: photographs as they are", read, verdicts),
        _spoilt_sheet(f"{title}: spoilt frontal photographs", spoilt),
    )
    facts = {"faces": path_text(folder.name), "portraits": len(read)}
    return Part("refusals", facts, figures, sheets, _summary(path_text(folder.name), read, verdicts), targets)


def _spoil(
    portrait: Portrait, photograph: Pixels, appraiser: CheckpointAppraiser
) -> Iterator[tuple[str, PhotographVerdict]]:
    matrix = appraiser.prepare(photograph).alignment
    for kind, spoiler in SPOILERS.items():
        rng = np.random.default_rng(crc32(f"{portrait.name} {kind}".encode()))
        yield kind, judge_photograph(spoiler(photograph, matrix, rng), appraiser)


def _frontal(portrait: Portrait) -> bool:
    return abs(float(portrait.attributes.get(TURN) or 0)) <= _MOST_TURNED


def _groups(portraits: Sequence[Portrait]) -> Mapping[str, Rows]:
    """Return the rows of everyone, of frontal faces, of these by trait, and of all by turn and people."""
    frontal = np.array([_frontal(portrait) for portrait in portraits])
    found = {EVERYONE: np.arange(len(portraits)), FRONTAL: np.flatnonzero(frontal)}
    for name, rows in trait_groups(portraits).items():
        found[name] = rows[frontal[rows]] if name in TRAITS else rows
    return {name: rows for name, rows in found.items() if len(rows)}


def refusal_figures(
    portraits: Sequence[Portrait],
    verdicts: Sequence[PhotographVerdict],
    spoilt: Mapping[str, Mapping[str, PhotographVerdict]],
    stage: str,
) -> Iterator[Figure]:
    """Yield shares refused and refused or noted: by group, and of spoilt photographs by kind."""
    refused = np.array([bool(one.refused) for one in verdicts])
    flagged = np.array([bool(one.refused or one.noted) for one in verdicts])
    for group, rows in _groups(portraits).items():
        people = [portraits[int(row)].identity for row in rows]
        for measure, values in (("refused", refused[rows]), ("flagged", flagged[rows])):
            share = bootstrap(people, _share_of(values))
            yield Figure(Key(measure, stage, UNTOUCHED, "", group), share)
            if (group, measure) == (FRONTAL, "refused"):
                yield Figure(Key("frontal_refused", stage, UNTOUCHED), share)
    for kind, found in spoilt.items():
        if found:
            caught = np.array([bool(one.refused or one.noted) for one in found.values()])
            stopped = np.array([bool(one.refused) for one in found.values()])
            yield Figure(Key("flagged", stage, kind), bootstrap(list(found), _share_of(caught)))
            yield Figure(Key("refused", stage, kind), bootstrap(list(found), _share_of(stopped)))


def _share_of(values: NDArray[np.bool_]) -> Callable[[Rows], float]:
    return lambda rows: float(values[rows].mean()) if len(rows) else math.nan


def _row(name: str, verdicts: Sequence[PhotographVerdict]) -> tuple[str, ...]:
    """Say how many are refused and noted, and by which measures."""
    refused = [one for one in verdicts if one.refused]
    noted = [one for one in verdicts if one.noted and not one.refused]
    reasons = Counter(measure for one in refused for measure in one.refused)
    notes = Counter(measure for one in noted for measure in one.noted)
    return (
        f"{name} ({len(verdicts)})",
        f"{len(refused)} ({100 * len(refused) / len(verdicts):.1f} %)",
        f"{len(noted)} ({100 * len(noted) / len(verdicts):.1f} %)",
        ", ".join(f"{measure} {count}" for measure, count in (reasons + notes).most_common(4)),
    )


_HEADINGS = ("photographs", "refused", "noted", "by")


def _group_sheet(title: str, portraits: Sequence[Portrait], verdicts: Sequence[PhotographVerdict]) -> Sheet:
    rows = [_row(group, [verdicts[int(row)] for row in rows]) for group, rows in _groups(portraits).items()]
    return Sheet(title, _HEADINGS, tuple(rows))


def _spoilt_sheet(title: str, spoilt: Mapping[str, Mapping[str, PhotographVerdict]]) -> Sheet:
    rows = [_row(kind, list(found.values())) for kind, found in spoilt.items() if found]
    return Sheet(title, _HEADINGS, tuple(rows))


def _summary(name: str, portraits: Sequence[Portrait], verdicts: Sequence[PhotographVerdict]) -> str:
    """Say what share of frontal faces is refused, and of which trait the most."""
    groups = _groups(portraits)
    shares = {
        group: float(np.mean([bool(verdicts[int(row)].refused) for row in rows]))
        for group, rows in groups.items()
        if group in (FRONTAL, *TRAITS)
    }
    told = [f"{100 * shares[FRONTAL]:.1f} % of {len(groups[FRONTAL])} frontal"] if FRONTAL in shares else []
    traits = [group for group in shares if group in TRAITS]
    if traits:
        most = max(traits, key=shares.__getitem__)
        told.append(f"{100 * shares[most]:.1f} % of {len(groups[most])} of {most}, the most of a trait")
    return f"refusals, {name}: {', '.join(told) or 'no frontal face'}"
