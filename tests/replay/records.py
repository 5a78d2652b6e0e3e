"""Comparing two JSON records, value by value."""

import json
import math
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mien.mobile_reference.contract import GateSpec

from .errors import ReplayError

Leaf = str | int | float | bool | None
# What tells the entries of a list apart, so that one more of them does not shift all others.
_IDENTITIES = (
    ("name",),
    ("photo",),
    ("variant", "stage"),
    ("measure", "stage", "kind", "at", "group"),
    ("face", "kind", "severity"),
)
_FORMAT = "format"


@dataclass(frozen=True)
class Change:
    """A value that both records have and that differs."""

    path: str
    old: Leaf
    new: Leaf


@dataclass(frozen=True)
class RecordVerdict:
    """What two records have in common.

    Attributes:
        name: what the record is, such as ``manifest``.
        compared: how many values both have.
        numbers: how many of these are numbers.
        changed: the values that differ.
        expected: the values that differ and have to, such as the commit.
        only_old: paths that the new record lacks.
        only_new: paths that the old record lacks.
        other_format: whether the records are of two formats, so that each may have what the other lacks.
        lost: paths among ``only_old`` that a new format must have too.
    """

    name: str
    compared: int
    numbers: int
    changed: tuple[Change, ...] = ()
    expected: tuple[Change, ...] = ()
    only_old: tuple[str, ...] = ()
    only_new: tuple[str, ...] = ()
    other_format: bool = False
    lost: tuple[str, ...] = ()

    @property
    def equal(self) -> bool:
        """Tell whether nothing differs but what has to, and whether anything was compared at all."""
        one_sided = self.lost if self.other_format else self.only_old + self.only_new
        return self.compared > 0 and not self.changed and not one_sided


@dataclass(frozen=True)
class Rules:
    """Which differences of a record are not findings, each a pattern of whole paths.

    Attributes:
        expected: values that differ from commit to commit.
        essential: values that a record of another format must have as well.
    """

    expected: Sequence[str] = ()
    essential: Sequence[str] = ()


MANIFEST_RULES = Rules(
    expected=(_FORMAT, r"provenance\.(commit|mien)", r"provenance\.versions\..*"),
    essential=(r"files\[.*\]\.(bytes|sha256)", r"goldens\[.*\]\.score", r"variants\[.*\]\.tolerance"),
)


def read_record(file: Path) -> Any:
    """Read a JSON file, or one of a JSON object a line.

    Raises:
        ReplayError: the file is neither.
    """
    text = file.read_text(encoding="utf-8")
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        lines = [line for line in text.splitlines() if line.strip()]
        if len(lines) < 2:
            raise ReplayError(f"{file} is not JSON ({error}); see the log beside it") from error
    try:
        return [json.loads(line) for line in lines]
    except json.JSONDecodeError as error:
        raise ReplayError(
            f"{file} is neither JSON nor JSON lines ({error}); see the log beside it"
        ) from error


def read_manifest(file: Path) -> Any:
    """Read a manifest of any format, with the score of each golden input and the tolerance of each variant.

    Format 1 states both where they are looked for, a tolerance by the name ``gate``. Later ones have the
    score among the values, and the tolerance as a limit of the first gate.

    Raises:
        ReplayError: the file is not JSON.
    """
    manifest = read_record(file)
    return comparable(manifest) if isinstance(manifest, Mapping) else manifest


