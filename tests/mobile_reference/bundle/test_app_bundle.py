"""What an app ships: one variant that the reference runner opens and runs, and no photograph."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mien.mobile_reference.bundle.app_bundle import (
    _copy,
    chosen_variant,
    served_pipeline,
    write_app_bundle,
)
from mien.mobile_reference.bundle.reader import MANIFEST, Bundle, open_bundle, sha256
from mien.mobile_reference.commands.console import main
from mien.mobile_reference.contract import PipelineSpec, problems
from mien.mobile_reference.errors import UsageError
from mien.mobile_reference.front.photograph import read_photograph
from mien.mobile_reference.run.runner import BundleRunner
from tests.benchmarks.pipelines import EDGES, GRADER, make_bundle
from tests.benchmarks.tinymodels import PIPELINE, tiny_bundle

PICTURES = (b"\xff\xd8\xff", b"\x89PNG", b"RIFF")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bundle(tmp_path_factory.mktemp("bundle"))


@pytest.fixture(scope="module")
def grader(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("grader"), GRADER)


def call(*arguments: object) -> int:
    with pytest.raises(SystemExit) as end:
        main([str(argument) for argument in arguments])
    return int(end.value.code or 0)


def packed(bundle: Path, folder: Path, *options: str) -> Bundle:
    assert call("pack", bundle, "--for", "android", "--variant", "tflite-fp32", *options, "-o", folder) == 0
    return open_bundle(folder)


def files(folder: Path) -> Iterator[Path]:
    yield from (file for file in sorted(folder.rglob("*")) if file.is_file())


def test_no_photograph_goes_along(tiny: Path, tmp_path: Path) -> None:
    whole = open_bundle(tiny)
    pixels = whole.goldens[0].read("face").tobytes()
    ours = packed(tiny, tmp_path / "app")
    assert ours.kept == ()
    hashes = {sha256(file) for file in (tiny / "noise.png", *tiny.glob("vectors/*"))}
    for file in files(ours.path):
        content = file.read_bytes()
        assert not content.startswith(PICTURES)
        assert pixels[:300] not in content
        assert sha256(file) not in hashes
    assert "noise" not in (ours.path / MANIFEST).read_text()


def test_nothing_says_whose_photographs_calibrated_it(tiny: Path, tmp_path: Path) -> None:
    opened = open_bundle(tiny)
    manifest = json.loads((tiny / MANIFEST).read_text())
    manifest["provenance"]["calibration"]["images"] = ["1" * 64]
    known = replace(opened, manifest=manifest)
    write_app_bundle(known, known.variant("tflite-fp32"), "tensors", tmp_path / "app")
    assert "1" * 64 not in (tmp_path / "app" / MANIFEST).read_text()


def test_the_reference_runner_rates_a_photograph_by_it(tiny: Path, tmp_path: Path) -> None:
    ours, whole = packed(tiny, tmp_path / "app"), open_bundle(tiny)
    photograph = read_photograph(tiny / "noise.png")
    expected, found = (BundleRunner(one).appraise(photograph) for one in (whole, ours))
    assert found.score == expected.score
    np.testing.assert_array_equal(found.tensors["heatmap"], expected.tensors["heatmap"])


def test_only_what_an_app_runs_goes_along(tiny: Path, tmp_path: Path) -> None:
    ours = packed(tiny, tmp_path / "app")
    assert [file.relative_to(ours.path).as_posix() for file in files(ours.path)] == [
        MANIFEST,
        "tflite-fp32/appraisal.tflite",
        "tflite-fp32/detector.tflite",
    ]
    assert ours.spec == served_pipeline(PIPELINE)
    assert [stage.name for stage in ours.spec.stages] == ["appraisal"]
    assert list(problems(ours.spec)) == []


@pytest.mark.parametrize("pipeline", [GRADER, EDGES], ids=lambda spec: spec.name)
def test_stages_of_several_inputs_and_outputs_run(pipeline: PipelineSpec, tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "bundle", pipeline)
    golden, ours = open_bundle(bundle).goldens[0], packed(bundle, tmp_path / "app")
    assert ours.spec == pipeline
    rated = BundleRunner(ours).rate(golden.inputs())
    np.testing.assert_array_equal(rated[pipeline.rating.tensor], golden.read(pipeline.rating.tensor))


def test_tensors_of_golden_inputs_go_along_when_asked(grader: Path, tmp_path: Path) -> None:
    ours, whole = packed(grader, tmp_path / "app", "--goldens", "tensors"), open_bundle(grader)
    (golden,) = ours.goldens
    assert (golden.name, golden.source, dict(golden.front)) == ("golden-1", None, {})
    for tensor in ours.spec.tensors:
        np.testing.assert_array_equal(golden.read(tensor.name), whole.goldens[0].read(tensor.name))


def test_what_cannot_be_judged_never_seems_to_pass(
    grader: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ours = packed(grader, tmp_path / "app")
    with pytest.raises(UsageError, match="has no golden inputs to judge it by"):
        _ = ours.goldens
    for command in ("verify", "bench"):
        assert call(command, ours.path) == 2
        assert "has no golden inputs to judge it by" in capsys.readouterr().err


def test_the_same_bundle_gives_the_same_bytes(grader: Path, tmp_path: Path) -> None:
    first, second = (packed(grader, tmp_path / n, "--goldens", "tensors").path for n in ("a", "b"))
    assert {f.relative_to(first): f.read_bytes() for f in files(first)} == {
        f.relative_to(second): f.read_bytes() for f in files(second)
    }


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--for", "ios", "--variant", "tflite-fp32"), "ios cannot run; the bundle has for it: coreml-fp16"),
        (("--for", "android"), "the manifest chooses no variant for android; name one by --variant"),
        (("--for", "android", "--variant", "tflite-int2"), "has no variant 'tflite-int2'"),
    ],
)
def test_what_cannot_be_packed_is_said(
    grader: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], message: str
) -> None:
    assert call("pack", grader, *options, "-o", tmp_path / "app") == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_holds_something_is_left_alone(
    grader: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    options = ("--for", "android", "--variant", "tflite-fp32", "-o", tmp_path)
    assert call("pack", grader, *options) == 2
    assert "is not an empty folder" in capsys.readouterr().err
    assert [file.name for file in tmp_path.iterdir()] == ["mine.txt"]


def test_a_bundle_without_a_variant_for_the_system_says_what_it_has(grader: Path) -> None:
    opened = open_bundle(grader)
    android = tuple(one for one in opened.variants if one.platform == "tflite")
    with pytest.raises(UsageError, match="no variant of the bundle runs on ios, it has tflite-fp32"):
        chosen_variant(replace(opened, variants=android), "ios", None)


def test_the_choice_is_the_default(grader: Path, tmp_path: Path) -> None:
    manifest = json.loads((grader / MANIFEST).read_text()) | {"choice": {"tflite": "tflite-fp16"}}
    opened = replace(open_bundle(grader), manifest=manifest)
    assert chosen_variant(opened, "android", None).name == "tflite-fp16"


def test_a_model_that_is_a_folder_is_copied_whole(tmp_path: Path) -> None:
    source = tmp_path / "heat.mlpackage"
    (source / "Data").mkdir(parents=True)
    (source / "Manifest.json").write_text("{}")
    (source / "Data" / "weight.bin").write_bytes(b"\0\1")
    _copy(source, tmp_path / "app" / "models" / "heat.mlpackage")
    made = tmp_path / "app" / "models" / "heat.mlpackage"
    assert [(file.relative_to(made).as_posix(), file.read_bytes()) for file in files(made)] == [
        ("Data/weight.bin", b"\0\1"),
        ("Manifest.json", b"{}"),
    ]
