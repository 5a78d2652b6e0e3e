"""An evaluation as one HTML page that needs nothing else: no script, no font, no network."""

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from PIL import Image

from .evaluation import UNTOUCHED, Heat, Pixels
from .evaluation_parts import Part, Row, Sheet
from .evaluation_report import CAVEAT, CHANGED, Report, Subject, face_name, sheets
from .figures import EVERYONE, Miss

_STYLE = """
body { font: 15px/1.5 sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
table { border-collapse: collapse; margin: .5rem 0 }
td, th { padding: .15rem .7rem; border-bottom: 1px solid #ddd; text-align: right }
td:first-child, th:first-child { text-align: left }
.cases { display: flex; flex-wrap: wrap; gap: 1rem }
figure { margin: 0 }
figcaption { max-width: 34rem }
.note { background: #fff4d6; padding: .5rem 1rem }
"""
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
    name = escape(report.subject.name)
    evaluation = report.evaluation
    facts = (
        f"{name} ({report.subject.sha256[:12]}); {len(evaluation.portraits)} portraits of "
        f"{len(set(evaluation.identities))} people, split '{escape(report.subject.split or 'all')}', "
        f"with noise of {report.subject.noise:g} grey levels. "
        f"In brackets: 95 % intervals over people. Changed pixels: {escape(CHANGED)}."
    )
    shown = "".join(
        _case(report, miss, picture) for miss, picture in zip(report.worst, pictures, strict=True)
    )
    worst = (
        f"<h2>The worst {len(pictures)} cases</h2><p>Furthest from the line of score on severity. "
        f'Face, heat over it, normalised face.</p><div class="cases">{shown}</div>'
    )
    summaries = "".join(f"<p>{escape(part.summary)}</p>" for part in report.parts)
    return _page(name, facts, CAVEAT, summaries, sheets(report), worst)


def ratings_page(subject: Subject, part: Part, caveat: str) -> str:
    """Make the page of an evaluation against people's ratings."""
    facts = f"{escape(subject.name)} ({subject.sha256[:12]}). In brackets: 95 % intervals over people."
    warnings = "".join(f'<p class="note">{escape(warning)}</p>' for warning in part.warnings)
    plot = f"<h2>Score less mean rating, by their mean</h2>{_bland_altman(part)}"
    return _page(
        escape(subject.name), facts, caveat, f"<p>{escape(part.summary)}</p>{warnings}", part.sheets, plot
    )


def _page(name: str, facts: str, caveat: str, lead: str, laid_out: Sequence[Sheet], closing: str) -> str:
    """Put a page together of a name, facts, lead and closing in HTML, and of sheets."""
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>mien evaluate: {name}</title>'
        f"<style>{_STYLE}</style></head>\n<body><h1>mien evaluate: {name}</h1><p>{facts}</p>"
        f'<p class="note">{escape(caveat)}</p>{lead}\n'
        + "\n".join(_sheet(sheet) for sheet in laid_out if sheet.rows)
        + f"\n{closing}</body></html>\n"
    )


def _bland_altman(part: Part) -> str:
    """Draw each photograph at (mean of score and rating, score less rating), and the limits of agreement."""
    dots = "".join(
        f'<circle cx="{40 + 4 * (pair["score"] + pair["mean_rating"]) / 2:.1f}" '
        f'cy="{220 - 2 * (pair["score"] - pair["mean_rating"]):.1f}" r="3" fill="#2a6fb0" '
        f'fill-opacity=".6"><title>{escape(pair["photograph"])}</title></circle>'
        for pair in part.facts["pairs"]
    )
    levels = {f.key.measure: f.value.estimate for f in part.figures if f.key.group == EVERYONE}
    lines = "".join(
        f'<line x1="40" x2="440" y1="{220 - 2 * levels[measure]:.1f}" y2="{220 - 2 * levels[measure]:.1f}" '
        f'stroke="#b03a2a"/><text x="445" y="{224 - 2 * levels[measure]:.1f}">{levels[measure]:.1f}</text>'
        for measure in ("bias", "limit_low", "limit_high")
        if math.isfinite(levels[measure])
    )
    return (
        '<svg viewBox="0 0 520 440" width="520" role="img" aria-label="Bland-Altman plot" font-size="12">'
        f'<rect x="40" y="20" width="400" height="400" fill="none" stroke="#999"/>{lines}{dots}'
        '<text x="40" y="435">0</text><text x="420" y="435">100</text>'
        '<text x="4" y="28">100</text><text x="4" y="420">-100</text></svg>'
    )


def _sheet(sheet: Sheet) -> str:
    rows = "".join(_row("td", row) for row in sheet.rows)
    return f"<h2>{escape(sheet.title)}</h2><table>{_row('th', sheet.headings)}{rows}</table>"


def _row(tag: str, cells: Row) -> str:
    return "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>\n"


def _case(report: Report, miss: Miss, picture: Picture) -> str:
    drawn = UNTOUCHED if miss.kind == UNTOUCHED else f"{miss.kind} {miss.severity:g}"
    face = face_name(report.evaluation.portraits[miss.row])
    caption = (
        f"{face}, {drawn}: score {miss.score:.1f}, {abs(miss.points):.1f} points "
        f"{'lower' if miss.points > 0 else 'higher'} than the line"
    )
    return (
        f'<figure><img alt="face, heat, normalised face" src="data:image/jpeg;base64,{_jpeg(picture)}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def _jpeg(picture: Picture) -> str:
    opacity = np.clip(picture.heatmap / _FULL_HEAT, 0, 1)[..., None] ** 0.5 * 0.85
    heat = np.round(picture.face + opacity * (_HEAT_COLOUR - picture.face)).astype(np.uint8)
    panels = [picture.face, heat] + ([] if picture.normalised is None else [picture.normalised])
    file = io.BytesIO()
    Image.fromarray(np.concatenate(panels, axis=1)).save(file, "JPEG", quality=85)
    return base64.b64encode(file.getvalue()).decode()
