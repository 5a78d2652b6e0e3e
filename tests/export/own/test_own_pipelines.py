"""Pipelines of a user's own, from the command line: exported, verified, measured, and seen to be spoilt."""

import json
import shutil
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray
from PIL import Image

from mien.mobile_reference.bundle.reader import open_bundle, sha256
from mien.mobile_reference.tflite.flatbuffer import parse, serialise
from mien.mobile_reference.verify.weights import weight_results
from tests.commands import call_mien, run_mien
from tests.export.own.conftest import CHANGE, GRADER, VARIANTS, export
from tests.export.own.grader import SIZE

Values = NDArray[np.float32]


def test_a_pipeline_of_ones_own_is_verified_and_measured(grader_bundle: Path, tmp_path: Path) -> None:
    manifest = json.loads((grader_bundle / "manifest.json").read_text())
    assert manifest["name"] == "grader"
    assert [variant["name"] for variant in manifest["variants"]] == list(VARIANTS)
    shares = {variant["name"]: variant["products_int8"] for variant in manifest["variants"]}
    assert shares["tflite-int8"] > 0.9
    # The products of the dynamic one read float.
    assert shares["tflite-dynamic"] == 0
    run_mien("verify", grader_bundle)
    report = tmp_path / "bench.json"
    run_mien("bench", grader_bundle, "--target", "host", "-o", report)
    assert json.loads(report.read_text())["bundle"]["name"] == "grader"


def test_every_layer_of_ones_own_is_found_in_its_model(grader_bundle: Path, tmp_path: Path) -> None:
    call_mien("verify", grader_bundle, "--variant", "tflite-int8", "--layers", tmp_path / "layers")
    written = sorted(path.name for path in (tmp_path / "layers").glob("*-*.json"))
    spec = open_bundle(grader_bundle).spec
    graphs = [spec.whole] if spec.whole else spec.stages
    assert written == sorted(f"tflite-int8-{graph.name}.json" for graph in graphs)
    for graph in graphs:
        ((name, data),) = json.loads((tmp_path / f"layers/tflite-int8-{graph.name}.json").read_text()).items()
        model = open_bundle(grader_bundle).variant("tflite-int8").files[graph.name]
        (subgraph,) = parse(model.read_bytes()).subgraphs
        tensors = {tensor.name.decode() for tensor in subgraph.tensors}
        assert name == subgraph.name.decode()
        assert set(data["results"]) <= tensors
        assert any(result["value"] > 0 for result in data["results"].values())


def test_layers_of_the_exact_variant_alone_have_nothing_to_be_held_against(
    grader_bundle: Path, tmp_path: Path
) -> None:
    asked = ("--variant", "tflite-fp32", "--layers", tmp_path / "layers")
    done = call_mien("verify", grader_bundle, *asked, expect=2)
    assert "no TFLite variant to hold against tflite-fp32" in done.stderr
    assert not (tmp_path / "layers").exists()


def test_a_bundle_of_ones_own_needs_no_code_to_be_verified(grader_bundle: Path) -> None:
    files = {file.suffix for file in grader_bundle.rglob("*") if file.is_file()}
    assert ".py" not in files
    assert ".pkl" not in files


@pytest.fixture
def other_pictures(tmp_path: Path) -> Path:
    """Pictures that gave no ranges."""
    folder = tmp_path / "others"
    folder.mkdir()
    for number in range(3):
        noise = np.random.default_rng(100 + number).integers(0, 256, (4, 4, 3), np.uint8)
        Image.fromarray(noise).resize((30, 30)).save(folder / f"{number}.png")
    return folder


def test_held_out_inputs_are_rated_by_the_float_pipeline(
    grader_bundle: Path, other_pictures: Path, tmp_path: Path
) -> None:
    asked = ("verify", grader_bundle, "--held-out", other_pictures, "--pipeline", GRADER)
    done = call_mien(*asked, "--json")
    record = json.loads(done.stdout)
    assert record["passed"]
    assert record["held_out"]["faces"] == 3
    # It is not the golden inputs alone that judge.
    largest = _largest(lambda values: values * 1.5)
    broken = _spoilt(grader_bundle, tmp_path / "broken", "models/tflite-fp32/whole.tflite", largest)
    assert call_mien("verify", broken, *asked[2:], expect=1)


