"""The tables of what the shipped checkpoint sees, out of a report of `mien evaluate`.

    mien evaluate PORTRAITS --everyday FACES_WILD --everyday FACES_REAL -o report.json
    python -m tests.documents.evaluation_tables report.json

It replaces the tables between a comment that names one and a comment that ends it, in every document.
"""

import argparse
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mien.models.appraisal.evaluation.evaluation import KINDS, UNTOUCHED
from mien.models.appraisal.evaluation.everyday import TRAITS
from mien.models.appraisal.evaluation.figures import AT_LEAST_STRONG, EVERYONE, POOLED
from tests.markdown import markdown_table

from .pages import ROOT

DOCUMENTS = (
    ROOT / "docs" / "results.md",
    ROOT / "docs" / "faces" / "evaluation.md",
    ROOT / "models" / "appraisal" / "reference" / "README.md",
)
_TABLE = re.compile(r"(<!-- evaluation: (\w+) -->\n).*?(<!-- end of the table -->)", re.DOTALL)
_SCORES = (("untouched_median", 1), ("untouched_p5", 1), ("share_high", 2), ("share_low", 2))
_DRAWN = (
    *(("image_auroc", "0.5", 2), ("image_auroc", "1", 2), ("caught", "0.5", 2), ("caught", "1", 2)),
    *(("drawn_median", "0.5", 0), ("drawn_median", "1", 0)),
)
_STAGES = (
    ("pearson", "cleft", "", 3),
    ("mean_pearson", POOLED, "", 3),
    ("image_auroc", POOLED, AT_LEAST_STRONG, 3),
    ("image_auroc", POOLED, "0.25", 3),
    ("pixel_auroc", POOLED, "frame", 3),
    ("untouched_p5", UNTOUCHED, "", 1),
)

Record = Mapping[str, Any]


class _Figures:
    """Figures of a report, of its first stage where none is named."""

    def __init__(self, figures: Sequence[Record], stage: str) -> None:
        self._figures, self._stage = figures, stage

    def text(
        self, measure: str, kind: str, at: str, digits: int, group: str = EVERYONE, stage: str = ""
    ) -> str:
        wanted = {"measure": measure, "kind": kind, "at": at, "group": group, "stage": stage or self._stage}
        found = [one for one in self._figures if all(one[key] == value for key, value in wanted.items())]
        return interval(found[0], digits) if found else "-"

    @property
    def groups(self) -> list[str]:
        return list(
            dict.fromkeys(one["group"] for one in self._figures if one["measure"] == "untouched_median")
        )


def interval(record: Record, digits: int) -> str:
    """Return ``estimate (low..high)``, without the interval where there is none."""
    if record["estimate"] is None:
        return "-"
    text = f"{record['estimate']:.{digits}f}"
    return (
        text if record["low"] is None else f"{text} ({record['low']:.{digits}f}..{record['high']:.{digits}f})"
    )


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return markdown_table(headings, rows) + "\n"


def tables(report: Record) -> Iterator[tuple[str, str]]:
    """Yield every table by its name."""
    own = _Figures(report["figures"], report["stages"][0])
    everyday = {part["faces"]: part for part in report["parts"] if part["part"] == "everyday"}
    of_folder = {name: _Figures(part["figures"], report["stages"][0]) for name, part in everyday.items()}
    counts = {name: part["portraits"] for name, part in everyday.items()}
    yield "studio", _table(("figure", "measured", "wanted", ""), [_judged(one) for one in report["targets"]])
    kinds = [own.text("pearson", kind, "", 3) for kind in KINDS]
    yield "kinds", _table(KINDS, [kinds])
    headings = (
        "stages",
        "cleft r",
        "mean r",
        "AUROC 0.5 and more",
        "AUROC 0.25",
        "pixel AUROC",
        "5th percentile",
    )
    yield (
        "stages",
        _table(headings, [(s, *(own.text(*one, stage=s) for one in _STAGES)) for s in report["stages"]]),
    )
    yield "everyday", _everyday(everyday)
    yield (
        "untouched",
        "\n".join(_untouched(name, counts[name], figures) for name, figures in of_folder.items()),
    )
    yield "drawn", "\n".join(_drawn(name, figures) for name, figures in of_folder.items())
    yield "card", _card(report, own, of_folder, counts)
    rows = [(trait, *(_group(figures, trait) for figures in of_folder.values())) for trait in TRAITS]
    yield "traits", _table(("group", *_named(of_folder)), rows)


