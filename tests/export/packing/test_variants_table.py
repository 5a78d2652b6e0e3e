"""The table of what an export made."""

from io import StringIO
from typing import Any

from rich.console import Console

from mien.export.packing.variants_table import variants_table
from mien.mobile_reference.contract import SCALAR, GateSpec, PipelineSpec, StageSpec, TensorSpec

SPEC = PipelineSpec(
    name="grader",
    tensors=(TensorSpec("x", (1, 4), "float32", 1, ""), TensorSpec("grade", (1,), "float32", 100, "")),
    stages=(StageSpec("rate", ("x",), ("grade",)),),
    gates=(GateSpec("grade", SCALAR, {"fp32": 0.01, "int8": 2.0}),),
)


def _entry(name: str, size: int, points: float | None, **more: Any) -> dict[str, Any]:
    return {"name": name, "measured": {"bytes": size, "points": points}, **more}


MANIFEST = {
    "variants": [
        _entry("tflite-fp32", 4_000_000, 0.0001, products_int8=0.0),
        _entry("tflite-int8", 1_000_000, 0.5, products_int8=0.97),
        _entry("coreml-fp16", 2_000_000, 0.02, products_int8=None),
    ],
    "choice": {"tflite": "tflite-int8"},
    "left_out": [_entry("coreml-w8a8", 1_000_000, None)],
}


def _rows() -> list[list[str]]:
    out = StringIO()
    Console(file=out, width=80).print(variants_table(SPEC, MANIFEST))
    return [line.split() for line in out.getvalue().splitlines()]


def test_it_says_what_each_variant_costs_and_which_to_take() -> None:
    rows = _rows()
    assert ["tflite-fp32", "4.00", "0.0001", "0.01", "0"] in rows
    assert ["tflite-int8", "1.00", "0.5", "2", "97", "take", "this", "one"] in rows


def test_what_is_not_counted_or_not_asked_is_empty() -> None:
    assert ["coreml-fp16", "2.00", "0.02"] in _rows()


def test_what_was_left_out_is_named_with_a_number_that_is_none() -> None:
    assert ["coreml-w8a8", "1.00", "NaN", "2", "left", "out"] in _rows()