def test_labels_judge_float_and_every_variant(
    grader_bundle: Path, other_pictures: Path, tmp_path: Path
) -> None:
    lines = ["file,label"]
    for number, picture in enumerate(sorted(other_pictures.iterdir())):
        mask = np.zeros((SIZE, SIZE), np.uint8)
        mask[: 4 + number] = 255
        Image.fromarray(mask).save(tmp_path / f"{number}.png")
        lines.append(f"{picture},{number}.png")
    labels = tmp_path / "labels.csv"
    labels.write_text("\n".join(lines))
    done = call_mien("verify", grader_bundle, "--labels", labels, "--pipeline", GRADER, "--json")
    record = json.loads(done.stdout)["labels"]
    assert (record["metric"], record["tensor"], record["inputs"]) == ("mean IoU", "mask", 3)
    by_name = {one["name"]: one for one in record["figures"]}
    assert list(by_name) == ["float", *VARIANTS]
    assert by_name["float"]["interval"][0] <= by_name["float"]["value"] <= by_name["float"]["interval"][1]
    assert abs(by_name["tflite-int8"]["change"]) < 0.05
    labels.write_text("file,label\n" + lines[1] + "\n" + lines[1])
    done = call_mien("verify", grader_bundle, "--labels", labels, "--pipeline", GRADER, expect=2)
    assert "labelled again" in done.stderr


def test_a_gate_that_is_a_function_is_judged_by_its_pipeline_alone(
    grader_bundle: Path, tmp_path: Path
) -> None:
    assert "not judged here" in " ".join(call_mien("verify", grader_bundle).stdout.split())
    judged = call_mien("verify", grader_bundle, "--pipeline", GRADER)
    assert "not judged here" not in " ".join(judged.stdout.split())


def test_a_pipeline_of_other_weights_is_not_the_reference(grader_bundle: Path, tmp_path: Path) -> None:
    other = tmp_path / "grader.py"
    other.write_text(GRADER.read_text().replace("manual_seed(0)", "manual_seed(1)"))
    done = call_mien("verify", grader_bundle, "--pipeline", other, expect=2)
    assert "give the bundle's own with --pipeline" in done.stderr


def test_inputs_that_gave_the_ranges_do_not_judge(grader_bundle: Path, pictures: Path) -> None:
    done = call_mien("verify", grader_bundle, "--held-out", pictures, "--pipeline", GRADER, expect=2)
    assert "gave the bundle its ranges" in done.stderr


def test_a_new_file_is_exported_as_it_is(pictures: Path, tmp_path: Path) -> None:
    file = tmp_path / "my_grader.py"
    bundle = tmp_path / "bundle"
    run_mien("init", file)
    run_mien("export", file, "-o", bundle, "--calibration", pictures, "--variant", "tflite-fp16")
    assert json.loads((bundle / "manifest.json").read_text())["name"] == "my_grader"
    run_mien("verify", bundle)
    assert "exists; give a name that is free" in call_mien("init", file, expect=2).stderr
    assert "does not end in .py" in call_mien("init", tmp_path / "x.txt", expect=2).stderr


def _spoilt(bundle: Path, target: Path, name: str, edit: Callable[[bytes], bytes]) -> Path:
    """Copy a bundle with one of its files edited, the hash made to fit."""
    shutil.copytree(bundle, target)
    file = target / name
    before = file.read_bytes()
    file.write_bytes(edit(before))
    assert file.read_bytes() != before
    manifest = json.loads((target / "manifest.json").read_text())
    manifest["files"][name] = {"bytes": file.stat().st_size, "sha256": sha256(file)}
    (target / "manifest.json").write_text(json.dumps(manifest))
    return target


def _largest(change: Callable[[Values], Values]) -> Callable[[bytes], bytes]:
    """Return an edit of the largest float constant of a TFLite model."""

    def edited(model: bytes) -> bytes:
        parsed = parse(model)
        largest = max((b for b in parsed.buffers if b.data is not None), key=lambda b: len(b.data))
        values = change(np.frombuffer(bytes(largest.data), np.float32))
        largest.data = np.frombuffer(values.astype(np.float32).tobytes(), np.uint8)
        return serialise(parsed)

    return edited


