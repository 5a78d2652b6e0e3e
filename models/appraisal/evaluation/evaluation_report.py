"""An evaluation for scripts and for a terminal."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Group
from rich.table import Table

from mien.models.appraisal.portraits import Portrait

from .evaluation import CHANGED_BY, CHANGED_OVER, KINDS, SEVERITIES, SMALLEST_REGION, UNTOUCHED, Evaluation
from .figures import AT_LEAST_STRONG, EVERYONE, POOLED, Figure, Judged, Key, Miss, figures, judge, worst_cases
from .raters import Cost
from .statistics import RESAMPLES, Interval

SCHEMA = "mien.evaluation"
VERSION = 1
CAVEAT = (
    "Agreement with the severity of drawn anomalies, not with people's judgement. The portraits that the "
    "shipped checkpoint was trained and judged on are few, adult, studio-lit and two-thirds white; a group "
    "of one or two people says little."
)
CHANGED = (
    f"strongest colour apart by more than {CHANGED_BY:g} of 255, averaged over "
    f"{CHANGED_OVER} x {CHANGED_OVER} pixels; connected patches below {SMALLEST_REGION} pixels left out"
)


@dataclass(frozen=True)
class Subject:
    """What was evaluated: the rater's name, a hash of its weights, the portraits' split, and their noise."""

    name: str
    sha256: str
    split: str
    noise: float


@dataclass(frozen=True)
class Report:
    """An evaluation with everything that was computed from it."""

    subject: Subject
    evaluation: Evaluation
    skipped: tuple[str, ...]
    figures: tuple[Figure, ...]
    targets: tuple[Judged, ...]
    worst: tuple[Miss, ...]

    @property
    def values(self) -> Mapping[Key, Interval]:
        """The figures by their keys."""
        return {figure.key: figure.value for figure in self.figures}

    @property
    def final(self) -> str:
        """The stage whose verdict is the rater's."""
        return next(iter(self.evaluation.stages))


def make_report(
    subject: Subject, evaluation: Evaluation, skipped: tuple[str, ...], cost: Cost | None
) -> Report:
    """Compute figures, targets and worst cases of an evaluation."""
    found = figures(evaluation, cost)
    final = next(iter(evaluation.stages))
    return Report(
        subject, evaluation, skipped, tuple(found), tuple(judge(found, final)), tuple(worst_cases(evaluation))
    )


def report_record(report: Report) -> dict[str, Any]:
    """Describe a report for JSON, which has no NaN: null stands for a figure that does not exist."""
    portraits = report.evaluation.portraits
    return {
        "schema": SCHEMA,
        "version": VERSION,
        "note": CAVEAT,
        "subject": asdict(report.subject),
        "faces": {
            "portraits": len(portraits),
            "identities": len(set(report.evaluation.identities)),
            "skipped": list(report.skipped),
        },
        "drawn": {"kinds": list(KINDS), "severities": list(SEVERITIES), "changed_pixels": CHANGED},
        "intervals": f"95 %, percentiles of {RESAMPLES} bootstrap resamples of identities",
        "stages": list(report.evaluation.stages),
        "targets": [_target_record(judged) for judged in report.targets],
        "figures": [asdict(figure.key) | _interval_record(figure.value) for figure in report.figures],
        "worst": [
            {
                "face": face_name(portraits[miss.row]),
                "kind": miss.kind,
                "severity": miss.severity,
                "score": miss.score,
                "points_off": miss.points,
            }
            for miss in report.worst
        ],
    }


def _target_record(judged: Judged) -> dict[str, Any]:
    return asdict(judged.target) | _interval_record(judged.value) | {"met": judged.met}


def _interval_record(value: Interval) -> dict[str, float | None]:
    return {name: number if math.isfinite(number) else None for name, number in asdict(value).items()}


def face_name(portrait: Portrait) -> str:
    """Name a portrait by its person and file: files of several folders may share a name."""
    return f"{portrait.identity}, {portrait.image.parent.name}/{portrait.image.name}"


Row = tuple[str, ...]


@dataclass(frozen=True)
class Sheet:
    """A table of a report as text: a title, headings, and rows with what they are about first."""

    title: str
    headings: Row
    rows: tuple[Row, ...]


def sheets(report: Report) -> list[Sheet]:
    """Lay a report out as tables, for a terminal or a page."""
    return [_targets(report), *_by_kind(report), _detection(report), _normalising(report), _by_group(report)]


def terminal(report: Report) -> Group:
    """Lay a report out for a terminal."""
    return Group(*(_table(sheet) for sheet in sheets(report) if sheet.rows))


def _table(sheet: Sheet) -> Table:
    table = Table(title=sheet.title)
    for place, heading in enumerate(sheet.headings):
        table.add_column(heading, justify="right" if place else "left", overflow="fold")
    for row in sheet.rows:
        table.add_row(*(cell.replace(" (", "\n(") for cell in row))
    return table


