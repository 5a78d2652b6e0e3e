"""What the manifest's schema refuses is refused before the first conversion, in one line."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from torch import Tensor, nn

from mien.export.errors import ExportError
from mien.export.packing.packing import CalibrationRecord, check_said, manifest_head
from mien.export.packing.variant_selection import check_limits
from mien.mobile_reference.contract import SCALAR, GateSpec
from mien.mobile_reference.errors import ResultError
from mien.models.gates import scalar
from mien.models.pipeline import Front, Golden, Inputs, Pipeline, Sample, Stage

CALIBRATION = CalibrationRecord(4, "0" * 64, ())


class Mean(nn.Module):
    def forward(self, picture: Tensor) -> Tensor:
        return picture.float().mean(dim=(1, 2, 3))[:, None]


def pipeline(name: str = "grader") -> Pipeline:
    return Pipeline(
        name=name,
        stages=(Stage("grade", Mean().eval(), ("picture",), ("grade",)),),
        gates=(scalar("grade", fp32=0.1, fp16=0.1, int8=1),),
        example={"picture": np.zeros((1, 16, 16, 3), np.uint8)},
        inputs=Inputs(),
        weights="f" * 64,
    )


def golden(one: Pipeline, name: str = "someone", **found: Any) -> Golden:
    return Golden(Sample(name, one.run(one.example)), None, found)


def test_what_the_schema_takes_is_returned():
    one = pipeline()
    head = manifest_head(one, [golden(one)], CALIBRATION)
    assert head["name"] == "grader"
    assert head["goldens"][0]["vectors"]["grade"] == "golden/someone/grade.npy"


@pytest.mark.parametrize("name", ["my model", "modèle", "", "a/b", "-x", "x" * 101])
def test_a_name_that_the_schema_refuses_is_refused(name: str):
    one = pipeline(name)
    with pytest.raises(ExportError, match=r"name in the manifest: .* does not match"):
        manifest_head(one, [golden(one)], CALIBRATION)


def test_what_a_pipeline_says_is_checked_before_anything_runs():
    silent = replace(pipeline(), example=None)
    check_said(silent)
    with pytest.raises(ExportError, match="name in the manifest"):
        check_said(replace(silent, name="my model"))
    with pytest.raises(ResultError, match="record/evidence"):
        check_said(replace(silent, record={"evidence": float("inf")}))
    with pytest.raises(ExportError, match=r"gates/0/limits/fp32 in the manifest: -1\.0 is less"):
        check_said(replace(silent, gates=(GateSpec("grade", SCALAR, {"fp32": -1.0}),)))


def test_the_name_of_a_golden_input_is_checked_too():
    one = pipeline()
    with pytest.raises(ExportError, match="goldens/0/name in the manifest"):
        manifest_head(one, [golden(one, "so meone")], CALIBRATION)


def _rule(**changed: Any) -> Mapping[str, Any]:
    return {
        "size": 16,
        "template": [[1.0, 1.0]] * 4,
        "keypoints": ["x"] * 6,
        "score": 0.5,
        "overlap": 0.3,
        "second_look": 2.0,
        "smallest": 8.0,
        "detector_size": 16,
        "coordinates": "",
        "resampling": "",
        "snap": 0.125,
        **changed,
    }


def with_front(rule: Mapping[str, Any]) -> Pipeline:
    detector = Stage("detector", Mean().eval(), ("picture",), ("candidates",))
    front = Front("face-alignment", ("face",), rule, (detector,))
    example = {name: np.zeros((1, 16, 16, 3), np.uint8) for name in ("picture", "face")}
    grade = Stage("grade", Mean().eval(), ("face",), ("grade",))
    return replace(pipeline(), front=front, example=example, stages=(grade,))


def test_the_rule_of_a_front_is_checked():
    one = with_front(_rule())
    assert manifest_head(one, [golden(one)], CALIBRATION)["front"]["rule"]["overlap"] == 0.3
    one = with_front(_rule(overlap=1.5))
    with pytest.raises(ExportError, match=r"front/rule/overlap in the manifest: 1.5 is greater than"):
        manifest_head(one, [golden(one)], CALIBRATION)


def test_a_number_that_is_not_finite_is_refused():
    one = replace(pipeline(), record={"evidence": float("nan")})
    with pytest.raises(ResultError, match="record/evidence"):
        manifest_head(one, [golden(one)], CALIBRATION)


def test_limits_for_what_there_is_not_are_refused():
    spec = replace(pipeline(), example=None).declared
    check_limits(spec)
    check_limits(replace(spec, gates=()))
    misspelt = replace(spec, gates=(*spec.gates, scalar("grade", fp61=1)))
    with pytest.raises(ExportError, match="a limit for fp61, neither a variant nor a precision"):
        check_limits(misspelt)


def test_a_variant_that_the_first_gate_does_not_judge_is_refused():
    spec = replace(pipeline(), gates=(scalar("grade", fp32=0.1, fp16=0.1),)).declared
    check_limits(spec, ("tflite-fp32", "coreml-fp16"))
    with pytest.raises(ExportError, match=r"no limit above 0 for int8; give one, such as int8="):
        check_limits(spec, ("tflite-fp32", "tflite-int8"))
