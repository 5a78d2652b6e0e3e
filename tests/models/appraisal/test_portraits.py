"""Sets of portraits: with an index and without, and what is wrong with them."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from mien.mobile_reference.errors import PhotographError
from mien.mobile_reference.front.photograph import read_photograph
from mien.models.appraisal.checkpoint import Checkpoint
from mien.models.appraisal.errors import ImageSetError
from mien.models.appraisal.pipeline import appraisal
from mien.models.appraisal.portraits import Portrait, cut_faces, read_image, read_portraits
from mien.models.appraisal.traces import trace


def ignore(done: int, total: int) -> None:
    pass


def refused(folder: Path, split: str = "") -> str:
    with pytest.raises(ImageSetError) as caught:
        read_portraits(folder, split)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2
    return str(caught.value)


def test_the_samples_are_listed_by_their_index(samples: list[Path]):
    portraits = read_portraits(samples[0].parent)
    assert sorted(portrait.image for portrait in portraits) == samples
    assert {portrait.split for portrait in portraits} == {"golden", "calibration"}
    assert len({portrait.identity for portrait in portraits}) == 18
    golden = read_portraits(samples[0].parent, "golden")
    assert 0 < len(golden) < 18
    assert all(portrait.split == "golden" for portrait in golden)


def test_without_an_index_every_image_is_a_person(tmp_path: Path):
    (tmp_path / "deeper").mkdir()
    for name in ("b.JPG", "a.png", "deeper/c.webp", "notes.txt"):
        (tmp_path / name).touch()
    portraits = read_portraits(tmp_path)
    assert [(p.image.name, p.identity) for p in portraits] == [
        ("a.png", "a"),
        ("b.JPG", "b"),
        ("c.webp", "c"),
    ]


def test_an_index_names_splits_and_landmarks(tmp_path: Path):
    (tmp_path / "index.csv").write_text(
        "image,identity,split,landmarks\na.jpg,anna,train,a.csv\nb.jpg,bo,,\n"
    )
    first, second = read_portraits(tmp_path)
    assert first == Portrait(tmp_path / "a.jpg", "anna", "train", tmp_path / "a.csv")
    assert second == Portrait(tmp_path / "b.jpg", "bo", "", None)


def test_what_is_no_folder_of_portraits_is_refused(tmp_path: Path):
    assert "is not a folder" in refused(tmp_path / "nowhere")
    (tmp_path / "file").touch()
    assert "is not a folder" in refused(tmp_path / "file")
    (tmp_path / "empty").mkdir()
    assert "holds no image" in refused(tmp_path / "empty")


def test_a_split_that_nobody_is_in_is_refused(samples: list[Path]):
    assert "no portrait of split 'train'" in refused(samples[0].parent, "train")


BAD_INDEXES = {
    "empty": b"",
    "heading alone": b"image,identity\n",
    "other columns": b"name,person\na.jpg,anna\n",
    "short row": b"image,identity\na.jpg\n",
    "no utf-8": b"image,identity\n\xff,a\n",
    "huge field": b"image,identity\n" + b"a" * 200_000 + b",a\n",
}


@pytest.mark.parametrize("case", BAD_INDEXES)
def test_a_damaged_index_is_refused(tmp_path: Path, case: str):
    (tmp_path / "index.csv").write_bytes(BAD_INDEXES[case])
    assert "index.csv" in refused(tmp_path)


def test_an_image_is_read_upright_as_rgb(tmp_path: Path):
    pixels = np.random.default_rng(0).integers(0, 256, (5, 8, 3), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.ascontiguousarray(np.rot90(pixels))).save(tmp_path / "turned.png", exif=exif)
    image = read_image(tmp_path / "turned.png")
    assert image.dtype == torch.uint8
    assert torch.equal(image.permute(1, 2, 0), torch.from_numpy(pixels))
    Image.fromarray(pixels[..., 0]).save(tmp_path / "grey.png")
    assert read_image(tmp_path / "grey.png").shape == (3, 5, 8)


def pictures_that_need_care() -> dict[str, Image.Image]:
    """Kinds that two readers would easily read apart."""
    noise = np.random.default_rng(0).integers(0, 256, (6, 9, 4), np.uint8)
    palette = Image.fromarray(noise[..., :3]).quantize(16)
    palette.info["transparency"] = 3
    return {
        "alpha": Image.fromarray(noise),
        "grey with alpha": Image.fromarray(noise[..., :2]),
        "palette": palette,
        "grey of 16 bits": Image.fromarray(noise.view(np.uint16)[..., 0].copy()),
    }


@pytest.mark.parametrize("case", pictures_that_need_care())
def test_an_image_is_read_as_the_reference_runner_reads_it(tmp_path: Path, case: str):
    pictures_that_need_care()[case].save(tmp_path / "photo.png")
    image = read_image(tmp_path / "photo.png")
    np.testing.assert_array_equal(image.permute(1, 2, 0).numpy(), read_photograph(tmp_path / "photo.png"))


@pytest.mark.parametrize("content", [b"", b"not an image", b"%!PS-Adobe-3.0 EPSF-3.0\n", b"GIF89a"])
def test_what_is_no_image_is_refused(tmp_path: Path, content: bytes):
    (tmp_path / "bad.jpg").write_bytes(content)
    with pytest.raises(PhotographError, match=r"bad\.jpg"):
        read_image(tmp_path / "bad.jpg")


@pytest.mark.parametrize("name", ["transparency", "xmp", "exif"])
def test_a_text_chunk_does_not_end_the_work(
    samples: list[Path], checkpoint: Checkpoint, tmp_path: Path, name: str
):
    """Pillow raises TypeError for these, and of one damaged photograph the rest must not suffer."""
    shutil.copy(samples[0], tmp_path / "a.jpg")
    text = PngInfo()
    text.add_itxt(name, "a")
    Image.new("RGB", (90, 90)).save(tmp_path / "b.png", pnginfo=text)
    os.mkfifo(tmp_path / "c.png")
    cut = cut_faces(read_portraits(tmp_path), checkpoint, ignore)
    reasons = [reason for _, reason in cut.skipped]
    assert len(cut.portraits) == 1
    assert f"text chunk named '{name}'" in reasons[0]
    assert "not a regular file" in reasons[1]


def test_faces_are_cut_and_the_rest_is_skipped_with_its_reason(
    samples: list[Path], checkpoint: Checkpoint, tmp_path: Path
):
    shutil.copy(samples[0], tmp_path / "a.jpg")
    (tmp_path / "b.jpg").write_bytes(b"broken")
    Image.new("RGB", (300, 300), "grey").save(tmp_path / "c.png")
    shutil.copy(samples[2], tmp_path / "d.jpg")
    told: list[tuple[int, int]] = []
    cut = cut_faces(read_portraits(tmp_path), checkpoint, lambda *step: told.append(step))
    assert [portrait.image.name for portrait in cut.portraits] == ["a.jpg", "d.jpg"]
    assert cut.faces.shape == (2, 3, 256, 256)
    assert cut.matrices.shape == (2, 2, 3)
    reasons = {portrait.image.name: reason for portrait, reason in cut.skipped}
    assert reasons.keys() == {"b.jpg", "c.png"}
    assert "is not an image" in reasons["b.jpg"]
    assert "no face found" in reasons["c.png"]
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_a_set_without_any_face_is_refused(checkpoint: Checkpoint, tmp_path: Path):
    Image.new("RGB", (300, 300), "grey").save(tmp_path / "c.png")
    with pytest.raises(ImageSetError, match="none of 1 images shows a usable face; the first: no face found"):
        cut_faces(read_portraits(tmp_path), checkpoint, ignore)


def test_no_portraits_at_all_are_refused(checkpoint: Checkpoint):
    with pytest.raises(ImageSetError, match="no portrait"):
        cut_faces([], checkpoint, ignore)


def test_a_trace_holds_every_stage_of_the_appraisal(portrait: Tensor, checkpoint: Checkpoint):
    found = trace(portrait, checkpoint, appraisal(checkpoint))
    shapes = {name: (t.shape, t.dtype.name) for name, t in found.tensors.items()}
    assert shapes == {
        "picture": ((1, 128, 128, 3), "uint8"),
        "candidates": ((1, 896, 17), "float32"),
        "face": ((1, 256, 256, 3), "uint8"),
        "heat": ((1, 64, 64, 1), "float32"),
        "mask": ((1, 256, 256, 1), "float32"),
        "normalised": ((1, 256, 256, 3), "float32"),
        "change": ((1, 64, 64, 1), "float32"),
        "heatmap": ((1, 256, 256, 1), "float32"),
        "score": ((1,), "float32"),
    }
    with torch.inference_mode():
        face = torch.from_numpy(found.tensors["face"]).permute(0, 3, 1, 2).contiguous()
        whole = checkpoint.appraisal(face.float())
    for name in ("score", "heatmap", "mask", "normalised"):
        expected = getattr(whole, name)
        expected = expected.permute(0, 2, 3, 1) if expected.ndim == 4 else expected
        np.testing.assert_array_equal(found.tensors[name], expected.numpy(), name)
