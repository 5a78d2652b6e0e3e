"""What tables and lines of a verification say: the worst stands in front, NaN is named, limits are shown."""

import math
from collections.abc import Sequence
from dataclasses import replace
from io import StringIO
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console
from rich.table import Table

from mien.mobile_reference.contract import ANY, FUNCTION, PSNR, SCALAR, GateSpec
from mien.mobile_reference.verify.held_out_tables import figure_tables
from mien.mobile_reference.verify.limits import NOT_JUDGED, JudgedFigure
from mien.mobile_reference.verify.stages import PAIR, StageResult, Verification
from mien.mobile_reference.verify.stages_tables import (
    failure_line,
    remarks,
    result_record,
    stage_rows,
    stages_table,
    title,
)
from mien.mobile_reference.verify.weights import WeightsResult

NAN, INF = math.nan, math.inf
GATE = GateSpec("score", SCALAR, {ANY: 2.0})
RESULT = StageResult("tflite-int8", "rate", 41.25, GATE, 0.5, 2.0, "nobody")


def printed(shown: Any) -> list[str]:
    console = Console(width=100, color_system=None, file=StringIO())
    with console.capture() as capture:
        console.print(shown)
    return [line.rstrip() for line in capture.get().splitlines() if line.strip()]


def row(*results: StageResult) -> tuple[str, ...]:
    (found,) = stage_rows(Verification(results))
    return found


@pytest.mark.parametrize(
    ("decibels", "shown"), [(41.25, "41.2"), (-3.0, "-3.0"), (INF, "exact"), (NAN, "nan")]
)
def test_decibels_are_rounded_exact_or_not_a_number(decibels: float, shown: str) -> None:
    assert row(replace(RESULT, decibels=decibels))[2] == shown


@pytest.mark.parametrize(
    ("loss", "limit", "cells"),
    [
        (0.5, 2.0, ("0.5", "2", "passed")),
        (2.0, 2.0, ("2", "2", "passed")),
        (2.5, 2.0, ("2.5", "2", "FAILED")),
        (NAN, 2.0, ("nan", "2", "FAILED")),
    ],
)
def test_a_row_tells_value_tolerance_and_verdict(loss: float, limit: float, cells: tuple[str, ...]) -> None:
    found = row(replace(RESULT, loss=loss, limit=limit))
    assert found == ("tflite-int8", "rate", "41.2", title(GATE), *cells)


def test_what_has_no_gate_or_was_not_judged_says_so() -> None:
    assert row(replace(RESULT, gate=None, loss=None))[2:] == ("41.2", "", "", "", "ungated")
    assert row(replace(RESULT, loss=None))[2:] == ("41.2", title(GATE), "", "", NOT_JUDGED)


@pytest.mark.parametrize(
    ("others", "nearest"),
    [
        ([(0.5, 2.0), (1.5, 2.0)], (1.5, 2.0)),
        ([(0.5, 0.6), (1.5, 2.0)], (0.5, 0.6)),
        ([(3.0, 2.0), (1.9, 2.0)], (3.0, 2.0)),
        ([(NAN, 2.0), (900.0, 2.0)], (NAN, 2.0)),
        ([(0.0, 0.0), (0.1, 2.0)], (0.1, 2.0)),
        ([(0.1, 0.0), (3.0, 2.0)], (0.1, 0.0)),
        ([(None, 2.0), (0.0, 2.0)], (0.0, 2.0)),
    ],
)
def test_a_stage_is_told_by_the_gate_that_is_nearest_to_failing(
    others: Sequence[tuple[float | None, float]], nearest: tuple[float, float]
) -> None:
    for order in (others, others[::-1]):
        results = [replace(RESULT, loss=loss, limit=limit) for loss, limit in order]
        assert row(*results)[4:6] == (f"{nearest[0]:.4g}", f"{nearest[1]:g}")


def test_every_stage_of_every_variant_has_a_row() -> None:
    found = [replace(RESULT, variant=v, stage=s) for v in ("a", "b") for s in ("one", "two")]
    rows = list(stage_rows(Verification(tuple(found))))
    assert [cells[:2] for cells in rows] == [("a", "one"), ("a", "two"), ("b", "one"), ("b", "two")]
    bundle: Any = SimpleNamespace(goldens=[0, 0, 0])
    table = stages_table(bundle, Verification(tuple(found)))
    assert "worst of 3 golden inputs" in str(table.title)
    assert [one.end_section for one in table.rows] == [False, True, False, True]


def test_a_failure_names_all_that_one_needs_to_look_for() -> None:
    assert failure_line(replace(RESULT, loss=2.5)) == (
        f"tflite-int8: stage rate: {title(GATE)} is 2.5 (nobody), at most 2 passes"
    )
    decibels = replace(RESULT, gate=GateSpec("image", PSNR, {ANY: 0.01}), loss=0.1, limit=0.01)
    assert failure_line(decibels).endswith("is 20 (nobody), at least 40 passes")


def test_a_function_of_the_users_is_told_as_its_loss() -> None:
    own = replace(RESULT, gate=GateSpec("score", f"{FUNCTION}apart", {ANY: 2.0}), loss=2.5)
    assert failure_line(own) == "tflite-int8: stage rate: score apart is 2.5 (nobody), at most 2 passes"


