"""Pipelines of other names and other parts: what is measured follows the contract of the bundle."""

import json
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mien.benchmarks import model_names
from mien.benchmarks.apps import apple_package
from mien.benchmarks.model_names import check_names
from mien.benchmarks.phone.adb import Adb
from mien.benchmarks.phone.phone import Phone
from mien.benchmarks.phone.phone_runner import PhoneRunner
from mien.benchmarks.phone.session import MODES, Session
from mien.benchmarks.pipeline import first_given, judged_limits, unit_of
from mien.benchmarks.results.records import BenchSpec, Device, read_report
from mien.benchmarks.targets.android import AndroidTarget, full_path
from mien.benchmarks.targets.arm64 import _on_host
from mien.mobile_reference.bundle.reader import MANIFEST, Bundle, open_bundle
from mien.mobile_reference.contract import IOU, RELATIVE, SET, GateSpec, PipelineSpec
from mien.mobile_reference.errors import BundleError, ChildError, UsageError
from mien.mobile_reference.run.runner import BundleRunner
from tests.benchmarks.apps.test_bench_apple import bench
from tests.benchmarks.pipelines import EDGES, GRADER, SENSORS, make_bundle
from tests.benchmarks.tinymodels import PIPELINE, other_bundle, renamed

QUICK = ("--processes", "1", "--runs", "2", "--warmup", "0", "--variant", "tflite-int8")
STAGES_ALONE = replace(PIPELINE, name="stages", whole=None)
NO_FRONT = replace(PIPELINE, name="arrays", front=None)


@pytest.fixture
def mine(bundle: Path, tmp_path: Path) -> Path:
    """The tiny bundle with all names changed."""
    return other_bundle(bundle, tmp_path / "mine", renamed("my-"), "my-")


def measured(capsys: pytest.CaptureFixture[str], bundle: Path, report: Path) -> dict[str, Any]:
    bench(capsys, bundle, *QUICK, "-o", report)
    (result,) = read_report(report)["results"]
    return dict(result)


def steps(result: dict[str, Any]) -> list[tuple[str, str]]:
    return [(stage["part"], stage["name"]) for stage in result["latency"]["stages"]]