def _named(folders: Mapping[str, Any]) -> list[str]:
    return [_shown(name) for name in folders]


def _shown(folder: str) -> str:
    return folder.upper().replace("-", "_")


def _judged(target: Record) -> tuple[str, ...]:
    digits = 1 if target["measure"].startswith("untouched") else 3
    bound = f"{'at least' if target['sign'] > 0 else 'at most'} {target['bound']:g}"
    return target["text"], interval(target, digits), bound, "met" if target["met"] else "missed"


def _everyday(parts: Mapping[str, Record]) -> str:
    first = next(iter(parts.values()))
    rows = []
    for place, target in enumerate(first["targets"]):
        ofs = [part["targets"][place] for part in parts.values()]
        bound = f"{'at least' if target['sign'] > 0 else 'at most'} {target['bound']:g}"
        rows.append((target["text"], bound, *(" ".join((_judged(one)[1], _judged(one)[3])) for one in ofs)))
    return _table(("figure", "wanted", *(f"{_shown(n)}, {p['portraits']}" for n, p in parts.items())), rows)


def _untouched(name: str, count: int, figures: _Figures) -> str:
    headings = (f"{_shown(name)}, {count} faces", "median", "5th percentile", "share >= 90", "share < 50")
    rows = [
        (group, *(figures.text(measure, UNTOUCHED, "", digits, group) for measure, digits in _SCORES))
        for group in figures.groups
    ]
    return _table(headings, rows)


def _drawn(name: str, figures: _Figures) -> str:
    headings = (
        _shown(name),
        "r",
        "AUROC at 0.5",
        "at 1",
        "caught at 0.5",
        "at 1",
        "median score at 0.5",
        "at 1",
    )
    rows = []
    for kind in (POOLED, *KINDS):
        measure, label = ("mean_pearson", "all (r: mean)") if kind == POOLED else ("pearson", kind)
        cells = (figures.text(one, kind, at, digits) for one, at, digits in _DRAWN)
        rows.append((label, figures.text(measure, kind, "", 2), *cells))
    return _table(headings, rows)


_CARD = (
    ("untouched, median score", "untouched_median", UNTOUCHED, "", 1),
    ("untouched, 5th percentile", "untouched_p5", UNTOUCHED, "", 1),
    ("untouched below 50, share", "share_low", UNTOUCHED, "", 3),
    ("drawn at severity 0.5, AUROC", "image_auroc", POOLED, "0.5", 3),
    ("drawn at severity 1, AUROC", "image_auroc", POOLED, "1", 3),
    ("caught at 5 % false alarms, severity 0.5", "caught", POOLED, "0.5", 3),
    ("cleft, r of score and severity", "pearson", "cleft", "", 3),
    ("mean r of the five kinds", "mean_pearson", POOLED, "", 3),
)


def _card(report: Record, own: _Figures, of_folder: Mapping[str, _Figures], counts: Mapping[str, int]) -> str:
    headings = (
        "figure",
        f"studio, {report['faces']['portraits']}",
        *(f"{_shown(name)}, {count}" for name, count in counts.items()),
    )
    rows = [(text, *(one.text(*key) for one in (own, *of_folder.values()))) for text, *key in _CARD]
    return _table(headings, rows)


def _group(figures: _Figures, group: str) -> str:
    return ", ".join(
        figures.text(measure, UNTOUCHED, "", 1, group).partition(" ")[0] for measure, _ in _SCORES[:2]
    )


def put(text: str, made: Mapping[str, str]) -> str:
    """Replace every table of a document that a comment names.

    Raises:
        KeyError: no table has this name.
    """
    return _TABLE.sub(lambda found: f"{found[1]}\n{made[found[2]]}\n{found[3]}", text)


def main() -> None:
    """Write the tables of a report into every document."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("report", type=Path)
    made = dict(tables(json.loads(parser.parse_args().report.read_text(encoding="utf-8"))))
    for file in DOCUMENTS:
        file.write_text(put(file.read_text(encoding="utf-8"), made), encoding="utf-8")


if __name__ == "__main__":
    main()