def test_a_record_has_null_for_what_is_not_finite() -> None:
    assert result_record(replace(RESULT, loss=NAN, decibels=INF)) == {
        "variant": "tflite-int8",
        "stage": "rate",
        "tensor": "score",
        "metric": SCALAR,
        "golden": "nobody",
        "error": None,
        "value": None,
        "tolerance": 2.0,
        "passed": False,
        "decibels": None,
    }
    assert result_record(RESULT)["value"] == 0.5
    bare = result_record(replace(RESULT, gate=None, loss=None))
    assert (bare["tensor"], bare["metric"], bare["value"], bare["tolerance"]) == (None, None, None, None)


def bundle_of(*gates: GateSpec, platform: str = "tflite", share: float | None = None) -> Any:
    spec = SimpleNamespace(gates=gates, rating=gates[0])
    variants = [SimpleNamespace(platform=platform, name=name) for name in ("one", "two", "three")]
    entries = [{"name": "one", "products_int8": share}, {"name": "two", "products_int8": share}]
    manifest = {"variants": [*entries, {"name": "three", "products_int8": None}]}
    return SimpleNamespace(spec=spec, variants=variants, manifest=manifest)


def test_remarks_tell_what_the_table_does_not() -> None:
    function = GateSpec("score", f"{FUNCTION}apart", {ANY: 2.0})
    found = Verification(
        (
            RESULT,
            replace(RESULT, stage="free", gate=None, loss=None),
            replace(RESULT, gate=function, loss=None),
        ),
        (replace(RESULT, variant="near", loss=0.25), replace(RESULT, variant="far", loss=3.0)),
    )
    first, second, third = remarks(bundle_of(GATE, function), found)
    assert first == f"TFLite and Core ML are at most 3 apart by {title(GATE)} (far), 2 passes: FAILED"
    assert second == "stage free is ungated: no gate depends on what it makes"
    assert third == f"score apart is {NOT_JUDGED}: it is a function of the pipeline's; give --pipeline FILE"
    assert list(remarks(bundle_of(GATE), Verification((RESULT,)))) == []
    (apple,) = remarks(bundle_of(GATE, platform="coreml"), Verification((RESULT,)))
    assert "not by Apple's runtime" in apple
    (shares,) = remarks(bundle_of(GATE, share=0.75), Verification((RESULT,)))
    assert shares == "share of multiplications in int8: one 75 %, two 75 %"
    (idle,) = remarks(bundle_of(GATE), Verification((replace(RESULT, loss=None),)))
    assert idle == f"{title(GATE)} is {NOT_JUDGED}: the golden inputs leave nothing to judge by it"


def test_figures_of_a_platform_stand_side_by_side_with_their_limits() -> None:
    found = [
        JudgedFigure("tflite-fp32", "worst", 0.00004, 0.01, passed=True),
        JudgedFigure("tflite-int8", "worst", 2.25, 1.5, passed=False),
        JudgedFigure("tflite-int8", "mean", 12.345),
        JudgedFigure("tflite-int8", "lost", NAN, 1.0, passed=False),
        JudgedFigure("coreml-fp16", "worst", -0.00001),
    ]
    lines = printed(figure_tables(found, 7))
    cells = [line.split() for line in lines]
    assert "tflite over 7 held-out inputs" in " ".join(lines)
    assert "coreml over 7 held-out" in " ".join(lines)
    assert ["fp32", "int8"] in cells
    assert ["worst", "0", "2.25", "*"] in cells
    assert ["limit", "0.01", "1.5"] in cells
    assert ["mean", "-", "12.3"] in cells
    assert ["lost", "-", "-"] in cells
    assert ["limit", "1"] in cells
    assert ["worst", "0"] in cells
    assert lines[-1] == "* fails its limit"


def test_pairs_have_a_table_of_their_own_and_nothing_failed_means_no_note() -> None:
    pair = f"tflite-int8{PAIR}coreml-w8a8"
    (table, *_) = figure_tables([JudgedFigure(pair, "worst", 0.5, 2.0, passed=True)], 3).renderables
    assert isinstance(table, Table)
    assert table.title == "TFLite and Core ML beside each other; limit of worst: 2"
    assert [line.split() for line in printed(table)][-2:] == [["tflite-int8", "0.5"], ["coreml-w8a8"]]
    (unlimited,) = figure_tables([JudgedFigure(pair, "mean", 0.5)], 3).renderables
    assert isinstance(unlimited, Table)
    assert unlimited.title == "TFLite and Core ML beside each other"


@pytest.mark.parametrize(("count", "more"), [(2, ""), (3, ""), (5, " and 2 more")])
def test_the_three_weights_that_are_farthest_off_are_named(count: int, more: str) -> None:
    differing = {f"w{place}": float(place) for place in range(1, count + 1)}
    line = failure_line(WeightsResult("coreml-fp16", "rate", "coreml-fp32", 9, differing, ()))
    named = [f"w{place} by {place} of its largest" for place in range(count, max(count - 3, 0), -1)]
    said = f"{count} of 9 stored weights are not those of coreml-fp32 in float16: {', '.join(named)}{more};"
    assert said in line