def test_names_of_a_report_are_the_contracts(
    mine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = measured(capsys, mine, tmp_path / "bench.json")
    assert steps(result) == [
        ("step", "decode"),
        ("step", "front"),
        ("model", "my-appraisal"),
        ("step", "total"),
        ("graph", "my-detector"),
        ("graph", "my-heatmap"),
        ("graph", "my-compare"),
    ]
    (parity,) = result["parity"]
    assert (parity["name"], parity["unit"], parity["gate"]) == ("my-score of noise", "points", 2.0)


def test_without_an_end_to_end_model_an_app_runs_the_stages(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stages = other_bundle(bundle, tmp_path / "stages", STAGES_ALONE)
    result = measured(capsys, stages, tmp_path / "bench.json")
    assert steps(result) == [
        ("step", "decode"),
        ("step", "front"),
        ("model", "heatmap"),
        ("model", "compare"),
        ("step", "total"),
        ("graph", "detector"),
    ]
    # The stages of both variants are float.
    assert result["parity"][0]["error"] == 0
    estimates = json.loads(bench(capsys, stages, "--estimate", "--json"))["estimates"]
    assert [(p["graph"], p["times"]) for p in estimates[0]["parts"]] == [
        ("detector", 2),
        ("heatmap", 1),
        ("compare", 1),
    ]


def test_without_a_front_the_tensors_of_a_golden_input_are_what_a_run_begins_with(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arrays = other_bundle(bundle, tmp_path / "arrays", NO_FRONT)
    result = measured(capsys, arrays, tmp_path / "bench.json")
    assert steps(result)[:2] == [("model", "appraisal"), ("step", "total")]
    settings = read_report(tmp_path / "bench.json")["settings"]
    assert settings["input"] == "noise"
    assert settings["input_sha256"] == first_given(open_bundle(arrays)).sha256
    assert "has no front" in bench(capsys, arrays, "--photo", arrays / "noise.png", expect=2)
    estimates = json.loads(bench(capsys, arrays, "--estimate", "--json"))["estimates"]
    assert [(p["graph"], p["times"]) for p in estimates[0]["parts"]] == [("appraisal", 1)]


def test_a_photograph_whose_name_is_not_utf8_has_one_in_reports(bundle: Path) -> None:
    given = first_given(open_bundle(bundle), Path(os.fsdecode(b"caf\xe9.jpg")))
    assert given.name == r"caf\xe9.jpg"


@pytest.mark.parametrize("spec", [GRADER, SENSORS, EDGES], ids=lambda spec: spec.name)
def test_any_pipeline_is_timed_and_judged(
    spec: PipelineSpec, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, report = make_bundle(tmp_path / "bundle", spec), tmp_path / "bench.json"
    options = ("--processes", "2", "--runs", "2", "--warmup", "0", "--variant", "tflite-fp32")
    out = bench(capsys, folder, *options, "-o", report)
    (result,) = read_report(report)["results"]
    # A stage may be called what a step of ours is called.
    assert steps(result) == [*(("model", stage.name) for stage in spec.stages), ("step", "total")]
    (parity,) = result["parity"]
    assert (parity["name"], parity["error"]) == (f"{spec.rating.tensor} of one", 0)
    assert "whole way" in out
    bench(capsys, "page", report, "-o", tmp_path / "bench.html")
    changes = json.loads(bench(capsys, "compare", report, report, "--json"))
    assert {one["what"] for one in changes} == {*(f"model {stage.name}" for stage in spec.stages), "total"}


def test_a_swapped_input_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two tensors of equal size: what is handed on by size or by place gives another result."""
    stages = tuple(
        replace(stage, inputs=tuple(reversed(stage.inputs))) if stage.name == "total" else stage
        for stage in EDGES.stages
    )
    folder = make_bundle(tmp_path / "bundle", EDGES)
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["stages"] = replace(EDGES, stages=stages).record()["stages"]
    (folder / MANIFEST).write_text(json.dumps(manifest))
    options = ("--processes", "1", "--runs", "1", "--warmup", "0", "--variant", "tflite-fp32")
    assert "margin of one is off by" in bench(capsys, folder, *options, expect=1)
    opened = open_bundle(folder)
    with pytest.raises(BundleError, match="has the inputs high, bound, its manifest says bound, high"):
        check_names(opened.variant("tflite-fp32"), opened.spec.served)


def test_names_are_those_of_the_contract(tmp_path: Path) -> None:
    opened = open_bundle(make_bundle(tmp_path / "bundle", EDGES))
    check_names(opened.variant("tflite-fp32"), opened.spec.served)


def test_models_of_one_file_are_each_checked(tmp_path: Path) -> None:
    opened = open_bundle(make_bundle(tmp_path / "bundle", EDGES))
    variant, stages = opened.variant("tflite-fp32"), opened.spec.stages
    one = dict.fromkeys((stage.name for stage in stages), variant.files[stages[-1].name])
    check_names(variant, stages)
    with pytest.raises(BundleError, match="its manifest says"):
        check_names(replace(variant, files=one), stages)


def test_a_model_that_kills_litert_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is damaged is opened in a process of its own."""
    monkeypatch.setattr(model_names, "LiteRTModel", lambda _: os.kill(os.getpid(), signal.SIGSEGV))
    opened = open_bundle(make_bundle(tmp_path / "bundle", EDGES))
    with pytest.raises(ChildError, match=r"ended by SIGSEGV.*; it is damaged or too large"):
        check_names(opened.variant("tflite-fp32"), opened.spec.served)


def test_a_gate_that_is_not_held_here_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = replace(GRADER, gates=(*GRADER.gates, GateSpec("mask", IOU, {"any": 0.1}, over=SET)), whole=None)
    spec = replace(spec, stages=(replace(spec.stages[0]), spec.stages[1]))
    folder = make_bundle(tmp_path / "bundle", spec)
    out = bench(capsys, folder, "--processes", "1", "--runs", "1", "--variant", "tflite-fp32")
    assert "not judged here, but by 'mien verify': iou of mask" in " ".join(out.split())


def test_the_kotlin_library_needs_the_contracts_names_in_the_models(
    mine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The files of this bundle still have the names that the tiny pipeline had."""
    out = bench(capsys, mine, "--target", "android", "--generate", tmp_path / "library", expect=2)
    assert "has the inputs picture, its manifest says my-picture" in out
    assert not (tmp_path / "library").exists()


def test_the_swift_package_is_of_the_contracts_models(mine: Path) -> None:
    spec = apple_package.make_spec(open_bundle(mine), ())
    assert spec["served"] == ["my-appraisal"]
    assert spec["graphs"] == ["my-detector", "my-heatmap", "my-compare", "my-appraisal"]


def phone_words(opened: Bundle, variant: str) -> list[str]:
    spec = BenchSpec(opened, variant, first_given(opened), 1, 0, 2, 1)
    device = Device("android", "made up", "aarch64", 8, "Android", "")
    session = Session(
        Adb("adb", "none"), Phone(device, "arm64-v8a", 4096, ()), MODES["quick"], lambda _: None
    )
    models = full_path(opened.spec, f"../{variant}", opened.variant(variant))
    return list(AndroidTarget(session, PhoneRunner(Path(), "arm64-v8a", {}))._settings(spec, models))


def test_the_runner_on_phones_is_told_the_contracts_names(mine: Path) -> None:
    words = phone_words(open_bundle(mine), "tflite-int8")
    assert {"detector=../tflite-int8/my-detector.tflite", "found=my-candidates", "face=my-face"} <= {*words}
    place = words.index("model=../tflite-int8/my-appraisal.tflite")
    assert words[place:] == [
        "model=../tflite-int8/my-appraisal.tflite",
        "reads=my-face",
        "gives=my-score",
        "gives=my-heatmap",
        "keep=my-score",
    ]


def test_the_runner_on_phones_is_told_a_graph_of_stages(tmp_path: Path) -> None:
    words = phone_words(open_bundle(make_bundle(tmp_path / "bundle", EDGES)), "tflite-fp32")
    assert words[words.index("input=grey") :] == [
        "input=grey",
        "file=../input/grey.bin",
        "input=limit",
        "file=../input/limit.bin",
        "model=../tflite-fp32/decode.tflite",
        "reads=grey",
        "gives=low",
        "gives=high",
        "model=../tflite-fp32/align.tflite",
        "reads=low",
        "reads=limit",
        "gives=bound",
        "model=../tflite-fp32/total.tflite",
        "reads=high",
        "reads=bound",
        "gives=margin",
        "keep=margin",
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dtype": "uint8", "layout": "any"}, "heat is uint8; Core ML takes float32 and int32"),
        (
            {"dtype": "uint8", "shape": (1, 8, 8, 2)},
            r"heat is \[1, 8, 8, 2\] of pixels; Core ML takes single RGB and grey pictures",
        ),
    ],
)
def test_the_swift_package_refuses_tensors_that_it_would_misread(
    bundle: Path, change: dict[str, Any], message: str
) -> None:
    opened = open_bundle(bundle)
    tensors = tuple(
        replace(tensor, **change) if tensor.name == "heat" else tensor for tensor in PIPELINE.tensors
    )
    with pytest.raises(UsageError, match=message):
        apple_package.make_spec(replace(opened, spec=replace(PIPELINE, tensors=tensors)), ())


def test_what_an_emulator_is_given_is_what_the_host_ran(mine: Path) -> None:
    opened = open_bundle(mine)
    golden = opened.goldens[0]
    recorded = _on_host(opened, opened.variant("tflite-fp32"), first_given(opened))
    assert list(recorded.given) == list(recorded.made) == ["my-detector", "my-appraisal"]
    np.testing.assert_array_equal(recorded.given["my-appraisal"]["my-face"], golden.read("my-face"))
    np.testing.assert_array_equal(recorded.made["my-appraisal"]["my-score"], golden.read("my-score"))
    # The first detection: the whole photograph.
    runner = BundleRunner(opened, "tflite-fp32")
    again = runner.run(opened.spec.model("my-detector"), recorded.given["my-detector"])
    np.testing.assert_array_equal(again["my-candidates"], recorded.made["my-detector"]["my-candidates"])


def test_a_difference_has_the_unit_of_its_tensor() -> None:
    score = PIPELINE.tensor("score")
    assert unit_of(score) == "points"
    assert unit_of(replace(score, full_scale=0.5)) == "of 0.5"


@pytest.mark.parametrize(
    ("spec", "refused"), [(GRADER, None), (SENSORS, None), (EDGES, "written by operators that")]
)
def test_any_pipeline_is_estimated_or_refused_by_name(
    spec: PipelineSpec, refused: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = make_bundle(tmp_path / "made", spec)
    report = json.loads(bench(capsys, made, "--estimate", "--json"))
    for estimate in report["estimates"]:
        assert [part["graph"] for part in estimate["parts"]] == [stage.name for stage in spec.stages]
        assert (estimate["estimate_ms"] is None) == (refused is not None)
        assert (refused or "") in (estimate["refused"] or "")


def test_an_estimate_needs_tflite_models(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = make_bundle(tmp_path / "made", GRADER)
    assert "counts TFLite models, got coreml-fp16" in bench(
        capsys, made, "--estimate", "--variant", "coreml-fp16", expect=2
    )
    manifest = json.loads((made / MANIFEST).read_text())
    manifest["variants"] = [one for one in manifest["variants"] if one["platform"] == "coreml"]
    (made / MANIFEST).write_text(json.dumps(manifest))
    assert "got a bundle without any" in bench(capsys, made, "--estimate", expect=2)


_RELATIVE = GateSpec("grade", RELATIVE, {"fp32": 0.02, "int8": 0.05})


def test_a_relative_gate_is_held_in_the_units_of_its_tensor() -> None:
    relative = replace(GRADER, gates=(_RELATIVE,))
    assert judged_limits(relative, "tflite-fp32") == {"grade": pytest.approx(2)}
    assert judged_limits(relative, "tflite-fp16") == {}


def test_of_two_gates_of_a_tensor_the_stricter_is_held() -> None:
    for gates in ((_RELATIVE, *GRADER.gates), (*GRADER.gates, _RELATIVE)):
        assert judged_limits(replace(GRADER, gates=gates), "tflite-fp32") == {"grade": 0.01}


def test_a_relative_gate_fails_a_measurement(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    strict = replace(GRADER, gates=(replace(_RELATIVE, limits={"any": 1e-9}),))
    folder = make_bundle(tmp_path / "bundle", strict)
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["goldens"][0]["values"]["grade"] += 1
    (folder / MANIFEST).write_text(json.dumps(manifest))
    options = ("--processes", "1", "--runs", "1", "--warmup", "0", "--variant", "tflite-fp32")
    assert "grade of" in bench(capsys, folder, *options, expect=1)
