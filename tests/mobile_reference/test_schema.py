"""Documents against a JSON Schema: what is wrong is said, with its place, and a broken schema is an error."""

import json
from pathlib import Path

import pytest

import mien.benchmarks
import mien.mobile_reference
from mien.mobile_reference.schema import Problem, Schema

SCHEMA = Schema(
    {
        "type": "object",
        "properties": {
            "name": {"type": "string", "pattern": "^[a-z]+$(?!\\n)"},
            "sizes": {"type": "array", "items": {"type": "integer", "minimum": 1}},
        },
        "additionalProperties": False,
    }
)


def test_a_document_that_conforms_has_no_problems() -> None:
    assert SCHEMA.problems({"name": "x", "sizes": [1, 2.0]}) == []


def test_every_problem_has_its_place_and_they_come_in_order() -> None:
    found = SCHEMA.problems({"sizes": [1, 0, True], "name": "x\n"})
    assert [problem.path for problem in found] == [("name",), ("sizes", 1), ("sizes", 2)]
    assert found[1].where == "sizes/1"
    assert "minimum" in found[1].message


def test_the_root_is_a_place_without_a_name() -> None:
    (problem,) = SCHEMA.problems({"other": 1})
    assert problem == Problem((), problem.message)
    assert problem.where == ""
    assert "other" in problem.message


def test_a_schema_that_is_none_is_no_silent_yes() -> None:
    with pytest.raises(ValueError, match="type"):
        Schema({"type": "text"})


SHIPPED = [
    file
    for room in (mien.benchmarks, mien.mobile_reference)
    for file in sorted(Path(room.__path__[0]).rglob("*.schema.json"))
]


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.name)
def test_every_schema_that_ships_can_be_used(file: Path) -> None:
    assert Schema(json.loads(file.read_text(encoding="utf-8"))).problems(None)
