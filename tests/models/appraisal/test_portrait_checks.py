"""Calibration sets that would spoil the ranges: each is refused or warned of in its own words."""

import csv
import shutil
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from mien.models.appraisal.calibration_faces import MOST_PORTRAITS, gather
from mien.models.appraisal.checkpoint import Checkpoint
from mien.models.appraisal.errors import ImageSetError
from mien.models.appraisal.pipeline import appraisal
from mien.models.appraisal.portrait_checks import (
    check_alignment,
    check_colours,
    check_duplicates,
    check_held_out,
    check_numbers,
    check_values,
    examine,
)
from mien.models.appraisal.portraits import Portrait, read_image, read_portraits


def ignore(done: int, total: int) -> None:
    pass


def people(count: int) -> list[Portrait]:
    return [Portrait(Path(f"{number}.png"), str(number)) for number in range(count)]


@pytest.fixture
def folder(tmp_path: Path, samples: list[Path]) -> Path:
    """Five portraits of five people, none with an anomaly."""
    for file in samples[:10:2]:
        shutil.copy(file, tmp_path / file.name)
    return tmp_path


@pytest.fixture
def few_drawings(monkeypatch: pytest.MonkeyPatch) -> None:
    """One drawing on each face: what the pipeline makes of them is not looked at."""
    monkeypatch.setattr("mien.models.appraisal.calibration_faces._FACES", 1)


def rewrite(folder: Path, change: Callable[[np.ndarray], np.ndarray], count: int) -> None:
    """Change the pixels of the first ``count`` portraits; PNG keeps them as they are."""
    for file in sorted(folder.glob("*.jpg"))[:count]:
        pixels = change(np.asarray(Image.open(file)))
        file.unlink()
        Image.fromarray(np.ascontiguousarray(pixels)).save(file.with_suffix(".png"))


def test_good_portraits_come_plain_and_drawn_on(folder: Path, checkpoint: Checkpoint) -> None:
    told: list[tuple[str, int, int]] = []
    portraits = read_portraits(folder)
    found = gather(portraits, [], checkpoint, appraisal(checkpoint), lambda *part: told.append(part))
    assert told[5:7] == [("checking portraits", 5, 5), ("running the float pipeline", 0, 30)]
    assert told[-1] == ("running the float pipeline", 30, 30)
    # Each of the five as it is, and with each of the five anomalies.
    assert len(found.samples) == 30
    scores = np.array([float(sample.tensors["score"][0]) for sample in found.samples]).reshape(5, 6)
    assert (scores[:, 0] > scores[:, 1:].mean(axis=1)).all()
    faces = {sample.tensors["face"].tobytes() for sample in found.samples}
    assert len(faces) == 30
    assert [warning.split(":")[0] for warning in found.warnings] == [
        "only 5 calibration faces",
        "only 5 people among them",
    ]


@pytest.mark.usefixtures("few_drawings")
def test_no_more_portraits_are_used_than_are_wanted(
    folder: Path, checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert MOST_PORTRAITS > 12
    monkeypatch.setattr("mien.models.appraisal.calibration_faces.MOST_PORTRAITS", 4)
    used = gather(read_portraits(folder), [], checkpoint, appraisal(checkpoint)).files
    chosen = [folder / f"{name}.jpg" for name in ("nobody-01", "nobody-03", "nobody-05", "nobody-07")]
    assert used == tuple(sorted(sha256(file.read_bytes()).hexdigest() for file in chosen))


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (torch.rand(3, 8, 8), "of a range 0..1"),
        (torch.rand(3, 8, 8) * 4 - 2, "are already normalised"),
        ((torch.rand(3, 8, 8) * 4).to(torch.uint8), "reach only 3 of 255, as if normalised"),
        ((torch.rand(3, 8, 8) + 0.5).to(torch.uint8), "of a range 0..1"),
        (torch.rand(3, 8, 8) * 255, "values are float32"),
    ],
)
def test_values_that_are_no_photograph_are_refused(pixels: Tensor, message: str) -> None:
    with pytest.raises(ImageSetError, match=message):
        check_values(pixels)


def test_a_dark_photograph_is_still_a_photograph() -> None:
    check_values(torch.full((3, 8, 8), 9, dtype=torch.uint8))


def test_swapped_colours_are_refused(face: Tensor, checkpoint: Checkpoint) -> None:
    check_colours(face, checkpoint.appraisal.region)
    with pytest.raises(ImageSetError, match="red and blue are swapped"):
        check_colours(face.flip(0), checkpoint.appraisal.region)


def test_the_background_has_no_say_in_the_colours(face: Tensor, checkpoint: Checkpoint) -> None:
    blue_wall = face.clone()
    blue_wall[:, :40] = torch.tensor([0, 0, 255], dtype=torch.uint8)[:, None, None]
    check_colours(blue_wall, checkpoint.appraisal.region)


