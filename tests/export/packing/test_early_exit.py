"""Stages are left out where the conversions were seen to give the same bits, and nowhere else."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mien.export.packing.early_exit import EarlyExit, EarlyExitTrial
from mien.export.packing.variant_selection import Judgement, not_left_early
from mien.mobile_reference.contract import (
    PICTURE,
    SCALAR,
    GateSpec,
    PipelineSpec,
    SkipSpec,
    StageSpec,
    TensorSpec,
)

Array = NDArray[np.float32]
SPEC = PipelineSpec(
    name="painter",
    tensors=(
        TensorSpec("image", (1, 2, 2, 1), "uint8", 255, "", PICTURE),
        TensorSpec("mask", (1, 2, 2, 1), "float32", 1, "", PICTURE),
        TensorSpec("painted", (1, 2, 2, 1), "float32", 255, "", PICTURE),
        TensorSpec("grade", (1,), "float32", 100, ""),
    ),
    stages=(
        StageSpec("mark", ("image",), ("mask",)),
        StageSpec("paint", ("image", "mask"), ("painted",), SkipSpec("mask", {"painted": "image"})),
        StageSpec("rate", ("image", "painted"), ("grade",)),
    ),
    whole=StageSpec("whole", ("image",), ("grade", "painted")),
    gates=(GateSpec("grade", SCALAR, {"any": 1.0}),),
)
DARK = {"image": np.full((1, 2, 2, 1), 10, np.uint8)}
BRIGHT = {"image": np.full((1, 2, 2, 1), 200, np.uint8)}


def mark(image: NDArray[np.uint8]) -> Array:
    return (image > 100).astype(np.float32)


def paint(image: NDArray[np.uint8], mask: Array) -> Array:
    return image - mask * 3


def rate(image: NDArray[np.uint8], painted: Array) -> Array:
    return np.float32(100) - np.abs(image - painted).mean(axis=(1, 2, 3))


def tried(
    *inputs: dict[str, Any], spec: PipelineSpec = SPEC, shift: float = 0, **stages: Callable[..., Array]
) -> EarlyExit:
    """Try the functions, some of them others; the end-to-end model is ``shift`` from what the stages make."""
    functions: dict[str, Callable[..., Array]] = {"mark": mark, "paint": paint, "rate": rate, **stages}

    def model(stage: StageSpec) -> Callable[[Any], dict[str, Array]]:
        return lambda given: {stage.outputs[0]: functions[stage.name](*(given[n] for n in stage.inputs))}

    trial = EarlyExitTrial(spec, {stage.name: model(stage) for stage in spec.stages})
    for number, given in enumerate(inputs):
        painted = paint(given["image"], mark(given["image"]))
        made = {"painted": painted, "grade": rate(given["image"], painted) + np.float32(shift)}
        trial.add(f"input {number}", given, made)
    return trial.result


@pytest.mark.parametrize("whole", [SPEC.whole, None])
def test_what_has_the_same_bits_may_leave_early(whole: StageSpec | None) -> None:
    found = tried(DARK, BRIGHT, DARK, spec=replace(SPEC, whole=whole))
    assert found == EarlyExit(3, 2)
    assert found.is_exact
    assert found.record() == {"inputs": 3, "left": 2}


@pytest.mark.parametrize("whole", [SPEC.whole, None])
def test_a_stage_that_does_not_keep_its_word_is_not_left_out(whole: StageSpec | None) -> None:
    last_bit = np.float32(1 + 2**-23)
    found = tried(
        BRIGHT,
        DARK,
        spec=replace(SPEC, whole=whole),
        paint=lambda image, mask: (paint(image, mask) * last_bit).astype(np.float32),
    )
    assert found == EarlyExit(2, 1, "painted of input 1")
    assert found.record() is None


def test_an_end_to_end_model_of_other_bits_is_not_replaced() -> None:
    assert tried(DARK, shift=1e-5).differing == "grade of input 0"


def test_what_no_input_shows_is_not_done() -> None:
    found = tried(BRIGHT)
    assert found == EarlyExit(1, 0)
    assert not found.is_exact
    assert found.record() is None


def test_a_zero_of_another_sign_is_another() -> None:
    zero = replace(SPEC.stages[1], skip_when=SkipSpec("mask", {"painted": 0}))
    spec = replace(SPEC, stages=(SPEC.stages[0], zero, SPEC.stages[2]))
    black = {"image": np.zeros((1, 2, 2, 1), np.uint8)}
    assert tried(black, spec=spec).is_exact
    assert not tried(black, spec=spec, paint=lambda image, mask: -paint(image, mask)).is_exact


def test_the_export_says_what_leaves_nothing_out_and_why() -> None:
    def judged(found: EarlyExit | None) -> Judgement:
        return Judgement("tflite-fp16", 0.1, 100, 0.01, early_exit=found)

    assert not_left_early([judged(None), judged(EarlyExit(3, 2))]) == ()
    assert not_left_early([judged(EarlyExit(3, 2, "painted of nobody")), judged(EarlyExit(3, 0))]) == (
        "tflite-fp16 leaves no stage out: painted of nobody would not be the same to the last bit",
        "tflite-fp16 leaves no stage out: no golden input shows it may",
    )
