"""Pipelines of a user's own, from the command line: exported, verified, measured, and seen to be spoilt."""

import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from mien.mobile_reference.bundle.reader import sha256
from mien.mobile_reference.tflite.flatbuffer import parse, serialise
from tests.commands import run_mien
from tests.export.own.conftest import VARIANTS

Values = NDArray[np.float32]


def test_a_pipeline_of_ones_own_is_verified_and_measured(grader_bundle: Path, tmp_path: Path) -> None:
    manifest = json.loads((grader_bundle / "manifest.json").read_text())
    assert manifest["name"] == "grader"
    assert [variant["name"] for variant in manifest["variants"]] == list(VARIANTS)
    eight = manifest["variants"][2]
    assert eight["products_int8"] > 0.9
    run_mien("verify", grader_bundle)
    report = tmp_path / "bench.json"
    run_mien("bench", grader_bundle, "--target", "host", "-o", report)
    assert json.loads(report.read_text())["bundle"]["name"] == "grader"


def test_a_bundle_of_ones_own_needs_no_code_to_be_verified(grader_bundle: Path) -> None:
    files = {file.suffix for file in grader_bundle.rglob("*") if file.is_file()}
    assert ".py" not in files
    assert ".pkl" not in files


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
    done = run_mien("verify", broken, expect=1)
    assert f"tflite-fp32: stage {model} " in done.stderr


def test_a_spoilt_core_ml_package_fails(grader_bundle: Path, tmp_path: Path) -> None:
    def zeroed(blobs: bytes) -> bytes:
        # The first blob's header: sentinel, type, bytes, offset.
        _, _, size, offset = struct.unpack_from("<IIQQ", blobs, 64)
        return blobs[:offset] + bytes(size) + blobs[offset + size :]

    name = "models/coreml-fp16/rate.mlpackage/Data/com.apple.CoreML/weights/weight.bin"
    broken = _spoilt(grader_bundle, tmp_path / "broken", name, zeroed)
    done = run_mien("verify", broken, expect=1)
    assert "coreml-fp16: stage rate " in done.stderr


def test_golden_inputs_that_are_swapped_fail(grader_bundle: Path, tmp_path: Path) -> None:
    manifest = json.loads((grader_bundle / "manifest.json").read_text())
    first, second = (golden["vectors"]["image"] for golden in manifest["goldens"][:2])
    other = (grader_bundle / second).read_bytes()
    broken = _spoilt(grader_bundle, tmp_path / "broken", first, lambda _: other)
    run_mien("verify", broken, expect=1)
