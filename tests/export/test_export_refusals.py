"""Exports that cannot be made: one line, exit 2, nothing half-written."""

import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from mien.models.appraisal.checkpoint import REFERENCE
from tests.commands import call_mien


def _refused(tmp_path: Path, *arguments: object) -> str:
    output = tmp_path / "bundle"
    done = call_mien("export", *arguments, "-o", output, expect=2)
    assert not output.exists()
    assert not list(tmp_path.glob(".bundle*"))
    lines = [line for line in done.stderr.splitlines() if line.startswith("mien:")]
    assert len(lines) == 1
    return lines[0]


def _copy(tmp_path: Path) -> tuple[Path, dict[str, torch.Tensor]]:
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    (folder / "config.json").write_text((REFERENCE / "config.json").read_text())
    return folder, load_file(REFERENCE / "model.safetensors")


def test_refuses_a_pickle(tmp_path: Path) -> None:
    folder, _ = _copy(tmp_path)
    (folder / "model.safetensors").write_bytes(pickle.dumps({"a": Path}))
    assert "not a safetensors file" in _refused(tmp_path, folder)


def test_refuses_a_missing_tensor(tmp_path: Path) -> None:
    folder, tensors = _copy(tmp_path)
    del tensors["appraisal.normal_heat"]
    save_file(tensors, folder / "model.safetensors")
    assert "lacks tensor appraisal.normal_heat" in _refused(tmp_path, folder)


def test_refuses_a_value_that_is_not_a_number(tmp_path: Path) -> None:
    folder, tensors = _copy(tmp_path)
    tensors["appraisal.normal_heat"][0, 0, 3, 3] = torch.nan
    save_file(tensors, folder / "model.safetensors")
    assert "not finite" in _refused(tmp_path, folder)


def test_refuses_a_calibration_folder_without_images(tmp_path: Path) -> None:
    (tmp_path / "faces").mkdir()
    assert "holds no image" in _refused(tmp_path, "--calibration", tmp_path / "faces")


def _samples(folder: Path, sample_folder: Path, *numbers: int) -> Path:
    """Copy sample portraits into a new folder, named by their numbers alone."""
    faces = folder / "faces"
    faces.mkdir()
    for number in numbers:
        (faces / f"{number}.jpg").write_bytes((sample_folder / f"nobody-{number:02}.jpg").read_bytes())
    return faces


def test_refuses_too_few_calibration_faces(tmp_path: Path, sample_folder: Path) -> None:
    faces = _samples(tmp_path, sample_folder, 7)
    assert "at least 4 are needed" in _refused(tmp_path, "--calibration", faces)


def test_refuses_the_same_face_twice(tmp_path: Path, sample_folder: Path) -> None:
    faces = _samples(tmp_path, sample_folder, 7, 9, 11, 13)
    (faces / "again.jpg").write_bytes((faces / "13.jpg").read_bytes())
    assert "duplicates: 13.jpg and again.jpg" in _refused(tmp_path, "--calibration", faces)


def test_refuses_to_calibrate_with_what_it_is_judged_by(tmp_path: Path, sample_folder: Path) -> None:
    faces = _samples(tmp_path, sample_folder, 1, 7, 9, 11)
    assert "the file 1.jpg is also in the evaluation set" in _refused(tmp_path, "--calibration", faces)


def test_refuses_a_folder_of_what_is_no_image(tmp_path: Path) -> None:
    faces = tmp_path / "faces"
    faces.mkdir()
    for number in range(5):
        (faces / f"{number}.jpg").write_text("not a photograph")
    assert "5 of 5 images cannot be used; 0.jpg: " in _refused(tmp_path, "--calibration", faces)


def test_refuses_a_budget_without_a_search(tmp_path: Path) -> None:
    assert "give --precision auto with them" in _refused(tmp_path, "--budget-points", "0.5")


@pytest.mark.parametrize("text", ["{", "{}", '{"tflite-fp16": {"a": "int9"}}', "[1]"])
def test_refuses_a_file_that_holds_no_precisions(tmp_path: Path, text: str) -> None:
    (tmp_path / "precision.json").write_text(text)
    line = _refused(tmp_path, "--precision", tmp_path / "precision.json")
    assert "gives no precision for tflite-fp16" in line


def test_leaves_a_folder_that_is_not_ours(tmp_path: Path) -> None:
    output = tmp_path / "bundle"
    output.mkdir()
    (output / "thesis.txt").write_text("mine")
    done = call_mien("export", "-o", output, expect=2)
    assert "is not a bundle" in done.stderr
    assert (output / "thesis.txt").read_text() == "mine"


def test_says_when_a_checkpoint_does_not_exist(tmp_path: Path) -> None:
    assert "does not exist" in _refused(tmp_path, tmp_path / "nothing")


@pytest.mark.parametrize("output", ["file"])
def test_refuses_a_file_as_output(tmp_path: Path, output: str) -> None:
    target = tmp_path / output
    target.write_text("")
    assert "is not a folder" in call_mien("export", "-o", target, expect=2).stderr
