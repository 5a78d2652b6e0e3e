"""Held-out faces: which portraits count, what is drawn, and that float rates what is shown."""

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from mien.models.appraisal.checkpoint import Checkpoint, checkpoint_hash
from mien.models.appraisal.errors import ImageSetError
from mien.models.appraisal.evaluation.anomalies import ANOMALIES
from mien.models.appraisal.evaluation.held_out import held_out_faces
from mien.models.appraisal.pipeline import appraisal
from mien.models.pipeline import HeldOut


def _folder(tmp_path: Path, portrait: Path, splits: list[str]) -> Path:
    with (tmp_path / "index.csv").open("w", newline="") as lines:
        rows = csv.writer(lines)
        rows.writerow(("image", "identity", "split"))
        for number, split in enumerate(splits):
            shutil.copy(portrait, tmp_path / f"{number}.jpg")
            rows.writerow((f"{number}.jpg", str(number), split))
    return tmp_path


def _held_out(folder: Path, checkpoint: Checkpoint) -> HeldOut:
    return held_out_faces(folder, checkpoint, appraisal(checkpoint))


def test_every_face_is_rated_plain_and_with_every_anomaly(
    tmp_path: Path, untouched: Path, checkpoint: Checkpoint
):
    held_out = _held_out(_folder(tmp_path, untouched, ["val", "train", "calibration"]), checkpoint)
    faces = list(held_out.samples(slice(None)))
    assert held_out.weights == checkpoint_hash(checkpoint)
    assert [face.name for face in faces] == [f"0 {kind}" for kind in ("plain", *ANOMALIES)]
    assert held_out.count == len(faces)
    assert len({face.tensors["face"].tobytes() for face in faces}) == len(faces)
    shapes = {name: tensor.shape for name, tensor in faces[0].tensors.items()}
    assert shapes["face"] == shapes["normalised"] == (1, 256, 256, 3)
    assert shapes["mask"] == shapes["heatmap"] == (1, 256, 256, 1)
    cleft = faces[1].tensors
    pixels = torch.from_numpy(np.asarray(cleft["face"], np.uint8)).permute(0, 3, 1, 2)
    with torch.inference_mode():
        expected = checkpoint.appraisal(pixels.float())
    assert float(cleft["score"][0]) == pytest.approx(float(expected.score), abs=1e-4)


def test_faces_that_were_all_seen_are_refused(tmp_path: Path, untouched: Path, checkpoint: Checkpoint):
    with pytest.raises(ImageSetError, match="held out"):
        _held_out(_folder(tmp_path, untouched, ["train", "calibration"]), checkpoint)


def test_a_picture_without_a_face_is_left_out_and_told(
    tmp_path: Path, untouched: Path, checkpoint: Checkpoint
):
    folder = _folder(tmp_path, untouched, ["val", "val"])
    (folder / "1.jpg").write_text("no image")
    held_out = _held_out(folder, checkpoint)
    assert held_out.count == 6
    assert len(held_out.skipped) == 1
    assert held_out.skipped[0].startswith("1.jpg: ")