SPOILT: dict[str, Callable[[Values], Values]] = {
    "a stage has other weights": lambda values: values[::-1],
    "a scale is off by two": lambda values: values * 2,
}


@pytest.mark.parametrize("what", SPOILT)
@pytest.mark.parametrize("model", ["segment", "rate", "whole"])
def test_a_spoilt_tflite_model_fails(grader_bundle: Path, tmp_path: Path, model: str, what: str) -> None:
    name = f"models/tflite-fp32/{model}.tflite"
    broken = _spoilt(grader_bundle, tmp_path / "broken", name, _largest(SPOILT[what]))
    done = call_mien("verify", broken, expect=1)
    assert f"tflite-fp32: stage {model}: " in done.stderr


def test_a_spoilt_core_ml_package_fails(grader_bundle: Path, tmp_path: Path) -> None:
    def zeroed(blobs: bytes) -> bytes:
        # The first blob's header: sentinel, type, bytes, offset.
        _, _, size, offset = struct.unpack_from("<IIQQ", blobs, 64)
        return blobs[:offset] + bytes(size) + blobs[offset + size :]

    name = "models/coreml-fp16/rate.mlpackage/Data/com.apple.CoreML/weights/weight.bin"
    broken = _spoilt(grader_bundle, tmp_path / "broken", name, zeroed)
    done = call_mien("verify", broken, expect=1)
    assert "coreml-fp16: stage rate: " in done.stderr


def test_golden_inputs_that_are_swapped_fail(grader_bundle: Path, tmp_path: Path) -> None:
    manifest = json.loads((grader_bundle / "manifest.json").read_text())
    first, second = (golden["vectors"]["image"] for golden in manifest["goldens"][:2])
    other = (grader_bundle / second).read_bytes()
    broken = _spoilt(grader_bundle, tmp_path / "broken", first, lambda _: other)
    call_mien("verify", broken, expect=1)


