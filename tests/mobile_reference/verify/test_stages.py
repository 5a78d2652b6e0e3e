"""Parity on numpy stand-ins: a gate that fails names its stage, and nothing passes that did not run."""

import json
import math
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from mien.mobile_reference.bundle.reader import open_bundle
from mien.mobile_reference.commands.console import main
from mien.mobile_reference.commands.verify import verify as verify_command
from mien.mobile_reference.contract import TensorSpec
from mien.mobile_reference.tflite.half import FLOAT32, FORCED
from mien.mobile_reference.verify.stages import (
    PAIR,
    Deviation,
    StageResult,
    Verification,
    peak_signal_to_noise,
    verify,
)
from mien.mobile_reference.verify.stages_tables import remarks
from tests.mobile_reference.conftest import SPEC, faithful

RESULTS = ("detector", "heatmap", "mask", "inpaint", "compare", "cascade", "appraisal", "photograph")


def spoil(wrong: str, by: float) -> Any:
    """Return a disturbance that adds to every output of one model of the fp16 variant."""

    def disturb(variant: str, model: str, outputs: dict[str, Any]) -> dict[str, Any]:
        if (variant, model) != ("tflite-fp16", wrong):
            return outputs
        return {name: value + np.float32(by) for name, value in outputs.items()}

    return disturb


def ignore(deviation: Deviation) -> None:
    pass


def test_a_faithful_bundle_passes_every_gate(fake: Any, stand_in: Any):
    stand_in(faithful)
    seen: list[Deviation] = []
    found = verify(open_bundle(fake.path), seen.append)
    assert found.failures == ()
    first = [r for r in found.results if r.gate == SPEC.rating]
    assert [(r.variant, r.stage) for r in first] == [
        (variant, stage) for variant in ("tflite-fp32", "tflite-fp16", "coreml-fp16") for stage in RESULTS
    ]
    assert len(seen) == len(first)
    assert [r.passed for r in found.results if r.passed is not True] == [None] * 24  # ranks of one input
    assert {r.limit for r in found.results if r.gate == SPEC.rating} == {0.01, 0.1}


def test_no_model_is_run_twice_on_the_same_inputs(fake: Any, stand_in: Any):
    run: dict[str, list[str]] = {}

    def counted(variant: str, model: str, outputs: dict[str, Any]) -> dict[str, Any]:
        run.setdefault(variant, []).append(model)
        return outputs

    stand_in(counted)
    bundle = open_bundle(fake.path)
    verify(bundle, ignore)
    # Faithful stages hand on what the golden input has: alone, in the chain and from the photograph.
    once = ["appraisal", *(stage.name for stage in SPEC.stages)]
    assert [run["coreml-fp16"].count(name) for name in once] == [len(bundle.goldens)] * len(once)


@pytest.mark.parametrize("beside", [[], ["tflite-fp16"]])
def test_a_variant_is_judged_alike_alone_and_beside_any_other(fake: Any, stand_in: Any, beside: list[str]):
    """What its stages leave to do is finished by the most exact variant, judged or not."""
    stand_in(spoil("compare", 3.0))
    bundle = open_bundle(fake.path)
    own, every = (
        [result for result in verify(judged, ignore).results if result.variant == "coreml-fp16"]
        for judged in (bundle.only([*beside, "coreml-fp16"]), bundle)
    )
    assert own == every
    assert all(result.passed is not False for result in own)


def test_a_bundle_without_float32_is_judged_and_may_fail(fake: Any, stand_in: Any):
    fake.manifest["variants"] = fake.manifest["variants"][1:2]
    fake.save()
    stand_in(faithful)
    found = verify(open_bundle(fake.path), ignore)
    assert found.failures == ()
    assert {result.variant for result in found.results} == {"tflite-fp16"}
    stand_in(spoil("compare", 3.0))
    assert "compare" in {result.stage for result in verify(open_bundle(fake.path), ignore).failures}


@pytest.mark.parametrize("stage", ["heatmap", "mask", "inpaint", "compare", "appraisal"])
def test_a_stage_that_is_off_is_named_with_what_depends_on_it(fake: Any, stand_in: Any, stage: str):
    stand_in(spoil(stage, 3.0))
    found = verify(open_bundle(fake.path), ignore)
    failed = {result.stage for result in found.failures}
    downstream = {"appraisal", "photograph", "platforms"} if stage == "appraisal" else {stage, "cascade"}
    assert failed == downstream
    assert {result.variant.partition(PAIR)[0] for result in found.failures} == {"tflite-fp16"}
    spoilt = next(r for r in found.results if r.variant == "tflite-fp16" and r.stage == stage)
    assert (spoilt.loss or 0) > spoilt.limit
    assert math.isfinite(spoilt.decibels)


def test_a_detector_that_is_off_is_named(fake: Any, stand_in: Any):
    def disturb(variant: str, model: str, outputs: dict[str, Any]) -> dict[str, Any]:
        if (variant, model) == ("tflite-fp16", "detector"):
            outputs["candidates"][..., 5:] += np.float32(0.05)
        return outputs

    stand_in(disturb)
    found = verify(open_bundle(fake.path), ignore)
    assert {result.stage for result in found.failures} == {"detector", "photograph"}


def test_a_score_that_is_not_a_number_fails(fake: Any, stand_in: Any):
    stand_in(spoil("compare", float("nan")))
    found = verify(open_bundle(fake.path), ignore)
    assert {result.stage for result in found.failures} == {"compare", "cascade"}


def test_a_result_passes_up_to_its_gate_and_not_as_nan():
    def result(loss: float) -> StageResult:
        return StageResult("v", "s", 30.0, SPEC.rating, loss, 0.1, "f")

    assert result(0.1).passed
    assert not result(0.1000001).passed
    assert not result(float("nan")).passed


