"""Variants whose gates do not hold are left out and named; without float32 no bundle is made."""

import math

import pytest

from mien.export.errors import ConversionError
from mien.export.packing.variant_selection import Judgement, not_held
from mien.mobile_reference.contract import PICTURE, SCALAR, GateSpec, PipelineSpec, StageSpec, TensorSpec

SPEC = PipelineSpec(
    name="grader",
    tensors=(
        TensorSpec("image", (1, 8, 8, 3), "uint8", 255, "", PICTURE),
        TensorSpec("grade", (1,), "float32", 100, ""),
    ),
    stages=(StageSpec("rate", ("image",), ("grade",)),),
    gates=(GateSpec("grade", SCALAR, {"any": 1.0}),),
)
FLOAT = Judgement("tflite-fp32", 0.01, 100, 0.001)


def test_what_holds_is_not_left_out() -> None:
    # Between a third of its tolerance and all of it a variant is not chosen, and packed all the same.
    near = Judgement("tflite-int8", 1.0, 40, 0.9)
    assert near.holds
    assert not near.passed
    assert not_held([FLOAT, near], SPEC) == ()


@pytest.mark.parametrize(
    ("judgement", "said"),
    [
        (Judgement("tflite-int8", 1.0, 40, 1.5), "scalar of grade is 1.5, at most 1"),
        (Judgement("tflite-int8", 1.0, 40, math.nan), "scalar of grade is nan, at most 1"),
        (Judgement("tflite-int8", 1.0, 40, 0.1, ("iou of mask is off by 0.2, at most 0.1",)), "iou of mask"),
    ],
    ids=["the first gate", "not a number", "another gate"],
)
def test_what_does_not_hold_is_left_out_and_says_why(judgement: Judgement, said: str) -> None:
    (warning,) = not_held([FLOAT, judgement], SPEC)
    assert warning.startswith("tflite-int8 is left out, for on the golden inputs ")
    assert said in warning


def test_without_float32_there_is_no_bundle() -> None:
    with pytest.raises(ConversionError, match=r"no bundle is made: tflite-fp32 .* scalar of grade is 0\.5"):
        not_held([Judgement("tflite-fp32", 0.01, 100, 0.5)], SPEC)