def comparable(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Return a manifest of any format with scores and tolerances where every other one has them."""
    gates = [GateSpec(one["tensor"], one["metric"], one["limits"]) for one in manifest.get("gates", ())]
    found = dict(manifest)
    for key in ("variants", "left_out"):
        if key in manifest:
            found[key] = [_with_tolerance(entry, gates) for entry in manifest[key]]
    if gates and "goldens" in manifest:
        found["goldens"] = [_with_score(entry, gates[0].tensor) for entry in manifest["goldens"]]
    return found


def _with_tolerance(entry: Mapping[str, Any], gates: Sequence[GateSpec]) -> dict[str, Any]:
    found = {("tolerance" if key == "gate" else key): value for key, value in entry.items()}
    limit = gates[0].limit(entry["name"]) if gates else None
    return found if limit is None else {"tolerance": limit} | found


def _with_score(entry: Mapping[str, Any], tensor: str) -> dict[str, Any]:
    values = entry.get("values", {})
    return {**entry, "score": values[tensor]} if tensor in values else dict(entry)


def compare_records(name: str, old: Any, new: Any, rules: Rules = Rules()) -> RecordVerdict:
    """Compare every value of two records by its path.

    Two numbers are equal if their text in JSON is the same; what is not a number never is.
    """
    before, after = flatten(old), flatten(new)
    both = [path for path in before if path in after]
    differing = [Change(p, before[p], after[p]) for p in both if not _same(before[p], after[p])]
    expected = tuple(change for change in differing if _matches(change.path, rules.expected))
    only_old = tuple(path for path in before if path not in after)
    return RecordVerdict(
        name=name,
        compared=len(both),
        numbers=sum(_is_number(before[path]) for path in both),
        changed=tuple(change for change in differing if change not in expected),
        expected=expected,
        only_old=only_old,
        only_new=tuple(path for path in after if path not in before),
        other_format=before.get(_FORMAT) != after.get(_FORMAT),
        lost=tuple(path for path in only_old if _matches(path, rules.essential)),
    )


def follow_names(files: Collection[str]) -> tuple[str, ...]:
    """Name the values of a manifest that differ because names inside ``files`` do: sizes and hashes."""
    variants = {re.escape(match[1]) for name in files if (match := re.match(r"models/([^/]+)/", name))}
    listed = (rf"files\[{re.escape(name)}(/.*)?\]\.(bytes|sha256)" for name in sorted(files))
    return (*listed, *(rf"variants\[{variant}\]\.measured\.bytes" for variant in sorted(variants)))


def flatten(value: Any) -> dict[str, Leaf]:
    """Return every value by its path, such as ``variants[tflite-int8].tolerance``."""
    return dict(_leaves(value, ""))


def _leaves(value: Any, path: str) -> Iterator[tuple[str, Leaf]]:
    if isinstance(value, Mapping) and value:
        for key, child in value.items():
            plain = key.isidentifier()
            yield from _leaves(child, f"{path}.{key}".lstrip(".") if plain else f"{path}[{key}]")
    elif isinstance(value, list) and value:
        for key, child in zip(_keys(value), value, strict=True):
            yield from _leaves(child, f"{path}[{key}]")
    else:
        yield path, json.dumps(value) if isinstance(value, Mapping | list) else value


def _keys(entries: Sequence[Any]) -> Sequence[str]:
    """Name the entries of a list by what they are, or by position where nothing tells them apart."""
    for keys in _IDENTITIES:
        if all(isinstance(entry, Mapping) and entry.keys() >= set(keys) for entry in entries):
            names = [" ".join(str(entry[key]) for key in keys) for entry in entries]
            if len(set(names)) == len(names):
                return names
    return [str(position) for position in range(len(entries))]


def _same(old: Leaf, new: Leaf) -> bool:
    """Compare the texts too: 1, 1.0 and true are equal in Python, and so are 0.0 and -0.0."""
    return old == new and repr(old) == repr(new)


def _matches(path: str, patterns: Sequence[str]) -> bool:
    return any(re.fullmatch(pattern, path) for pattern in patterns)


def _is_number(leaf: Leaf) -> bool:
    return isinstance(leaf, int | float) and not isinstance(leaf, bool)


def finite(leaf: Leaf) -> Leaf:
    """Return the leaf as JSON may have it: what is not a finite number becomes its name."""
    return leaf if not isinstance(leaf, float) or math.isfinite(leaf) else str(leaf)
