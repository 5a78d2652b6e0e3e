"""An evaluation for scripts and for a terminal."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Group
from rich.table import Table

from mien.mobile_reference.output.text import path_text
from mien.models.appraisal.portraits import Portrait

from .evaluation import CHANGED_BY, CHANGED_OVER, KINDS, SEVERITIES, SMALLEST_REGION, UNTOUCHED, Evaluation
from .evaluation_parts import (
    Part,
    Row,
    Sheet,
    interval_record,
    interval_text,
    part_record,
    target_record,
    target_sheet,
)
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
class Evaluated:
    """What was evaluated: the rater's name, a hash of its weights, the portraits' split, and their noise."""

    name: str
    sha256: str
    split: str
    noise: float


@dataclass(frozen=True)
class Report:
    """An evaluation with everything that was computed from it."""

    subject: Evaluated
    evaluation: Evaluation
    skipped: tuple[str, ...]
    figures: tuple[Figure, ...]
    targets: tuple[Judged, ...]
    worst: tuple[Miss, ...]
    parts: tuple[Part, ...] = ()

    @property
    def values(self) -> Mapping[Key, Interval]:
        """The figures by their keys."""
        return {figure.key: figure.value for figure in self.figures}

    @property
    def final(self) -> str:
        """The stage whose verdict is the rater's."""
        return next(iter(self.evaluation.stages))


def make_report(
    subject: Evaluated,
    evaluation: Evaluation,
    skipped: tuple[str, ...],
    cost: Cost | None,
    parts: tuple[Part, ...] = (),
) -> Report:
    """Compute figures, targets and worst cases of an evaluation."""
    found = figures(evaluation, cost)
    final = next(iter(evaluation.stages))
    targets, worst = tuple(judge(found, final)), tuple(worst_cases(evaluation))
    return Report(subject, evaluation, skipped, tuple(found), targets, worst, parts)


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
        "targets": [target_record(judged) for judged in report.targets],
        "figures": [asdict(figure.key) | interval_record(figure.value) for figure in report.figures],
        "parts": [part_record(part) for part in report.parts],
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


def face_name(portrait: Portrait) -> str:
    """Name a portrait by its person and file: files of several folders may share a name."""
    return f"{portrait.identity}, {path_text(portrait.image.parent.name)}/{portrait.name}"


def sheets(report: Report) -> list[Sheet]:
    """Lay a report out as tables, for a terminal or a page."""
    targets = target_sheet(f"targets, noise of {report.subject.noise:g} grey levels", report.targets)
    own = [targets, *_by_kind(report), _detection(report), _normalising(report), _by_group(report)]
    return [*own, *(sheet for part in report.parts for sheet in part.sheets)]


def terminal(report: Report) -> Group:
    """Lay a report out for a terminal."""
    return tables(sheets(report))


def tables(laid_out: Iterable[Sheet]) -> Group:
    """Lay sheets out for a terminal; one without rows is left out."""
    return Group(*(_table(sheet) for sheet in laid_out if sheet.rows))


def _table(sheet: Sheet) -> Table:
    table = Table(title=sheet.title)
    for place, heading in enumerate(sheet.headings):
        table.add_column(heading, justify="right" if place else "left", overflow="fold")
    for row in sheet.rows:
        table.add_row(*(cell.replace(" (", "\n(") for cell in row))
    return table


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
    headings = ("kind", *(heading for _, heading, _ in _AGREEMENT))
    title = "agreement with severity, and of heat with the changed pixels"
    return [
        Sheet(f"{stage}: {title}", headings, tuple(_agreement_rows(report.values, stage)))
        for stage in report.evaluation.stages
    ]


def _agreement_rows(values: Mapping[Key, Interval], stage: str) -> Iterator[Row]:
    mean = interval_text(values[Key("mean_pearson", stage)])
    yield ("mean of the kinds", mean, *("-" for _ in _AGREEMENT[1:]))
    for kind in (POOLED, *KINDS):
        cells = (interval_text(values[Key(measure, stage, kind, at)]) for measure, _, at in _AGREEMENT)
        yield (kind, *cells)


def _detection(report: Report) -> Sheet:
    ats = (*(f"{severity:g}" for severity in SEVERITIES), AT_LEAST_STRONG)
    values = report.values
    rows = []
    for stage in report.evaluation.stages:
        for kind in (POOLED, *KINDS) if stage == report.final else (POOLED,):
            cells = (interval_text(values[Key("image_auroc", stage, kind, at)]) for at in ats)
            rows.append((kind if stage == report.final else stage, *cells))
    alarms = (interval_text(values[Key("caught", report.final, POOLED, at)]) for at in ats)
    rows.append(("caught at 5 % false alarms", *alarms))
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
