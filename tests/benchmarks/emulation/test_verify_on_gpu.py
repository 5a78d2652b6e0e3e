"""``mien verify --unit gpu``, on LiteRT's real GPU delegate and the software Vulkan of Debian's chromium."""

import json
import shutil
import subprocess
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mien.benchmarks.emulation.software_vulkan import (
    CHROMIUM,
    check_mesa,
    is_swiftshader_ready,
    load_order,
    set_up_swiftshader,
)
from mien.benchmarks.errors import SetupError
from mien.mobile_reference.bundle.reader import open_bundle
from mien.mobile_reference.contract import SCALAR, GateSpec, PipelineSpec, StageSpec, TensorSpec
from mien.mobile_reference.errors import UsageError
from mien.mobile_reference.files import default_cache
from mien.mobile_reference.run.child import Limits, in_child
from mien.mobile_reference.run.vulkan import DRIVER, LAVAPIPE, SWIFTSHADER
from mien.mobile_reference.schema import Schema
from mien.mobile_reference.verify.on_gpu import UNITS
from tests.benchmarks.tinymodels import PROVENANCE, list_files
from tests.commands import run_mien
from tests.export.tflite.graphs import GraphBuilder
from tests.vulkan import with_swiftshader

MOCK = CHROMIUM / "libVkICD_mock_icd.so"
SHAPE = (1, 2, 3, 4)
SPEC = PipelineSpec(
    name="activations",
    tensors=(
        TensorSpec("x", SHAPE, "float32", 4, "of a test"),
        TensorSpec("y", SHAPE, "float32", 1, "of a test"),
        TensorSpec("score", (1,), "float32", 1, "of a test"),
    ),
    stages=(StageSpec("first", ("x",), ("y",)), StageSpec("last", ("y",), ("score",))),
    gates=(GateSpec("score", SCALAR, {"fp32": 0.01, "fp16": 0.1}),),
)
X = np.linspace(-2, 2, 24, dtype=np.float32).reshape(SHAPE)
CLAMPED = np.clip(np.tanh(X), 0, 1)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's cache folder where ``mien setup gpu`` was called."""
    folder = tmp_path_factory.mktemp("cache")
    with_swiftshader(folder / "mien")
    return folder


def activations(*kinds: str) -> bytes:
    """Return a graph of x to y: activations, one behind the other."""
    build = GraphBuilder()
    last = build.given("x", SHAPE)
    for place, kind in enumerate(kinds):
        name = "y" if place == len(kinds) - 1 else f"y{place}"
        last = build.add(kind, [last], build.tensor(name, SHAPE))
    return build.build(last)


def scaled_mean(factor: float) -> bytes:
    """Return a graph of y to a score: the mean, times a factor."""
    build = GraphBuilder()
    y = build.given("y", SHAPE)
    axes = build.constant("axes", np.array([1, 2, 3], np.int32))
    mean = build.add("MEAN", [y, axes], build.tensor("mean", (1,)))
    by = build.constant("factor", np.array([factor], np.float32))
    return build.build(build.add("MUL", [mean, by], build.tensor("score", (1,))))


def bundle_of(
    folder: Path, first: bytes, last: bytes, y: NDArray[Any] = CLAMPED, spec: PipelineSpec = SPEC
) -> Path:
    """Write a bundle of one variant, whose one golden input has ``y`` and its mean in float."""
    models = folder / "models"
    models.mkdir(parents=True)
    (models / "first.tflite").write_bytes(first)
    (models / "last.tflite").write_bytes(last)
    for name, values in (("x", X), ("y", y), ("score", y.mean().reshape(1))):
        np.save(folder / f"{name}.npy", values.astype(np.float32))
    variant = {
        "name": "tflite-fp32",
        "platform": "tflite",
        "precision": "fp32",
        "files": {name: f"models/{name}.tflite" for name in ("first", "last")},
        "minimum": "any",
        "products_int8": None,
        "runtime": None,
    }
    golden = {
        "name": "line",
        "source": None,
        "front": {},
        "values": {"score": float(y.mean())},
        "vectors": {name: f"{name}.npy" for name in ("x", "y", "score")},
    }
    manifest = {
        "format": 2,
        **spec.record(),
        "platforms": {"tflite": {"layout": "NHWC", "pixels": "RGB", "minimum": "any"}},
        "variants": [variant],
        "goldens": [golden],
        "files": {},
        "provenance": PROVENANCE,
    }
    list_files(folder, manifest)
    return folder


