"""An evaluation as one HTML page."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mien.mobile_reference.report.charts import Scatter
from mien.mobile_reference.report.page import Block, Gallery, Page, Section, Table, Text, jpeg, write_page
from mien.mobile_reference.report.page import Picture as PagePicture

from .evaluation import UNTOUCHED, Heat, Pixels
from .evaluation_parts import Part, Sheet
from .evaluation_report import CAVEAT, CHANGED, Evaluated, Report, face_name, sheets
from .figures import EVERYONE, Miss

# Heat at which a face is fully covered, and the colour of heat.
_FULL_HEAT = 1.0
_HEAT_COLOUR = np.array([235.0, 50.0, 10.0])


@dataclass(frozen=True)
class Picture:
    """One case to look at: its face and normalised face, uint8 [256, 256, 3], and heatmap [256, 256]."""

    face: Pixels
    heatmap: Heat
    normalised: Pixels | None


def report_page(report: Report, pictures: Sequence[Picture]) -> str:
    """Make the page of a report; ``pictures`` show its worst cases."""
    evaluation = report.evaluation
    facts = (
        f"{report.subject.name} ({report.subject.sha256[:12]}); {len(evaluation.portraits)} portraits of "
        f"{len(set(evaluation.identities))} people, split '{report.subject.split or 'all'}', "
        f"with noise of {report.subject.noise:g} grey levels. "
        f"In brackets: 95 % intervals over people. Changed pixels: {CHANGED}."
    )
    cases = [_case(report, *pair) for pair in zip(report.worst, pictures, strict=True)]
    about = Text("Furthest from the line of score on severity. Face, heat over it, normalised face.")
    worst = Section(f"The worst {len(pictures)} cases", [about, Gallery(cases)])
    lead = [Text(facts), Text(CAVEAT, "note"), *(Text(part.summary) for part in report.parts)]
    return _page(report.subject, lead, [worst, *map(_section, _filled(sheets(report)))])


def ratings_page(subject: Evaluated, part: Part, caveat: str) -> str:
    """Make the page of an evaluation against people's ratings."""
    facts = f"{subject.name} ({subject.sha256[:12]}). In brackets: 95 % intervals over people."
    lead = [Text(facts), Text(caveat, "note"), Text(part.summary), *(Text(w, "note") for w in part.warnings)]
    plot = Section("Score less mean rating, by their mean", [_bland_altman(part)])
    return _page(subject, lead, [*map(_section, _filled(part.sheets)), plot])


def _page(subject: Evaluated, lead: Sequence[Block], sections: Sequence[Section]) -> str:
    return write_page(Page("mien evaluate", subject.name, lead, sections))


def _filled(laid_out: Sequence[Sheet]) -> list[Sheet]:
    return [sheet for sheet in laid_out if sheet.rows]


def _section(sheet: Sheet) -> Section:
    return Section(sheet.title, [Table(sheet.title, sheet.headings, sheet.rows)])


def _bland_altman(part: Part) -> Scatter:
    """Draw each photograph at (mean of score and rating, score less rating), and the limits of agreement."""
    pairs = [(pair["photograph"], pair["score"], pair["mean_rating"]) for pair in part.facts["pairs"]]
    points = [(name, (score + rating) / 2, score - rating) for name, score, rating in pairs]
    levels = {f.key.measure: f.value.estimate for f in part.figures if f.key.group == EVERYONE}
    drawn = [levels[measure] for measure in ("bias", "limit_low", "limit_high")]
    guides = [(f"{level:.1f}", level) for level in drawn if math.isfinite(level)]
    axes = "mean of score and mean rating", "score less mean rating"
    return Scatter("Bland-Altman plot", points, guides, axes)


def _case(report: Report, miss: Miss, picture: Picture) -> PagePicture:
    drawn = UNTOUCHED if miss.kind == UNTOUCHED else f"{miss.kind} {miss.severity:g}"
    face = face_name(report.evaluation.portraits[miss.row])
    caption = (
        f"{face}, {drawn}: score {miss.score:.1f}, {abs(miss.points):.1f} points "
        f"{'lower' if miss.points > 0 else 'higher'} than the line"
    )
    return jpeg(_panels(picture), "face, heat over it, normalised face", caption)


def _panels(picture: Picture) -> Pixels:
    opacity = np.clip(picture.heatmap / _FULL_HEAT, 0, 1)[..., None] ** 0.5 * 0.85
    heat = np.round(picture.face + opacity * (_HEAT_COLOUR - picture.face)).astype(np.uint8)
    panels = [picture.face, heat] + ([] if picture.normalised is None else [picture.normalised])
    return np.concatenate(panels, axis=1)
