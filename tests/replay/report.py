"""A replay's findings, for a terminal and for scripts."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from .files import MANIFEST, FileVerdict, Verdict, compare_files, is_model
from .goldens import Difference
from .records import (
    MANIFEST_RULES,
    Change,
    RecordVerdict,
    Rules,
    compare_records,
    finite,
    follow_names,
    read_manifest,
    read_record,
)
from .sides import Side

_LISTED = 12
"""Findings of one kind that a terminal shows; the JSON has them all."""


@dataclass(frozen=True)
class Replay:
    """The comparison of two sides.

    Attributes:
        old: the commit named.
        new: the working tree.
        files: one verdict for each file of the bundles but the manifest.
        records: one for each JSON record, the manifest first.
    """

    old: str
    new: str
    files: tuple[FileVerdict, ...]
    records: tuple[RecordVerdict, ...]

    @property
    def equal(self) -> bool:
        """Tell whether the product is the same."""
        files_equal = bool(self.files) and all(one.equal for one in self.files)
        return files_equal and all(one.equal for one in self.records)


def compare_sides(old: Side, new: Side) -> Replay:
    """Compare everything that two sides made."""
    files = tuple(compare_files(old.bundle, new.bundle))
    renamed = [one.name for one in files if one.verdict is Verdict.NAMES]
    rules = Rules((*MANIFEST_RULES.expected, *follow_names(renamed)), MANIFEST_RULES.essential)
    manifest, other = (read_manifest(side.bundle / MANIFEST) for side in (old, new))
    records = [
        compare_records("manifest", manifest, other, rules),
        *(compare_records(n, read_record(old.records[n]), read_record(new.records[n])) for n in old.records),
        compare_records("exit codes", dict(old.exits), dict(new.exits)),
    ]
    return Replay(old.label, new.label, files, tuple(records))


def as_json(replay: Replay) -> str:
    """Describe a replay as one JSON object, whole."""
    record = {
        "equal": replay.equal,
        "old": replay.old,
        "new": replay.new,
        "files": [_file_record(one) for one in replay.files],
        "records": [_record(one) for one in replay.records],
    }
    return json.dumps(record, indent=1, allow_nan=False)


def _file_record(one: FileVerdict) -> dict[str, Any]:
    outputs = {name: {"equal": d.equal, "largest": d.largest} for name, d in one.outputs.items()}
    return {
        "file": one.name,
        "verdict": str(one.verdict),
        "differs_in": list(one.parts),
        "outputs": outputs,
        "note": one.note,
    }


def _record(one: RecordVerdict) -> dict[str, Any]:
    return {
        "record": one.name,
        "equal": one.equal,
        "compared": one.compared,
        "numbers": one.numbers,
        "changed": _changes(one.changed),
        "expected": _changes(one.expected),
        "only_old": list(one.only_old),
        "only_new": list(one.only_new),
        "other_format": one.other_format,
        "lost": list(one.lost),
    }


def _changes(changes: Sequence[Change]) -> list[dict[str, Any]]:
    return [{"path": one.path, "old": finite(one.old), "new": finite(one.new)} for one in changes]


def terminal(replay: Replay, report: Path) -> Group:
    """Lay a replay out for a terminal; ``report`` is where the whole of it lies."""
    parts: list[RenderableType] = [_file_table(replay), _record_table(replay)]
    parts += [Text(line) for line in _findings(replay)]
    verdict = "the same product" if replay.equal else "DIFFERENCES"
    parts.append(Text(f"{_short(replay.old)} and {_short(replay.new)}: {verdict} (all of it: {report})"))
    return Group(*parts)


def _short(label: str) -> str:
    return label[:7] + label[40:]


def _file_table(replay: Replay) -> Table:
    """One row for each model and each file that is not equal; the others are counted."""
    table = Table(title="files", show_edge=False)
    table.add_column("file", overflow="fold")
    table.add_column("verdict")
    table.add_column("largest on goldens", justify="right")
    others: dict[str, int] = {}
    for one in replay.files:
        if is_model(one.name) or one.verdict is not Verdict.EQUAL:
            table.add_row(one.name, str(one.verdict), _largest(one))
        else:
            folder = one.name.partition("/")[0]
            others[folder] = others.get(folder, 0) + 1
    for folder, count in others.items():
        table.add_row(f"{folder}: {count} other files", str(Verdict.EQUAL), "")
    return table


def _largest(one: FileVerdict) -> str:
    """Name the output that is farthest apart; files of equal bytes were not run."""
    if not one.outputs:
        return "not run" if is_model(one.name) and one.verdict is not Verdict.EQUAL else ""
    if all(difference.equal for difference in one.outputs.values()):
        return "equal bit by bit"
    name, worst = max(one.outputs.items(), key=_rank)
    return f"{name}: " + ("not a number" if worst.largest is None else f"{worst.largest:.3g}")


def _rank(output: tuple[str, Difference]) -> tuple[bool, float, bool]:
    _, difference = output
    return difference.largest is None, difference.largest or 0, not difference.equal


def _record_table(replay: Replay) -> Table:
    table = Table(title="records, value by value", show_edge=False)
    table.add_column("record")
    for heading in ("compared", "numbers", "differ", "expected to", "only old", "only new"):
        table.add_column(heading, justify="right")
    for one in replay.records:
        counted = (one.changed, one.expected, one.only_old, one.only_new)
        table.add_row(one.name, str(one.compared), str(one.numbers), *(str(len(kind)) for kind in counted))
    return table


def _findings(replay: Replay) -> Iterator[str]:
    """Name what differs, line by line."""
    for file in replay.files:
        if file.note:
            yield f"{file.name}: {file.note}"
        yield from _some(f"{file.name} differs in", file.parts)
    for one in replay.records:
        kinds: Mapping[str, Sequence[str]] = {
            "differs": [_change(change) for change in one.changed],
            "differs, as expected": [_change(change) for change in one.expected],
            "only old": one.only_old,
            "only new": one.only_new,
            "lost, though any format must have it": one.lost if one.other_format else (),
        }
        for kind, lines in kinds.items():
            yield from _some(f"{one.name}, {kind}:", lines)
        if not one.compared:
            yield f"{one.name}: the two have no value in common"


def _some(heading: str, lines: Sequence[str]) -> Iterator[str]:
    if lines:
        yield heading
        yield from (f"  {line}" for line in lines[:_LISTED])
    if len(lines) > _LISTED:
        yield f"  and {len(lines) - _LISTED} more"


def _change(change: Change) -> str:
    return f"{change.path}: {json.dumps(finite(change.old))} -> {json.dumps(finite(change.new))}"