def test_junit_has_a_case_for_every_result_and_what_was_not_judged_is_skipped(
    fake: Any, stand_in: Any, tmp_path: Any
):
    stand_in(spoil("inpaint", 5.0))
    file = tmp_path / "verify.xml"
    answer = CliRunner().invoke(verify_command, [str(fake.path), "--json", "--junit", str(file)])
    assert answer.exit_code == 1
    results = [*json.loads(answer.stdout)["results"], *json.loads(answer.stdout)["platforms"]]
    (suite,) = ElementTree.parse(file).getroot()  # noqa: S314 - our own
    verdicts = {"failure": False, "skipped": None}
    assert [verdicts[case[0].tag] if len(case) else True for case in suite] == [r["passed"] for r in results]
    assert {True, False, None} == {r["passed"] for r in results}


def test_the_command_exits_1_and_names_stage_face_and_gate(fake: Any, stand_in: Any, tmp_path: Any):
    stand_in(spoil("inpaint", 5.0))
    report = tmp_path / "parity.json"
    answer = CliRunner().invoke(verify_command, [str(fake.path), "--json", "-o", str(report)])
    assert answer.exit_code == 1
    assert "mien: tflite-fp16: stage inpaint: score error is" in answer.stderr
    assert "(someone), at most 0.1 passes" in answer.stderr
    assert json.loads(answer.stdout) == json.loads(report.read_text())
    record = json.loads(answer.stdout)
    assert record["passed"] is False
    assert "not validated on Apple hardware" in record["core_ml"]
    assert {(r["variant"], r["stage"]) for r in record["results"] if r["passed"] is False} == {
        ("tflite-fp16", "inpaint"),
        ("tflite-fp16", "cascade"),
    }


def test_the_report_is_json_even_where_a_score_is_not_a_number(fake: Any, stand_in: Any):
    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is not JSON")

    stand_in(spoil("compare", float("nan")))
    answer = CliRunner().invoke(verify_command, [str(fake.path), "--json"])
    assert answer.exit_code == 1
    json.loads(answer.stdout, parse_constant=refuse)


def test_the_command_prints_a_table_and_says_what_executed_core_ml(fake: Any, stand_in: Any):
    stand_in(faithful)
    answer = CliRunner().invoke(verify_command, [str(fake.path)])
    assert answer.exit_code == 0
    assert "tflite-fp16" in answer.stdout
    assert "not validated on Apple hardware" in answer.stdout
    assert "FAILED" not in answer.stdout


@pytest.mark.parametrize("arithmetic", [FORCED, FLOAT32])
def test_the_arithmetic_that_half_floats_were_judged_in_is_said(fake: Any, arithmetic: str):
    found = Verification((), half_floats={"tflite-half": arithmetic})
    assert f"tflite-half was judged in {arithmetic}." in list(remarks(open_bundle(fake.path), found))
    assert not any("judged in" in line for line in remarks(open_bundle(fake.path), Verification(())))


def test_the_command_gives_the_share_of_int8_of_each_variant_where_it_is_known(fake: Any, stand_in: Any):
    stand_in(faithful)
    file = fake.path / "manifest.json"
    manifest = json.loads(file.read_text())
    of = {"tflite-fp32": 0.0, "tflite-fp16": 0.1249}
    for entry in manifest["variants"]:
        entry["products_int8"] = of.get(entry["name"])
    file.write_text(json.dumps(manifest))
    answer = CliRunner().invoke(verify_command, [str(fake.path)])
    said = "share of multiplications in int8: tflite-fp32 0 %, tflite-fp16 12 %"
    assert said in answer.stdout.splitlines()
    answer = CliRunner().invoke(verify_command, [str(fake.path), "--variant", "tflite-fp16", "--json"])
    assert json.loads(answer.stdout)["products_int8"] == {"tflite-fp16": 0.1249}


def test_nothing_is_said_of_int8_where_no_share_is_known(fake: Any, stand_in: Any):
    stand_in(faithful)
    answer = CliRunner().invoke(verify_command, [str(fake.path)])
    assert "in int8" not in answer.stdout


@pytest.mark.parametrize("place", ["missing/parity.json", "."])
def test_a_report_that_cannot_be_written_is_refused_before_the_work(
    fake: Any, stand_in: Any, tmp_path: Any, place: str, capsys: pytest.CaptureFixture[str]
):
    def never(*_: object) -> Any:
        raise AssertionError("verified although the report has no place")

    stand_in(never)
    with pytest.raises(SystemExit) as left:
        main(["verify", str(fake.path), "-o", str(tmp_path / place)])
    assert left.value.code == 2
    assert capsys.readouterr().err.startswith("mien: ")


HEAT = TensorSpec("heat", (1, 4), "float32", 10.0, "")


def test_equal_arrays_have_no_noise():
    signal = np.arange(5, dtype=np.float32)
    assert peak_signal_to_noise(HEAT, signal, signal.copy()) == float("inf")


def test_a_tenth_of_the_full_scale_is_20_decibels():
    signal = np.full(10, 3.0)
    assert peak_signal_to_noise(HEAT, signal, signal + 1) == pytest.approx(20)


@given(st.floats(0.001, 1), st.floats(1.01, 10))
def test_more_noise_is_fewer_decibels(noise: float, more: float):
    signal = np.linspace(-1, 1, 50)
    little = peak_signal_to_noise(HEAT, signal, signal + noise)
    assert little > peak_signal_to_noise(HEAT, signal, signal + noise * more)
    assert math.isfinite(peak_signal_to_noise(HEAT, np.zeros(3), np.ones(3)))
