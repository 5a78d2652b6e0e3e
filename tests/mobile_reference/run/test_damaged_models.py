"""Models that are damaged or give no numbers, their hashes being right: every command ends in one line."""

import ctypes
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mien.mobile_reference.contract import TensorSpec
from mien.mobile_reference.errors import BundleError, RatingError
from mien.mobile_reference.run.models import TFLiteModel
from mien.mobile_reference.run.runner import check_values
from tests.benchmarks.tinymodels import Maker, tiny_bundle
from tests.commands import run_mien
from tests.mobile_reference.conftest import FakeBundle

SCORE = TensorSpec("score", (1,), "float32", 100, "of a test", range=(0, 100))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bundle(tmp_path_factory.mktemp("tiny") / "bundle")


@pytest.fixture
def damaged(made: Path, tmp_path: Path) -> Path:
    """A bundle whose detector is cut in half; LiteRT dies of it."""
    bundle = FakeBundle(shutil.copytree(made, tmp_path / "bundle"))
    file = "tflite-fp32/detector.tflite"
    data = (bundle.path / file).read_bytes()
    bundle.put(file, data[: len(data) // 2])
    return bundle.path


@pytest.mark.parametrize("command", ["appraise", "verify", "bench"])
def test_a_cut_model_with_a_right_hash_is_one_line(damaged: Path, command: str) -> None:
    arguments = {
        "appraise": ["--bundle", damaged, damaged / "noise.png"],
        "verify": [damaged],
        "bench": [damaged, "--variant", "tflite-fp32", "--processes", 1, "--runs", 1],
    }
    done = run_mien(command, *arguments[command], expect=2)
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("mien: ")


def test_a_name_of_a_tensor_that_is_no_text_is_one_line(made: Path, tmp_path: Path) -> None:
    bundle = FakeBundle(shutil.copytree(made, tmp_path / "bundle"))
    file = "tflite-fp32/detector.tflite"
    bundle.put(file, (bundle.path / file).read_bytes().replace(b"candidates", b"\xffandidates"))
    for command in (
        ["appraise", "--bundle", bundle.path, bundle.path / "noise.png"],
        ["verify", bundle.path],
    ):
        (line,) = run_mien(*command, expect=2).stderr.splitlines()
        assert "LiteRT cannot load" in line


def test_a_sound_bundle_is_rated_and_verified_as_before(made: Path) -> None:
    done = run_mien("appraise", "--bundle", made, "--json", made / "noise.png")
    assert json.loads(done.stdout)["error"] is None
    assert done.stderr == ""
    # The tiny bundle's stages are not one pipeline; its end-to-end model is exact.
    done = run_mien("verify", made, "--json", expect=1)
    results = json.loads(done.stdout)["results"]
    exact = ("tflite-fp32", "photograph")
    assert {r["error"] for r in results if (r["variant"], r["stage"]) == exact} == {0}


def test_a_folder_whose_name_is_no_text_is_read_as_any_other(made: Path, tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"n\xff\x1b[31m")
    shutil.copytree(made, folder)
    rated = run_mien("appraise", "--bundle", folder, folder / "noise.png", "--json", expect=0)
    assert json.loads(rated.stdout)["photo"].endswith("n\\xff\x1b[31m/noise.png")
    verified = run_mien("verify", folder, expect=1)
    packed = run_mien(
        *("pack", folder, "--for", "android", "--variant", "tflite-fp32", "-o", f"{folder}-app"), expect=0
    )
    assert "\x1b" not in rated.stderr + verified.stdout + verified.stderr + packed.stdout


def test_a_photograph_by_which_the_process_dies_has_a_row(
    fake: FakeBundle, stand_in: Callable[..., None], samples: list[Path], capsys: Any, tmp_path: Path
) -> None:
    from mien.mobile_reference.commands.console import main

    deadly = tmp_path / "deadly.jpg"
    deadly.write_bytes(samples[1].read_bytes())
    looks = {"detector": 0}

    def die(variant: str, model: str, outputs: Any) -> Any:
        looks["detector"] += model == "appraisal"
        if looks["detector"] == 2:  # the second photograph of a process
            ctypes.string_at(0)
        return outputs

    stand_in(die)
    with pytest.raises(SystemExit) as left:
        main(["appraise", "--bundle", str(fake.path), "--json", *map(str, (samples[0], deadly, samples[2]))])
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert left.value.code == 2
    assert [row["error"] is None for row in rows] == [True, False, True]
    assert rows[1]["photo"] == str(deadly)
    assert "ended by SIGSEGV" in rows[1]["error"]
    assert "\n" not in rows[1]["error"]


@pytest.mark.parametrize(
    ("tensor", "value", "said"),
    [
        ("score", np.nan, "score has the value nan"),
        ("score", np.inf, "score has the value inf"),
        ("heatmap", np.nan, "heatmap has the value nan"),
        ("score", 100.01, "score has the value 100.01, outside of 0..100"),
        ("score", -0.5, "score has the value -0.5, outside of 0..100"),
    ],
)
def test_a_result_that_is_no_rating_is_an_error_and_not_a_score(
    fake: FakeBundle,
    stand_in: Callable[..., None],
    untouched: Path,
    capsys: Any,
    tensor: str,
    value: float,
    said: str,
) -> None:
    from mien.mobile_reference.commands.console import main

    (described,) = [one for one in fake.manifest["tensors"] if one["name"] == "score"]
    described["range"] = [0, 100]
    fake.save()

    def spoil(variant: str, model: str, outputs: Any) -> Any:
        if tensor in outputs:
            outputs[tensor].reshape(-1)[0] = value
        return outputs

    stand_in(spoil)
    with pytest.raises(SystemExit) as left:
        main(["appraise", "--bundle", str(fake.path), "--json", str(untouched)])
    (row,) = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert left.value.code == 2
    assert row["score"] is None
    assert said in row["error"]


@pytest.mark.parametrize("value", [0.0, 100.0, 50.0])
def test_both_ends_of_a_range_are_in_it(value: float) -> None:
    check_values(SCORE, np.array([value], np.float32))


def test_without_a_range_any_finite_value_is_one() -> None:
    check_values(replace(SCORE, range=None), np.array([-1e30], np.float32))
    with pytest.raises(RatingError):
        check_values(replace(SCORE, range=None), np.array([-np.inf], np.float32))


def test_a_model_that_fails_when_it_runs_is_refused(tmp_path: Path) -> None:
    """GATHER outside of its table: LiteRT says so only when the model runs."""
    from ai_edge_litert import schema_py_generated as schema

    maker = Maker()
    given = maker.tensor("given", [1], "int32")
    table = maker.constant("table", np.zeros(4, np.float32))
    output = maker.tensor("made", [1])
    maker.add(
        schema.BuiltinOperator.GATHER,
        [table, given],
        output,
        schema.BuiltinOptions.GatherOptions,
        schema.GatherOptionsT(),
    )
    file = maker.write(tmp_path / "model.tflite", [given], [output])
    tensors = (TensorSpec("given", (1,), "int32", 1, ""),), (TensorSpec("made", (1,), "float32", 1, ""),)
    model = TFLiteModel(file, *tensors, threads=1)
    assert model({"given": np.array([3], np.int32)})["made"].tolist() == [0]
    with pytest.raises(BundleError, match=r"LiteRT cannot run .*model\.tflite"):
        model({"given": np.array([99], np.int32)})
