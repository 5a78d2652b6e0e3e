"""The generated Kotlin and Swift know the keys of the manifest's schema, each at its place, and no others."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mien import mobile_reference

APPS = Path(__file__).parents[3] / "benchmarks/apps"
READERS = [
    APPS / "kotlin/src/main/kotlin/mien/pipeline/ManifestKeys.kt",
    APPS / "swift/common/Sources/MienPipeline/ManifestKeys.swift",
]
SCHEMA = json.loads((Path(mobile_reference.__path__[0]) / "bundle/manifest.schema.json").read_text())
KINDS = {"face-alignment": SCHEMA["$defs"]["face_alignment"], "resize": SCHEMA["$defs"]["resize"]}


def in_schema(part: dict[str, Any], place: str) -> Iterator[tuple[str, set[str]]]:
    """Yield the keys of each object that has no others, by its place."""
    if "$ref" in part:
        part = SCHEMA["$defs"][part["$ref"].rpartition("/")[2]]
    if part.get("additionalProperties") is False:
        yield place, set(part["properties"])
    for key, value in part.get("properties", {}).items():
        yield from in_schema(value, f"{place}/{key}")
    for key in ("items", "additionalProperties"):
        if isinstance(part.get(key), dict):
            yield from in_schema(part[key], f"{place}/*")
    # Of a front these are the rules of its kinds, which have names of their own.
    if "else" not in part and "then" in part:
        yield from in_schema(part["then"], place)


def in_source(source: str) -> Iterator[tuple[str, set[str]]]:
    """Yield the rows of the table with which a source begins."""
    table = source[: source.index("mapValues")]
    for place, words in re.findall(r'"([^" ]*)"(?: to|:)\s+((?:"[^"]*"[\s+]*)+)', table):
        yield place, set("".join(re.findall(r'"([^"]*)"', words)).split())


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.name)
def test_a_reader_knows_the_keys_of_the_schema(reader: Path) -> None:
    expected = dict(in_schema(SCHEMA, ""))
    for kind, rule in KINDS.items():
        expected |= in_schema(rule, kind)
    assert {"/stages/*/skip_when", "/whole", "/files/*", "resize"} <= expected.keys()
    assert dict(in_source(reader.read_text())) == expected


def test_the_rules_are_those_of_the_kinds_of_front() -> None:
    front = SCHEMA["properties"]["front"]
    assert {*KINDS} == {*front["properties"]["kind"]["enum"]}
    assert front["then"]["properties"]["rule"] == {"$ref": "#/$defs/resize"}
    assert front["else"]["properties"]["rule"] == {"$ref": "#/$defs/face_alignment"}
