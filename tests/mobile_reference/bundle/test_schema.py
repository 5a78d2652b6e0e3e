"""The quick answer to a manifest is ``jsonschema``'s, in whatever way the manifest is damaged."""

import copy
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from mien.mobile_reference.bundle.reader import manifest_validator, open_bundle
from mien.mobile_reference.bundle.schema import conforms
from mien.mobile_reference.bundle.shipped import shipped_bundle

ODD: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2, 2.0, 128.0, 0.5, 1e300, -0.0, "", "x", "x\n", "rgb", "uint8", "resize"),
    *([], [None], [1, 2, 3], {}, {"x": 1}, {"kind": "resize"}),
)


def sound() -> dict[str, Any]:
    return copy.deepcopy(dict(open_bundle(shipped_bundle()).manifest))


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield every container of a document with each of its keys."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in pairs:
        yield value, key
        yield from places(part)


def put(random: Random, holder: Any, key: Any) -> None:
    holder[key] = random.choice(ODD)


def drop(random: Random, holder: Any, key: Any) -> None:
    del holder[key]


def add(random: Random, holder: Any, key: Any) -> None:
    if isinstance(holder, dict):
        holder["a key of nobody's"] = random.choice(ODD)
    else:
        holder.append(random.choice(ODD))


DAMAGE: tuple[Callable[[Random, Any, Any], None], ...] = (put, put, drop, add)


def test_both_say_the_same_of_damaged_manifests() -> None:
    random, validator, answers = Random(26), manifest_validator(), set()  # noqa: S311
    whole = sound()
    for _ in range(400):
        manifest = copy.deepcopy(whole)
        # The longest lists are of files: places near the root would be drawn too seldom.
        holder, key = random.choice([one for one in places(manifest) if one[0] is not manifest["files"]])
        random.choice(DAMAGE)(random, holder, key)
        answer = validator.is_valid(manifest)
        assert conforms(manifest, validator.schema) == answer, json.dumps(manifest)
        answers.add(answer)
    assert answers == {True, False}


SCHEMAS: tuple[dict[str, Any], ...] = (
    {"type": "integer"},
    {"type": ["number", "null"]},
    {"type": "boolean"},
    {"const": 2},
    {"const": True},
    {"enum": [1, "x", None]},
    {"minimum": 1, "maximum": 2},
    {"exclusiveMinimum": 1},
    {"pattern": "^x$"},
    {"minItems": 1, "maxItems": 2, "items": {"type": "integer"}},
    {"minProperties": 1, "required": ["x"], "additionalProperties": {"const": 1}},
    {"properties": {"x": {"type": "integer"}}, "additionalProperties": False},
    {"additionalProperties": True},
    {"if": {"type": "object"}, "then": {"required": ["x"]}, "else": {"type": "string"}},
    {"$ref": "#/$defs/one", "$defs": {"one": {"type": "array"}}},
)


@pytest.mark.parametrize("schema", SCHEMAS, ids=json.dumps)
def test_every_keyword_means_the_same(schema: dict[str, Any]) -> None:
    validator = Draft202012Validator(schema)
    for value in ODD:
        assert conforms(value, schema) == validator.is_valid(value), value


@pytest.mark.parametrize("schema", [{"multipleOf": 1}, {"const": [1]}, {"$ref": "#/x"}, {"if": {"not": {}}}])
def test_a_keyword_that_is_not_known_is_no_yes(schema: dict[str, Any]) -> None:
    assert not conforms(1, schema)


def test_a_sound_manifest_does_without_jsonschema() -> None:
    words = (
        "import sys; from mien.mobile_reference.bundle.reader import open_bundle; "
        "from mien.mobile_reference.bundle.shipped import shipped_bundle; "
        "open_bundle(shipped_bundle()); assert 'jsonschema' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", words], check=True)
