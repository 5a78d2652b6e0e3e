"""A lost conversion leaves out the variants that it makes, and ends an export that has nothing else."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from mien.export.errors import ConversionError
from mien.export.running.jobs import Job
from mien.export.running.losses import lost_variants, told
from mien.export.variants import NAMES


def jobs() -> list[Job]:
    """Return the conversions of one model, as the plan has them but for their work."""
    makes = {
        "tflite": ("work/a/a.tflite", "tflite-fp32/a.tflite", "tflite-fp16/a.tflite", "ranges/a.json"),
        "coreml": ("coreml-fp32/a.mlpackage", "coreml-fp16/a.mlpackage", "warnings/a.coreml.json"),
        "coreml-w8a8": ("coreml-w8a8/a.mlpackage",),
    }
    return [
        Job(f"{route} a", Path(f"{route}.log"), lambda: None, (), places) for route, places in makes.items()
    ]


def found(*routes: str, asked: Sequence[str] = ()) -> dict[str, ConversionError]:
    """Lose conversions."""
    lost = {f"{route} a": ConversionError(f"{route} a: no such operation") for route in routes}
    return lost_variants(jobs(), lost, asked)


def test_what_a_lost_conversion_makes_is_left_out_and_told_in_one_line() -> None:
    assert found() == {}
    assert list(found("coreml-w8a8")) == ["coreml-w8a8"]
    lost = found("coreml")
    assert told(lost, NAMES) == [
        "coreml-fp32, coreml-fp16 left out, for a conversion was lost: coreml a: no such operation"
    ]
    # What nobody wanted is not told.
    assert told(lost, ["tflite-fp32", "coreml-w8a8"]) == []


@pytest.mark.parametrize("routes", [("tflite",), ("tflite", "coreml")])
def test_without_float_of_tflite_there_is_no_bundle(routes: tuple[str, ...]) -> None:
    with pytest.raises(ConversionError, match=f"{len(routes)} of 3 conversions lost, no bundle is made"):
        found(*routes)


def test_nor_without_anything_that_was_asked_for() -> None:
    assert found("coreml", asked=["coreml-fp16", "tflite-fp16"])
    with pytest.raises(ConversionError, match="1 of 3 conversions lost, no bundle is made: coreml a"):
        found("coreml", asked=["coreml-fp16"])
