"""Pipelines of other names and other parts: what is measured follows the contract of the bundle."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mien.benchmarks.apps import android_package, apple_package
from mien.benchmarks.phone.adb import Adb
from mien.benchmarks.phone.phone import Phone
from mien.benchmarks.phone.runner_kit import Kit
from mien.benchmarks.phone.session import MODES, Session
from mien.benchmarks.pipeline import first_photograph, picture_model, unit_of
from mien.benchmarks.results.records import BenchSpec, Device, read_report
from mien.benchmarks.targets.android import AndroidTarget
from mien.benchmarks.targets.arm64 import _on_host
from mien.mobile_reference.bundle.reader import open_bundle
from mien.mobile_reference.contract import PipelineSpec
from mien.mobile_reference.errors import UsageError
from tests.benchmarks.apps.test_bench_apple import bench
from tests.benchmarks.tinymodels import PIPELINE, other_bundle, renamed

QUICK = ("--processes", "1", "--runs", "2", "--warmup", "0", "--variant", "tflite-int8")
STAGES_ALONE = replace(PIPELINE, name="stages", whole=None)
RUN_BY_PHONE = (("detector", "detector"), ("model", "appraisal"))
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
        ("chain", "decode"),
        ("chain", "align"),
        ("chain", "my-appraisal"),
        ("chain", "total"),
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
        ("chain", "decode"),
        ("chain", "align"),
        ("chain", "heatmap"),
        ("chain", "compare"),
        ("chain", "total"),
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


def test_what_needs_a_photograph_says_so_where_there_is_none(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arrays = other_bundle(bundle, tmp_path / "arrays", NO_FRONT)
    for options in ((), ("--target", "android", "--generate", tmp_path / "library")):
        assert "pipeline arrays has no front" in bench(capsys, arrays, *options, expect=2)
    assert not (tmp_path / "library").exists()
    estimates = json.loads(bench(capsys, arrays, "--estimate", "--json"))["estimates"]
    assert [(p["graph"], p["times"]) for p in estimates[0]["parts"]] == [("appraisal", 1)]


def test_the_kotlin_library_is_of_the_contracts_tensors(
    mine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "library"
    bench(capsys, mine, "--target", "android", "--generate", folder)
    opened, spec = open_bundle(mine), json.loads((folder / android_package.PLACE).read_text())
    assert spec["tensors"] == {"input": "my-face", "rating": "my-score", "map": "my-heatmap"}
    (golden,) = spec["goldens"]
    assert golden["rating"] == opened.goldens[0].rating
    for role, name, dtype in (("input", "my-face", np.uint8), ("map", "my-heatmap", "<f4")):
        stored = np.fromfile(folder / android_package.TEST_ASSETS / golden[role], dtype)
        expected = opened.goldens[0].read(name)
        assert expected.any()
        np.testing.assert_array_equal(stored, expected.reshape(-1))
    for variant in spec["variants"]:
        model = (folder / android_package.APP_ASSETS / variant["model"]).read_bytes()
        assert model == opened.variant(variant["name"]).files["my-appraisal"].read_bytes()


def test_the_swift_package_is_of_the_contracts_models(mine: Path) -> None:
    spec = apple_package.make_spec(open_bundle(mine), ())
    assert (spec["rating"], spec["whole"]) == ("my-score", "my-appraisal")
    assert spec["stages"] == ["my-heatmap", "my-compare"]
    assert spec["graphs"]["my-compare"] == {
        "inputs": [{"name": "my-heat", "shape": [1, 1, 128, 128], "image": False}],
        "outputs": [
            {"name": "my-score", "shape": [1], "image": False},
            {"name": "my-heatmap", "shape": [1, 1, 128, 128], "image": False},
        ],
    }
    assert spec["graphs"]["my-appraisal"]["inputs"] == [
        {"name": "my-face", "shape": [256, 256, 3], "image": True}
    ]


def test_the_runner_on_phones_is_told_the_contracts_names(mine: Path) -> None:
    opened = open_bundle(mine)
    spec = BenchSpec(opened, "tflite-int8", first_photograph(opened), 1, 0, 2, 1)
    device = Device("android", "made up", "aarch64", 8, "Android", "")
    session = Session(
        Adb("adb", "none"), Phone(device, "arm64-v8a", 4096, ()), MODES["quick"], lambda _: None
    )
    words = set(AndroidTarget(session, Kit(Path(), "arm64-v8a", {}))._settings(spec))
    assert {"found=my-candidates", "rating=my-score", "step=my-appraisal"} <= words
    assert {f"{name}=../tflite-int8/my-{model}.tflite" for name, model in RUN_BY_PHONE} <= words
    stages = BenchSpec(replace(opened, spec=STAGES_ALONE), "tflite-int8", spec.photograph, 1, 0, 2, 1)
    with pytest.raises(UsageError, match="no end-to-end model"):
        AndroidTarget(session, Kit(Path(), "arm64-v8a", {}))._settings(stages)


def _with(spec: PipelineSpec, **whole: Any) -> PipelineSpec:
    assert spec.whole
    return replace(spec, whole=replace(spec.whole, **whole))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (STAGES_ALONE, "has no end-to-end model"),
        (_with(PIPELINE, inputs=("face", "picture")), "takes face, picture"),
        (_with(PIPELINE, inputs=("heat",)), "gives one uint8 picture"),
        (_with(PIPELINE, outputs=("heatmap",)), "gives heatmap"),
        (_with(PIPELINE, outputs=("score", "face")), "reads float32 tensors"),
    ],
)
def test_what_a_phone_cannot_be_given_is_refused(spec: PipelineSpec, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        picture_model(spec)
    assert picture_model(PIPELINE) == PIPELINE.whole


def test_the_swift_package_refuses_tensors_that_it_would_misread(bundle: Path) -> None:
    opened = open_bundle(bundle)
    tensors = tuple(
        replace(tensor, dtype="int32") if tensor.name == "heat" else tensor for tensor in PIPELINE.tensors
    )
    with pytest.raises(UsageError, match="heat is int32"):
        apple_package.make_spec(replace(opened, spec=replace(PIPELINE, tensors=tensors)), ())
    with pytest.raises(UsageError, match="no end-to-end model"):
        apple_package.make_spec(replace(opened, spec=STAGES_ALONE), ())


def test_what_an_emulator_is_given_is_what_the_host_ran(mine: Path) -> None:
    opened = open_bundle(mine)
    golden = opened.goldens[0]
    recorded = _on_host(opened, opened.variant("tflite-fp32"), golden.source or Path())
    assert list(recorded.given) == list(recorded.made) == ["my-detector", "my-appraisal"]
    np.testing.assert_array_equal(recorded.given["my-appraisal"]["my-face"], golden.read("my-face"))
    np.testing.assert_array_equal(recorded.made["my-appraisal"]["my-score"], golden.read("my-score"))
    # The first look: the whole photograph.
    again = recorded.run(opened.spec.model("my-detector"), recorded.given["my-detector"])
    np.testing.assert_array_equal(again["my-candidates"], recorded.made["my-detector"]["my-candidates"])


def test_a_difference_has_the_unit_of_its_tensor() -> None:
    score = PIPELINE.tensor("score")
    assert unit_of(score) == "points"
    assert unit_of(replace(score, full_scale=0.5)) == "of 0.5"