FILES = {
    "unet.pt2": ("tflite-fp32", "tflite-int8", "coreml-fp16", "coreml-w8a8"),
    "unet.onnx": ("tflite-fp32", "tflite-fp16", "tflite-int8"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_component_from_a_file_is_exported_and_seen_when_it_is_spoilt(
    unet: Path, tmp_path: Path, name: str
) -> None:
    bundle = export(unet / name, tmp_path / "bundle", unet / "inputs.npz", variants=FILES[name])
    manifest = json.loads((bundle / "manifest.json").read_text())
    assert [variant["name"] for variant in manifest["variants"]] == list(FILES[name])
    assert {gate["metric"] for gate in manifest["gates"]} == {"relative", "correlation"}
    eight = next(one for one in manifest["variants"] if one["name"] == "tflite-int8")
    assert eight["products_int8"] > 0.9
    call_mien("verify", bundle)
    call_mien("bench", bundle, "--target", "host")
    scaled = _largest(lambda values: values * 2)
    broken = _spoilt(bundle, tmp_path / "broken", "models/tflite-fp32/unet.tflite", scaled)
    assert "tflite-fp32: stage unet" in call_mien("verify", broken, expect=1).stderr


def test_an_onnx_file_is_refused_for_core_ml_before_anything_runs(unet: Path, tmp_path: Path) -> None:
    asked = ("--calibration", unet / "inputs.npz", "--variant", "coreml-fp16", "-o", tmp_path / "bundle")
    done = call_mien("export", unet / "unet.onnx", *asked, expect=2)
    assert "unet is an ONNX file, which nothing here converts to coreml-fp16" in done.stderr
    assert not list(tmp_path.iterdir())


def test_every_layer_that_is_a_tenth_too_large_fails_in_float16(grader_bundle: Path, tmp_path: Path) -> None:
    name = "models/tflite-fp16/segment.tflite"
    layers = [place for place, data in _stored(parse((grader_bundle / name).read_bytes())) if len(data) > 2]
    assert len(layers) >= 8
    for place in layers:

        def tenth(model: bytes, place: int = place) -> bytes:
            parsed = parse(model)
            values = np.frombuffer(bytes(parsed.buffers[place].data), np.float16) * np.float16(1.1)
            parsed.buffers[place].data = np.frombuffer(values.tobytes(), np.uint8)
            return serialise(parsed)

        broken = _spoilt(grader_bundle, tmp_path / f"broken{place}", name, tenth)
        found = weight_results(open_bundle(broken).only(["tflite-fp16"]))
        (failed,) = (result for result in found if not result.passed)
        assert (failed.stage, len(failed.differing)) == ("segment", 1)
    # The last one may be one that no gate sees.
    (layer,) = failed.differing
    done = call_mien("verify", broken, "--variant", "tflite-fp16", expect=1)
    assert f"stored weights are not those of tflite-fp32 in float16: {layer} by 0." in done.stderr


def test_a_layer_of_core_ml_that_is_a_tenth_too_large_fails_in_float16(
    grader_bundle: Path, tmp_path: Path
) -> None:
    def tenth(blobs: bytes) -> bytes:
        _, _, size, offset = struct.unpack_from("<IIQQ", blobs, 64)
        values = np.frombuffer(blobs, np.float16, size // 2, offset) * np.float16(1.1)
        return blobs[:offset] + values.tobytes() + blobs[offset + size :]

    name = "models/coreml-fp16/segment.mlpackage/Data/com.apple.CoreML/weights/weight.bin"
    broken = _spoilt(grader_bundle, tmp_path / "broken", name, tenth)
    done = call_mien("verify", broken, "--variant", "coreml-fp16", expect=1)
    assert "coreml-fp16: stage segment: 1 of " in done.stderr
    assert "those of coreml-fp32 in float16" in done.stderr


def _stored(parsed: Any) -> Iterator[tuple[int, Any]]:
    """Yield the constants of float16 that a TFLite model has, by the number of their buffer."""
    for tensor in parsed.subgraphs[0].tensors:
        data = parsed.buffers[tensor.buffer].data
        if data is not None and tensor.type == schema.TensorType.FLOAT16:
            yield tensor.buffer, data


def test_tensors_alone_and_inputs_that_are_swapped(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    for number in range(8):
        signals = {name: rng.normal(size=(1, 8)).astype(np.float32) for name in ("before", "after")}
        np.savez(tmp_path / f"{number}.npz", **signals)
    inputs = [tmp_path / f"{number}.npz" for number in range(8)]
    bundle = export(CHANGE, tmp_path / "bundle", *inputs, variants=("tflite-fp16", "coreml-fp16"))
    call_mien("verify", bundle)
    golden = json.loads((bundle / "manifest.json").read_text())["goldens"][0]["vectors"]
    before, after = ((bundle / golden[name]).read_bytes() for name in ("before", "after"))
    broken = _spoilt(bundle, tmp_path / "broken", golden["before"], lambda _: after)
    swapped = _spoilt(broken, tmp_path / "swapped", golden["after"], lambda _: before)
    assert "stage change" in call_mien("verify", swapped, expect=1).stderr


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import nothing_of_the_kind\n", "ModuleNotFoundError: No module named 'nothing_of_the_kind'"),
        ("x = 1\n", "defines no pipeline"),
        ("import torch\n\ntorch.zeros(2) @ torch.zeros(3)\n", "RuntimeError"),
    ],
)
def test_a_file_that_cannot_be_executed_leaves_nothing(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "broken.py").write_text(text)
    done = call_mien(
        "export", tmp_path / "broken.py", "--calibration", tmp_path, "-o", tmp_path / "bundle", expect=2
    )
    assert said in done.stderr
    assert [file.name for file in tmp_path.iterdir() if file.name != "__pycache__"] == ["broken.py"]


def test_pictures_for_tensors_are_refused_naming_the_inputs(
    unet: Path, pictures: Path, tmp_path: Path
) -> None:
    asked = ("--calibration", pictures, "-o", tmp_path / "bundle")
    done = call_mien("export", unet / "unet.pt2", *asked, expect=2)
    assert "00.png is not an .npz file" in done.stderr
    assert "picture [1, 3, 16, 16]" in done.stderr
    assert "prepare" in done.stderr
