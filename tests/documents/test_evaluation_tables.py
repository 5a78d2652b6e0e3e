"""Tables of an evaluation reach the documents by their names, and nothing else of a document changes."""

from typing import Any

import pytest

from .evaluation_tables import DOCUMENTS, interval, put, tables


def figure(measure: str, estimate: float | None, **other: Any) -> dict[str, Any]:
    known = {"stage": "all", "kind": "pooled", "at": "", "group": "everyone", "low": None, "high": None}
    return known | {"measure": measure, "estimate": estimate} | other


def report() -> dict[str, Any]:
    target = figure("pearson", 0.5, low=0.4, high=0.6) | {"text": "r", "bound": 0.6, "sign": 1, "met": False}
    figures = [figure("mean_pearson", 0.25), figure("untouched_median", 98.76, kind="untouched")]
    of = {"figures": figures, "targets": [target]}
    part = {"part": "everyday", "faces": "faces-wild", "portraits": 3} | of
    head = {"stages": ["all"], "faces": {"portraits": 2}}
    return head | of | {"parts": [part]}


def test_every_table_of_the_documents_is_made() -> None:
    made = dict(tables(report()))
    for file in DOCUMENTS:
        text = file.read_text(encoding="utf-8")
        assert "<!-- evaluation: " in text
        assert put(put(text, made), made) == put(text, made)


def test_a_table_is_replaced_and_what_stands_about_it_stays() -> None:
    text = "a\n<!-- evaluation: card -->\n\n| old |\n\n<!-- end of the table -->\nb\n"
    assert put(text, {"card": "| new |\n"}) == text.replace("old", "new")


def test_a_table_that_nobody_makes_is_an_error() -> None:
    with pytest.raises(KeyError, match="other"):
        put("<!-- evaluation: other -->\n<!-- end of the table -->", {})


def test_figures_stand_with_their_intervals_and_verdict() -> None:
    made = dict(tables(report()))
    assert "| r | 0.500 (0.400..0.600) | at least 0.6 | missed |" in made["studio"]
    assert "| untouched, median score | 98.8 | 98.8 |" in made["card"]


def test_what_was_not_measured_is_no_number() -> None:
    assert interval(figure("x", None), 1) == "-"
    assert "| - |" in dict(tables(report()))["kinds"]