def _targets(report: Report) -> Sheet:
    rows = [
        (
            judged.target.text,
            interval_text(judged.value),
            f"{'>=' if judged.target.sign > 0 else '<='} {judged.target.bound:g}",
            "pass" if judged.met else "MISS",
        )
        for judged in report.targets
    ]
    title = f"targets, noise of {report.subject.noise:g} grey levels"
    return Sheet(title, ("figure", "measured", "target", ""), tuple(rows))


# Measure, its heading, and at what.
_AGREEMENT = (
    ("pearson", "Pearson", ""),
    ("spearman", "Spearman", ""),
    ("pixel_auroc", "pixel AUROC", "frame"),
    ("pixel_auroc", "in the region", "region"),
    ("pro", "PRO", "frame"),
    ("pro", "in the region", "region"),
)
_DISTANCES = tuple(
    (measure, f"{heading}, {at}", at)
    for at in ("l1", "features")
    for measure, heading in (
        ("distance_before", "drawn"),
        ("distance_after", "normalised"),
        ("removed", "gone"),
    )
)
_GROUPED = (
    ("untouched_median", "untouched median", ""),
    ("untouched_p5", "5th percentile", ""),
    ("pearson", "Pearson", ""),
    ("image_auroc", "AUROC >= 0.5", AT_LEAST_STRONG),
    ("pixel_auroc", "pixel AUROC, region", "region"),
)


def _by_kind(report: Report) -> list[Sheet]:
    values = report.values
    headings = ("kind", *(heading for _, heading, _ in _AGREEMENT))
    return [
        Sheet(
            f"{stage}: agreement with severity, and of heat with the changed pixels",
            headings,
            tuple(
                (
                    kind,
                    *(interval_text(values[Key(measure, stage, kind, at)]) for measure, _, at in _AGREEMENT),
                )
                for kind in (POOLED, *KINDS)
            ),
        )
        for stage in report.evaluation.stages
    ]


def _detection(report: Report) -> Sheet:
    ats = (*(f"{severity:g}" for severity in SEVERITIES), AT_LEAST_STRONG)
    values = report.values
    rows = []
    for stage in report.evaluation.stages:
        for kind in (POOLED, *KINDS) if stage == report.final else (POOLED,):
            cells = (interval_text(values[Key("image_auroc", stage, kind, at)]) for at in ats)
            rows.append((kind if stage == report.final else stage, *cells))
    title = f"AUROC of untouched against drawn faces, by severity ({report.final}; others pooled)"
    return Sheet(title, ("", *ats), tuple(rows))


def _normalising(report: Report) -> Sheet:
    """Show what normalising does: L1 in 0..255 and features in 0..4, within the face region."""
    values = report.values
    headings = ("kind", *(heading for _, heading, _ in _DISTANCES))
    title = "distance to the untouched face in the face region: L1 of 255, and features of 4"
    if not report.evaluation.distances:
        return Sheet(title, headings, ())
    kept = {
        at: interval_text(values[Key("normalising_changes", report.final, UNTOUCHED, at)])
        for at in ("l1", "features")
    }
    untouched = (UNTOUCHED, "0", kept["l1"], "-", "0", kept["features"], "-")
    drawn = (
        (
            kind,
            *(interval_text(values[Key(measure, report.final, kind, at)]) for measure, _, at in _DISTANCES),
        )
        for kind in (POOLED, *KINDS)
    )
    return Sheet(title, headings, (untouched, *drawn))


def _by_group(report: Report) -> Sheet:
    values = report.values
    rows = []
    for group in dict.fromkeys(figure.key.group for figure in report.figures):
        cells = []
        for measure, _, at in _GROUPED:
            kind = UNTOUCHED if measure.startswith(UNTOUCHED) else POOLED
            cells.append(interval_text(values[Key(measure, report.final, kind, at, group)]))
        rows.append((f"{group} ({_people(report, group)})", *cells))
    return Sheet("by group, all kinds", ("people", *(heading for _, heading, _ in _GROUPED)), tuple(rows))


def _people(report: Report, group: str) -> int:
    if group == EVERYONE:
        return len(set(report.evaluation.identities))
    column, value = group.split(" ", 1)
    portraits = report.evaluation.portraits
    return len({portrait.identity for portrait in portraits if portrait.attributes.get(column) == value})


def interval_text(value: Interval) -> str:
    """Write an estimate with its interval: two digits behind the point of scores, three of shares."""
    digits = 1 if abs(value.estimate) >= 10 else 3
    if math.isnan(value.estimate):
        return "-"
    if math.isnan(value.low):
        return f"{value.estimate:.{digits}f}"
    return f"{value.estimate:.{digits}f} ({value.low:.{digits}f}..{value.high:.{digits}f})"
