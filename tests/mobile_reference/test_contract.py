"""A pipeline as data: what is written is read back, and whatever contradicts itself is named."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mien.mobile_reference.bundle.reader import manifest_schema
from mien.mobile_reference.contract import (
    ABOVE,
    ANY,
    AS_IT_IS,
    BELOW,
    COLOUR,
    CORRELATION,
    EACH,
    FUNCTION,
    GREY,
    IOU,
    LIKE_FP16,
    LIKE_INT8,
    MEAN,
    OVERLAY,
    PICTURE,
    RANK,
    RELATIVE,
    SCALAR,
    SET,
    FrontSpec,
    GateSpec,
    LimitSpec,
    PipelineSpec,
    RefusalSpec,
    SkipSpec,
    StageSpec,
    TensorSpec,
    ViewSpec,
    problems,
    read_pipeline,
)
from mien.mobile_reference.front.colour import COLOUR_RULE
from mien.mobile_reference.front.quality import MEASURES
from mien.mobile_reference.schema import Schema
from tests.mobile_reference.conftest import ALIGNMENT, SPEC

NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,12}", fullmatch=True)
NAME_LISTS = st.lists(NAMES, min_size=1, max_size=3).map(tuple)
NUMBERS = st.floats(0, allow_nan=False, allow_infinity=False)
POINTS = st.floats(-4096, 4096)
OBJECTS = st.dictionaries(st.text(max_size=5), st.none() | st.integers() | st.text(max_size=5), max_size=3)
SKIPS = st.builds(
    SkipSpec, zero=NAMES, outputs=st.dictionaries(NAMES, NAMES | NUMBERS, min_size=1, max_size=3)
)
STAGES = st.builds(StageSpec, name=NAMES, inputs=NAME_LISTS, outputs=NAME_LISTS, skip_when=st.none() | SKIPS)
SPECS = st.builds(
    PipelineSpec,
    name=NAMES,
    tensors=st.lists(
        st.builds(
            TensorSpec,
            name=NAMES,
            shape=st.lists(st.integers(1, 4096), max_size=5).map(tuple),
            dtype=st.sampled_from(["uint8", "int32", "float32"]),
            full_scale=NUMBERS.filter(bool),
            meaning=st.text(max_size=9),
            layout=st.sampled_from([PICTURE, AS_IT_IS]),
        ),
        min_size=1,
        max_size=3,
    ).map(tuple),
    stages=st.lists(STAGES, min_size=1, max_size=3).map(tuple),
    gates=st.lists(
        st.builds(
            GateSpec,
            tensor=NAMES,
            metric=st.sampled_from([SCALAR, MEAN, RANK, CORRELATION, IOU]),
            limits=st.dictionaries(NAMES, NUMBERS, min_size=1, max_size=3),
            over=st.sampled_from([EACH, SET]),
        ),
        min_size=1,
        max_size=3,
    ).map(tuple),
    front=st.none()
    | st.builds(
        FrontSpec,
        kind=st.just("face-alignment"),
        outputs=st.tuples(NAMES),
        rule=st.just(ALIGNMENT),
        models=st.tuples(STAGES),
        colour=st.sampled_from([None, COLOUR_RULE]),
    ),
    whole=st.none() | STAGES,
    views=st.lists(
        st.builds(ViewSpec, tensor=NAMES, kind=st.sampled_from([OVERLAY, GREY, COLOUR])), max_size=2
    ).map(tuple),
    refusals=st.none()
    | st.builds(
        RefusalSpec,
        region_centre=st.tuples(POINTS, POINTS),
        region_radii=st.tuples(st.floats(1, 1024), st.floats(1, 1024)),
        region_exponent=st.floats(0.5, 16),
        limits=st.lists(
            st.builds(
                LimitSpec,
                measure=st.sampled_from([measure.name for measure in MEASURES]),
                worse=st.sampled_from([ABOVE, BELOW]),
                note=st.none() | NUMBERS,
                refuse=st.none() | NUMBERS,
            ),
            max_size=3,
        ).map(tuple),
    ),
)
REFUSALS = RefusalSpec(
    (128.0, 142.0),
    (70.0, 85.0),
    3.0,
    (LimitSpec("turn", ABOVE, 0.6, 0.9), LimitSpec("roll", ABOVE, 30, None)),
)
BARE = PipelineSpec("bare", SPEC.tensors, SPEC.stages, SPEC.gates)
SKIP = SkipSpec("mask", {"normalised": 0.5})
FULL = replace(
    SPEC,
    front=replace(SPEC.front, colour=COLOUR_RULE),
    stages=(*SPEC.stages[:2], replace(SPEC.stages[2], skip_when=SKIP), SPEC.stages[3]),
    refusals=REFUSALS,
)


@given(SPECS)
@example(SPEC)
@example(BARE)
@example(FULL)
def test_a_pipeline_is_read_back_from_its_json_as_it_was(spec: PipelineSpec):
    text = json.dumps(spec.record(), allow_nan=False)
    found = read_pipeline(json.loads(text))
    assert found == spec
    # Tuples stay tuples: a list that crept in would not be equal, and no field is left out of the comparison.
    assert found.record() == spec.record()


@given(SPECS)
@example(SPEC)
@example(BARE)
@example(FULL)
def test_the_record_of_a_pipeline_is_what_the_schema_of_the_manifest_takes(spec: PipelineSpec):
    record = json.loads(json.dumps(spec.record()))
    definition = manifest_schema().definition
    for key, value in record.items():
        assert Schema(definition["properties"][key] | {"$defs": definition["$defs"]}).problems(value) == []
    assert set(record) < set(definition["required"])


def test_what_is_null_is_written_as_null():
    record = json.loads(json.dumps(BARE.record()))
    assert (record["front"], record["whole"], record["refusals"]) == (None, None, None)
    assert {stage["skip_when"] for stage in record["stages"]} == {None}
    assert SPEC.record()["front"]["colour"] is None


def test_what_is_not_null_survives():
    found = read_pipeline(json.loads(json.dumps(FULL.record())))
    assert found.stages[2].skip_when == SKIP
    assert found.front is not None
    assert found.front.colour == COLOUR_RULE
    assert found.refusals == REFUSALS


@pytest.mark.parametrize("field", ["front", "whole", "refusals", "views", "gates", "stages", "tensors"])
def test_a_field_left_out_is_no_null(field: str):
    record = SPEC.record()
    del record[field]
    with pytest.raises(KeyError, match=field):
        read_pipeline(record)


LIMITS = {"tflite-int8": 0.3, "int8": 1.0, ANY: 2.0}


@pytest.mark.parametrize(
    ("limits", "variant", "limit"),
    [
        (LIMITS, "tflite-int8", 0.3),
        (LIMITS, "coreml-int8", 1.0),
        (LIMITS, "coreml-fp16", 2.0),
        (LIMITS, "tflite-int8w", 1.0),
        ({"int8": 1.0, ANY: 2.0}, "tflite-int8", 1.0),
        ({"tflite-int8": 0.3}, "coreml-int8", None),
        ({"fp16": 0.1}, "tflite-int8", None),
        ({"tflite": 5.0}, "tflite-int8", None),
        *(({"int8": 1.0, ANY: 2.0}, f"coreml-{like}", 1.0) for like in LIKE_INT8),
        *(({"fp16": 0.1, ANY: 2.0}, f"tflite-{like}", 0.1) for like in LIKE_FP16),
        ({"fp16": 0.1, "half": 0.2}, "tflite-half", 0.2),
        ({"int8": 1.0, "pal4": 3.0}, "coreml-pal4", 3.0),
        ({"int8": 1.0}, "coreml-fp16", None),
        ({"int8": 0.0, ANY: 2.0}, "tflite-int8", 0.0),
    ],
)
def test_a_limit_is_that_of_the_variant_else_of_the_precision_else_of_any(
    limits: dict[str, float], variant: str, limit: float | None
):
    assert GateSpec("score", SCALAR, limits).limit(variant) == limit


def stage(name: str, **changed: Any) -> tuple[StageSpec, ...]:
    """The stages with one of them changed."""
    return tuple(replace(one, **changed) if one.name == name else one for one in SPEC.stages)


assert SPEC.whole is not None
WHOLE = SPEC.whole
CONTRADICTIONS: dict[str, dict[str, Any]] = {
    "tensor mask is described twice": {"tensors": (*SPEC.tensors, SPEC.tensor("mask"))},
    "model mask stands twice": {"whole": replace(WHOLE, name="mask")},
    "two models make tensor mask": {"stages": stage("heatmap", outputs=("heat", "mask"))},
    "two models make tensor candidates": {"stages": stage("heatmap", outputs=("heat", "candidates"))},
    "nothing describes tensor heat": {"tensors": tuple(t for t in SPEC.tensors if t.name != "heat")},
    "nothing describes tensor smile": {"gates": (*SPEC.gates, GateSpec("smile", IOU, {ANY: 0.1}, SET))},
    "nothing describes tensor frown": {"views": (ViewSpec("frown", GREY),)},
    "tensor score is laid out NHWC, so it has four axes, not 1": {
        "tensors": (*SPEC.tensors[:-1], replace(SPEC.tensors[-1], layout=PICTURE))
    },
    "stage heatmap reads mask, which a stage behind it makes": {
        "stages": stage("heatmap", inputs=("face", "mask"))
    },
    "no stage makes candidates, which appraisal gives": {
        "whole": replace(WHOLE, outputs=(*WHOLE.outputs, "candidates"))
    },
    "appraisal reads heat, which is not an input": {"whole": replace(WHOLE, inputs=("heat",))},
    "neither the front nor a stage makes tensor candidates": {
        "stages": stage("mask", inputs=("heat", "candidates"))
    },
    "no model that an app runs gives heat, which a gate asks for": {
        "gates": (*SPEC.gates, GateSpec("heat", CORRELATION, {ANY: 0.01}, SET))
    },
    "no model that an app runs gives candidates, which a gate asks for": {
        "whole": None,
        "gates": (*SPEC.gates, GateSpec("candidates", CORRELATION, {ANY: 0.01}, SET)),
    },
    "no model that an app runs gives face, which a gate asks for": {
        "gates": (*SPEC.gates, GateSpec("face", CORRELATION, {ANY: 0.01}, SET))
    },
    "no model that an app runs gives mask, which a view shows": {
        "whole": replace(WHOLE, outputs=("score", "heatmap", "normalised")),
        "gates": SPEC.gates[:-1],
    },
    "scalar is of one value, heatmap has 4096; ask for relative of it": {
        "gates": (*SPEC.gates, GateSpec("heatmap", SCALAR, {ANY: 1.0}))
    },
    "rank is of one value, heatmap has 4096; ask for relative of it": {
        "gates": (*SPEC.gates, GateSpec("heatmap", RANK, {ANY: 0.1}, SET))
    },
    "iou is of several values, score has one; ask for scalar of it": {
        "gates": (*SPEC.gates, GateSpec("score", IOU, {ANY: 0.1}, SET))
    },
    "the limit of iou of heatmap is what may be lost of 1, less than 0.5, not 0.97": {
        "gates": (*SPEC.gates, GateSpec("heatmap", IOU, {ANY: 0.97}, SET))
    },
    "iou of mask is judged over set, not over each": {
        "gates": (*SPEC.gates[:-1], replace(SPEC.gates[-1], over=EACH))
    },
    "scalar of score is judged over each, not over set": {
        "gates": (replace(SPEC.gates[0], over=SET), *SPEC.gates[1:])
    },
    "two gates ask for iou of mask": {"gates": (*SPEC.gates, SPEC.gates[-1])},
    "view normalised is not a map of 1 channels of the size of an input picture": {
        "views": (ViewSpec("normalised", GREY),)
    },
    "view mask is not a map of 3 channels of the size of an input picture": {
        "views": (ViewSpec("mask", COLOUR),)
    },
    "view score is not a map of 1 channels of the size of an input picture": {
        "views": (ViewSpec("score", OVERLAY),)
    },
    "view heat is not a map of 1 channels of the size of an input picture": {
        "whole": None,
        "views": (ViewSpec("heat", GREY),),
    },
    "no gate is given, so nothing could be judged": {"gates": ()},
    "the first gate compares variants input by input and in every reader, which mean does not": {
        "gates": (GateSpec("score", MEAN, {ANY: 1.0}, SET),)
    },
    "the first gate compares variants input by input and in every reader, which function:mine does not": {
        "gates": (GateSpec("score", FUNCTION + "mine", {ANY: 1.0}),)
    },
    "skip_when of inpaint gives painted, the stage makes normalised": {
        "stages": stage("inpaint", skip_when=SkipSpec("mask", {"painted": 0}))
    },
    "skip_when of inpaint reads score, which is not known before it": {
        "stages": stage("inpaint", skip_when=SkipSpec("score", {"normalised": "face"}))
    },
    "skip_when of inpaint reads normalised, which is not known before it": {
        "stages": stage("inpaint", skip_when=SkipSpec("mask", {"normalised": "normalised"}))
    },
    "skip_when of inpaint reads smile, which is not known before it": {
        "stages": stage("inpaint", skip_when=SkipSpec("mask", {"normalised": "smile"}))
    },
    "skip_when of inpaint: mask is not of the shape and type of normalised": {
        "stages": stage("inpaint", skip_when=SkipSpec("mask", {"normalised": "mask"}))
    },
    "skip_when of inpaint: normalised is float32, which 1e+39 is not": {
        "stages": stage("inpaint", skip_when=SkipSpec("mask", {"normalised": 1e39}))
    },
    "appraisal is not a stage, so nothing may leave it out": {
        "whole": replace(WHOLE, skip_when=SkipSpec("face", dict.fromkeys(WHOLE.outputs, 0)))
    },
    "one overlay can be shown, not heatmap, mask": {
        "views": (ViewSpec("heatmap", OVERLAY), ViewSpec("mask", OVERLAY))
    },
}


@pytest.mark.parametrize("problem", CONTRADICTIONS)
def test_a_contradiction_is_named_and_nothing_else(problem: str):
    assert list(problems(replace(SPEC, **CONTRADICTIONS[problem]))) == [problem]


@pytest.mark.parametrize(
    ("kind", "value", "sound"),
    [
        ("uint8", 255, True),
        ("uint8", 256, False),
        ("uint8", 0.5, False),
        ("int32", -(1 << 31), True),
        ("int32", 1 << 31, False),
        ("int32", 1e300, False),
        ("float32", -0.1, True),
        ("float32", float("inf"), False),
        ("float32", float("nan"), False),
    ],
)
def test_a_stage_that_is_left_out_makes_numbers_that_its_type_has(kind: str, value: float, *, sound: bool):
    tensors = tuple(replace(t, dtype=kind) if t.name == "normalised" else t for t in SPEC.tensors)
    skipped = stage("inpaint", skip_when=SkipSpec("mask", {"normalised": value}))
    assert list(problems(replace(SPEC, tensors=tensors, stages=skipped, views=()))) == (
        [] if sound else [f"skip_when of inpaint: normalised is {kind}, which {value:g} is not"]
    )


@pytest.mark.parametrize(("source", "sound"), [("uint8", True), ("float32", False), ("int32", True)])
def test_values_are_passed_on_where_no_bit_is_lost(source: str, *, sound: bool):
    tensors = tuple(
        replace(t, dtype={"face": source, "normalised": "int32"}.get(t.name, t.dtype)) for t in SPEC.tensors
    )
    skipped = stage("inpaint", skip_when=SkipSpec("mask", {"normalised": "face"}))
    assert list(problems(replace(SPEC, tensors=tensors, stages=skipped, views=()))) == (
        [] if sound else ["skip_when of inpaint: face is not of the shape and type of normalised"]
    )


def test_a_repeated_name_is_said_once():
    thrice = (*SPEC.tensors, SPEC.tensor("mask"), SPEC.tensor("mask"))
    assert list(problems(replace(SPEC, tensors=thrice))) == ["tensor mask is described twice"]


SOUND: dict[str, Callable[[], PipelineSpec]] = {
    "as it is": lambda: SPEC,
    "bare": lambda: BARE,
    "full": lambda: FULL,
    "a map alone is asked for": lambda: replace(SPEC, gates=(GateSpec("heatmap", RELATIVE, {ANY: 0.1}),)),
    "no views": lambda: replace(SPEC, views=()),
    "a stage is left out by a picture that goes in": lambda: replace(
        SPEC, stages=stage("inpaint", skip_when=SkipSpec("face", {"normalised": "face"}))
    ),
    "a view of the input": lambda: replace(SPEC, views=(ViewSpec("face", COLOUR),)),
    "without an end-to-end model any stage's tensor may be asked for": lambda: replace(
        SPEC, whole=None, gates=(*SPEC.gates, GateSpec("heat", CORRELATION, {ANY: 0.01}, SET))
    ),
}


@pytest.mark.parametrize("case", SOUND)
def test_a_sound_pipeline_has_no_problem(case: str):
    assert list(problems(SOUND[case]())) == []


def test_the_contract_answers_for_its_stages():
    assert SPEC.inputs == ("face",)
    assert [one.name for one in SPEC.models] == ["detector", *(s.name for s in SPEC.stages), "appraisal"]
    assert SPEC.served == (WHOLE,)
    assert BARE.served == SPEC.stages
    assert [SPEC.before(name) for name in ("heatmap", "mask", "appraisal")] == [None, "heatmap", None]
    assert [one.name for one in SPEC.after("mask")] == ["inpaint", "compare"]
    assert [SPEC.maker(name) for name in ("face", "heat", "score")] == [None, "heatmap", "compare"]
    assert SPEC.map_of(WHOLE).name == "heatmap"
    assert SPEC.tensor("heat").channels_second == (1, 1, 16, 16)
    assert SPEC.tensor("candidates").channels_second == (1, 896, 17)


@pytest.mark.parametrize(
    ("limit", "wrong"),
    [
        (LimitSpec("turn", ABOVE, 0.9, 0.6), "turn is refused at 0.6, before it gets a note at 0.9"),
        (
            LimitSpec("contrast", BELOW, 7, 14),
            "contrast is refused at 14, before it gets a note at 7",
        ),
        (LimitSpec("turn", ABOVE, 0.6, 0.6), None),
        (LimitSpec("turn", ABOVE, None, 0.6), None),
    ],
)
def test_a_limit_that_refuses_before_it_notes_is_a_problem(limit: LimitSpec, wrong: str | None):
    found = list(problems(replace(SPEC, refusals=replace(REFUSALS, limits=(limit,)))))
    assert found == ([] if wrong is None else [wrong])


def test_two_limits_of_a_measure_are_a_problem():
    twice = replace(REFUSALS, limits=REFUSALS.limits * 2)
    assert "measure turn has two limits" in list(problems(replace(SPEC, refusals=twice)))


def test_refusals_of_a_pipeline_that_takes_no_photographs_are_a_problem():
    assert any("without a front" in found for found in problems(replace(BARE, refusals=REFUSALS)))