def verified(bundle: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, expect: int) -> dict[str, Any]:
    """Return what ``mien verify --unit gpu --json`` prints, and nothing else on standard output."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    done = run_mien("verify", bundle, "--unit", "gpu", "--json", expect=expect)
    report: dict[str, Any] = json.loads(done.stdout)
    assert report["passed"] is (expect == 0)
    text = files("mien.mobile_reference.output").joinpath("schemas/verify.schema.json").read_text()
    assert Schema(json.loads(text)).problems(report) == []
    return report


def refused(bundle: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, *options: str) -> str:
    """Return the one line with which the command ends."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    done = run_mien("verify", bundle, "--unit", "gpu", *options, expect=2)
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    return line


def placements(report: dict[str, Any]) -> list[tuple[Any, ...]]:
    return [(m["model"], m["on_gpu"], m["operations"], m["refused"]) for m in report["gpu"]["models"]]


def test_a_graph_that_the_gpu_runs_whole_is_judged_by_its_gates(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = bundle_of(tmp_path / "b", activations("TANH", "RELU"), scaled_mean(1))
    report = verified(bundle, cache, monkeypatch, 0)
    assert placements(report) == [("first", 2, 2, []), ("last", 2, 2, [])]
    assert {model["device"] for model in report["gpu"]["models"]} == {"SwiftShader Device (Subzero)"}
    assert "not a phone's driver" in report["gpu"]["label"]
    assert [row["stage"] for row in report["results"]] == ["first", "last", "cascade"]
    assert 0 <= report["results"][2]["value"] < 1e-6


def test_an_operation_that_the_gpu_lacks_is_named_and_the_rest_is_judged(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = bundle_of(tmp_path / "b", activations("TANH", "RELU_0_TO_1"), scaled_mean(1))
    report = verified(bundle, cache, monkeypatch, 0)
    reason = "RELU_0_TO_1: Not supported op RELU_0_TO_1"
    assert placements(report) == [("first", 1, 2, [reason]), ("last", 2, 2, [])]


def test_a_model_of_which_the_gpu_runs_nothing_fails(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = bundle_of(tmp_path / "b", activations("RELU_0_TO_1"), scaled_mean(1), np.clip(X, 0, 1))
    report = verified(bundle, cache, monkeypatch, 1)
    (problem,) = report["gpu"]["problems"]
    assert problem.startswith("tflite-fp32: model first: the GPU runs none of its operations; RELU_0_TO_1")
    assert all(row["passed"] for row in report["results"])


@pytest.mark.parametrize(
    ("first", "factor", "words"),
    [
        ("TANH", 1.0, None),  # other numbers than float's: the gate says so
        ("SQRT", 1.0, "y has values that are not finite"),
        ("ABS", 0.0, "score is all zero"),
    ],
)
def test_wrong_numbers_zeros_and_nan_fail(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: str, factor: float, words: str | None
) -> None:
    bundle = bundle_of(tmp_path / "b", activations(first), scaled_mean(factor))
    report = verified(bundle, cache, monkeypatch, 1)
    assert [row["stage"] for row in report["results"] if not row["passed"]]
    assert (words is None) is (report["gpu"]["problems"] == [])
    assert not words or any(words in problem for problem in report["gpu"]["problems"])


def test_a_zero_that_no_gate_sees_fails(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gates = (GateSpec("score", SCALAR, {"fp32": 10.0}),)
    bundle = bundle_of(
        tmp_path / "b", activations("TANH", "RELU"), scaled_mean(0), spec=replace(SPEC, gates=gates)
    )
    report = verified(bundle, cache, monkeypatch, 1)
    assert all(row["passed"] for row in report["results"])
    assert report["gpu"]["problems"] == [
        "tflite-fp32: model last: score is all zero on the GPU, and in float it is not"
    ]


def test_without_a_vulkan_the_next_step_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = bundle_of(tmp_path / "b", activations("TANH"), scaled_mean(1))
    line = refused(bundle, tmp_path / "empty", monkeypatch)
    assert line == "mien: no Vulkan for this is set up; mien setup gpu"


def test_a_vulkan_that_lacks_what_the_delegate_needs_is_told_with_its_words(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Chromium's own mock of a driver has too small limits."""
    if not MOCK.is_file():
        pytest.skip(f"this chromium has no {MOCK.name}")
    other = tmp_path / "cache"
    folder = shutil.copytree(cache / "mien" / SWIFTSHADER, other / "mien" / SWIFTSHADER)
    driver = {"library_path": str(MOCK), "api_version": "1.1.0"}
    (folder / DRIVER).write_text(json.dumps({"file_format_version": "1.0.0", "ICD": driver}))
    bundle = bundle_of(tmp_path / "b", activations("TANH"), scaled_mean(1))
    line = refused(bundle, other, monkeypatch)
    assert "finds no Vulkan device that it can use: Insufficient Vulkan limits" in line
    assert line.endswith(f"delete {folder} and run mien setup gpu")


def test_a_vulkan_without_half_floats_does_not_judge_them(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SwiftShader has none, and LiteRT would compute in float32 without a word."""
    other = tmp_path / "cache"
    folder = shutil.copytree(cache / "mien" / SWIFTSHADER, other / "mien" / LAVAPIPE)
    bundle = bundle_of(tmp_path / "b", activations("TANH"), scaled_mean(1))
    line = refused(bundle, other, monkeypatch, "--unit", "gpu-half")
    assert line == (
        "mien: the Vulkan that is set up computes in float32 where half floats are asked for; "
        f"delete {folder} and run mien setup gpu-half"
    )


def test_a_loader_that_is_damaged_is_one_line(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "cache"
    folder = shutil.copytree(cache / "mien" / SWIFTSHADER, other / "mien" / SWIFTSHADER)
    (folder / "libvulkan.so.1").write_bytes(b"no library")
    bundle = bundle_of(tmp_path / "b", activations("TANH"), scaled_mean(1))
    assert "Vulkan's libvulkan.so.1 does not load" in refused(bundle, other, monkeypatch)


@pytest.mark.parametrize("options", [("--held-out", "."), ("--page", "p.html"), ("--labels", "l.csv")])
def test_what_the_gpu_is_not_asked_is_refused(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: Sequence[str]
) -> None:
    bundle = bundle_of(tmp_path / "b", activations("TANH"), scaled_mean(1))
    line = refused(bundle, cache, monkeypatch, *options)
    assert line == f"mien: --unit gpu judges by the golden inputs alone; leave {options[0]} out"


def test_core_ml_alone_leaves_nothing_to_check(tmp_path: Path) -> None:
    bundle = open_bundle(bundle_of(tmp_path / "b", activations("TANH"), scaled_mean(1)))
    variants = tuple(replace(one, platform="coreml") for one in bundle.variants)
    with pytest.raises(UsageError, match="--unit checks TFLite variants"):
        UNITS["gpu"].judged(replace(bundle, variants=variants), ())


def test_a_second_set_up_does_nothing(cache: Path) -> None:
    before = {file: file.stat().st_mtime_ns for file in (cache / "mien").rglob("*")}
    set_up_swiftshader(cache / "mien", lambda _: None)
    assert before == {file: file.stat().st_mtime_ns for file in (cache / "mien").rglob("*")}
    assert is_swiftshader_ready(cache / "mien")
    assert not is_swiftshader_ready(cache)


def test_half_floats_are_judged_by_three_times_their_weights_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vulkan = UNITS["gpu-half"].vulkan(default_cache())
    if not vulkan.is_ready:
        pytest.skip("no Mesa is set up here; mien setup gpu-half")
    bundle = bundle_of(tmp_path / "b", activations("TANH", "RELU"), scaled_mean(1))
    done = run_mien("verify", bundle, "--unit", "gpu-half", "--json")
    report = json.loads(done.stdout)
    assert [row["tolerance"] for row in report["results"]] == pytest.approx([0.3] * 3)
    assert 1e-6 < report["results"][2]["value"] < 1e-3


def test_libraries_that_a_machine_lacks_are_loaded_before_what_needs_them(tmp_path: Path) -> None:
    if shutil.which("gcc") is None:
        pytest.skip("there is no gcc to make libraries with")
    folder = tmp_path / "lib"
    folder.mkdir()
    for name, needed in (("one", []), ("two", ["one"]), ("three", ["one", "two"])):
        source = folder / f"{name}.c"
        source.write_text(f"int {name}(void) {{ return 1; }}\n")
        links = [str(folder / f"libmien_{other}.so") for other in needed]
        output = folder / f"libmien_{name}.so"
        options = ["-shared", "-fPIC", "-Wl,--no-as-needed", f"-Wl,-soname,{output.name}"]
        subprocess.run(["gcc", *options, "-o", output, source, *links], check=True)
    order = in_child(lambda: load_order("libmien_three.so", [folder]), Limits(), "a test")
    assert [file.name for file in order] == ["libmien_one.so", "libmien_two.so", "libmien_three.so"]
    (folder / "libmien_one.so").unlink()
    with pytest.raises(SetupError, match=r"hold no libmien_one\.so"):
        in_child(lambda: load_order("libmien_three.so", [folder]), Limits(), "a test")


@pytest.mark.parametrize(("name", "well"), [("25.0.7-2~bpo12+1", True), ("22.3.6-1+deb12u2", False)])
def test_a_mesa_that_is_too_old_for_half_floats_is_refused(*, name: str, well: bool) -> None:
    packages = ["libvulkan1_1.3.239.0-1_amd64.deb", f"mesa-vulkan-drivers_{name}_amd64.deb"]
    with nullcontext() if well else pytest.raises(SetupError, match="has Mesa 22, half floats need 24"):
        check_mesa(packages)