def test_a_face_that_is_not_aligned_is_refused(face: Tensor, checkpoint: Checkpoint) -> None:
    check_alignment(face, checkpoint)
    with pytest.raises(ImageSetError, match=r"the face is not aligned: its features lie 2\d pixels"):
        check_alignment(face.roll(24, 2), checkpoint)


def test_a_photograph_is_examined_for_all_of_it(portrait: Tensor, checkpoint: Checkpoint) -> None:
    assert examine(portrait, checkpoint).pixels.shape == (3, 256, 256)
    with pytest.raises(ImageSetError, match="are swapped"):
        examine(portrait.flip(0), checkpoint)
    with pytest.raises(ImageSetError, match="reach only 2 of 255"):
        examine(portrait // 100, checkpoint)


def test_most_images_must_be_usable(folder: Path, checkpoint: Checkpoint) -> None:
    rewrite(folder, lambda pixels: pixels[..., ::-1], 3)
    with pytest.raises(ImageSetError, match=r"3 of 5 images cannot be used; nobody-01.png: .* are swapped"):
        gather(read_portraits(folder), [], checkpoint, appraisal(checkpoint))


@pytest.mark.usefixtures("few_drawings")
def test_one_image_without_a_face_is_left_out_with_a_warning(folder: Path, checkpoint: Checkpoint) -> None:
    rewrite(folder, lambda pixels: np.full_like(pixels, 128), 1)
    found = gather(read_portraits(folder), [], checkpoint, appraisal(checkpoint))
    assert found.warnings[0].startswith("left out nobody-01.png: no face found")
    assert len(found.files) == 4


def test_few_faces_and_few_people_are_told_apart() -> None:
    with pytest.raises(ImageSetError, match="1 calibration faces were found, at least 4 are needed"):
        list(check_numbers(people(1)))
    with pytest.raises(ImageSetError, match="2 people among them were found, at least 4 are needed"):
        list(check_numbers(people(2) * 6))
    assert list(check_numbers(people(12))) == []
    (warning,) = check_numbers(people(6) * 2)
    assert warning.startswith("only 6 people among them")


def test_equal_faces_are_refused_by_name_and_nearly_equal_ones_warned_of(face: Tensor) -> None:
    others = [face, face.flip(2), face.roll(30, 1)]
    assert list(check_duplicates(["a", "b", "c"], others)) == []
    with pytest.raises(ImageSetError, match="duplicates: a and d"):
        list(check_duplicates(["a", "b", "c", "d"], [*others, face]))
    nearly = face.clone()
    nearly[:, ::2] ^= 1
    (warning,) = check_duplicates(["a", "b", "c", "d"], [*others, nearly])
    assert warning.startswith("a and d seem to be one photograph")


@pytest.mark.usefixtures("few_drawings")
def test_a_photograph_saved_again_is_nearly_equal(folder: Path, checkpoint: Checkpoint) -> None:
    Image.open(folder / "nobody-05.jpg").save(folder / "nobody-05-again.jpg", quality=60)
    found = gather(read_portraits(folder), [], checkpoint, appraisal(checkpoint))
    assert any("nobody-05-again.jpg and nobody-05.jpg seem" in warning for warning in found.warnings)


def test_a_file_of_the_evaluation_set_is_refused(folder: Path, tmp_path: Path) -> None:
    portraits = read_portraits(folder)
    copy = tmp_path / "elsewhere.jpg"
    shutil.copy(folder / "nobody-03.jpg", copy)
    with pytest.raises(ImageSetError, match=r"the file nobody-03.jpg is also in the evaluation set"):
        check_held_out(portraits, [Portrait(copy, "someone else")])


def test_a_person_of_the_evaluation_set_is_refused(folder: Path, checkpoint: Checkpoint) -> None:
    splits = ("train", "train", "train", "train", "val")
    with (folder / "index.csv").open("w", newline="") as lines:
        writer = csv.writer(lines)
        writer.writerow(("image", "identity", "split"))
        for number, (file, split) in enumerate(zip(sorted(folder.glob("*.jpg")), splits, strict=True)):
            writer.writerow((file.name, f"person-{number % 4}", split))
    with pytest.raises(ImageSetError, match=r"the person person-0 of nobody-01.jpg is also in"):
        gather(read_portraits(folder), [], checkpoint, appraisal(checkpoint))


def test_held_out_portraits_are_never_calibrated_with(folder: Path, checkpoint: Checkpoint) -> None:
    held_out = [Portrait(p.image, p.identity, "val") for p in read_portraits(folder)]
    with pytest.raises(ImageSetError, match="all 5 portraits are held out by their split"):
        gather(held_out, [], checkpoint, appraisal(checkpoint))


def test_the_shipped_calibration_has_no_fault(sample_folder: Path, checkpoint: Checkpoint) -> None:
    shipped = read_portraits(sample_folder, "calibration")
    for portrait in shipped:
        examine(read_image(portrait.image), checkpoint)
    check_held_out(shipped, read_portraits(sample_folder, "golden"))
    assert list(check_numbers(shipped)) == []
