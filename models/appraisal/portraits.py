"""Sets of portraits: a folder of images, with an ``index.csv`` or without, and the faces cut from it."""

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import file_digest
from pathlib import Path

import torch
from torch import Tensor

from mien.mobile_reference.errors import PhotographError
from mien.mobile_reference.files import check_size
from mien.mobile_reference.front.photograph import read_photograph
from mien.mobile_reference.output.text import path_text
from mien.models.errors import NoFaceError

from .alignment import AlignedFace, align
from .checkpoint import Checkpoint
from .errors import ImageSetError

SAMPLES = Path(__file__).parent / "samples"
"""The portraits that ship with mien: of nobody, see ``training.sample_portraits``."""
INDEX = "index.csv"
TRAINING = ("", "train")
"""Splits of portraits that may be trained on: the one of that name, and none."""
_MAX_INDEX_BYTES = 64 << 20
_COLUMNS = frozenset({"image", "identity", "split", "landmarks"})
TRAITS = frozenset(
    {"glasses", "beard", "hat", "child", "elderly", "dark_skin", "hard_light", "teeth", "eyes_closed"}
)
"""Columns of 0 and 1 that tell what is ordinary about a face."""
_REMARKS = frozenset(
    {
        "source",
        "licence",
        "eyes_px",
        "turn",
        "expression",
        "age",
        "gender",
        "ethnicity",
        "anomaly",
        "severity",
    }
)
IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp"})

Progress = Callable[[int, int], None]
"""Told how many of how many are done."""


@dataclass(frozen=True)
class Portrait:
    """One image of a set.

    ``landmarks`` is a CSV file of x,y in pixels of the image, where there is one; ``attributes`` holds
    what the index says of it in further columns, such as age.
    """

    image: Path
    identity: str
    split: str = ""
    landmarks: Path | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What reports call the image."""
        return path_text(self.image.name)


@dataclass(frozen=True)
class FaceSet:
    """Aligned faces, uint8 [K, 3, 256, 256], in the order of the ``portraits`` they come from.

    ``matrices`` [K, 2, 3] take pixels of a portrait to pixels of its face; ``skipped`` holds what showed
    no usable face, with the reason.
    """

    faces: Tensor
    matrices: Tensor
    portraits: tuple[Portrait, ...]
    skipped: tuple[tuple[Portrait, str], ...]


def read_portraits(folder: Path, split: str = "") -> list[Portrait]:
    """List the portraits of ``folder``, of one ``split`` only if it is named.

    Without an index every image is a portrait, and each is taken for a person of its own.

    Raises:
        ImageSetError: the folder holds no image, or its index cannot be read.
    """
    if not folder.is_dir():
        raise ImageSetError(f"{folder} is not a folder; give a folder of portraits")
    listed = _indexed(folder) if (folder / INDEX).is_file() else _unlisted(folder)
    chosen = [portrait for portrait in listed if not split or portrait.split == split]
    if not chosen:
        wanted = (
            f"portrait of split '{split}'" if split else "image (" + ", ".join(sorted(IMAGE_SUFFIXES)) + ")"
        )
        there = ", ".join(sorted({portrait.split for portrait in listed} - {""}))
        hint = f"its splits are {there}" if there else "give a folder of portraits"
        raise ImageSetError(f"{folder} holds no {wanted}; {hint}")
    return chosen


def _indexed(folder: Path) -> list[Portrait]:
    try:
        check_size(folder / INDEX, _MAX_INDEX_BYTES)
        with (folder / INDEX).open(newline="", encoding="utf-8") as lines:
            rows = list(csv.DictReader(lines, restval=""))
    except (ValueError, csv.Error) as error:
        raise ImageSetError(f"{folder / INDEX} is not a CSV file in UTF-8: {error}") from error
    if not rows or not all(row.get("image") and row.get("identity") for row in rows):
        raise ImageSetError(f"{folder / INDEX} needs the columns image and identity, filled in every row")
    return [
        Portrait(
            image=folder / row["image"],
            identity=row["identity"],
            split=row.get("split", ""),
            landmarks=folder / row["landmarks"] if row.get("landmarks") else None,
            attributes={column: row[column] for column in row if column not in _COLUMNS},
        )
        for row in rows
    ]


def check_index(folder: Path, portraits: Sequence[Portrait]) -> None:
    """Check what the index of ``folder`` says of all its portraits before hours are spent on them.

    Raises:
        ImageSetError: a column is unknown, a trait neither 0 nor 1, or a person on two sides of a split.
    """
    sides: dict[str, str] = {}
    for portrait in portraits:
        known = TRAITS | _REMARKS
        if unknown := sorted(set(portrait.attributes) - known):
            raise ImageSetError(
                f"{folder / INDEX} has the unknown column '{unknown[0]}'; "
                f"traits are {', '.join(sorted(TRAITS))}"
            )
        for trait in sorted(TRAITS & portrait.attributes.keys()):
            if (value := portrait.attributes[trait]) not in ("0", "1"):
                raise ImageSetError(
                    f"{folder / INDEX} says '{value:.20}' for {trait} of {portrait.name}; expected 0 or 1"
                )
        side = sides.setdefault(portrait.identity, portrait.split)
        if side != portrait.split:
            raise ImageSetError(
                f"{folder / INDEX} has {portrait.identity} in the splits '{side}' and '{portrait.split}'; "
                "a person may stand in one alone"
            )


def check_apart(portraits: Sequence[Portrait]) -> None:
    """Check that no picture, whatever its name and folder, stands among those to train on and among others.

    Raises:
        ImageSetError: one does.
    """
    sides: dict[bytes, Portrait] = {}
    for portrait in portraits:
        if not portrait.image.is_file():
            continue
        with portrait.image.open("rb") as file:
            other = sides.setdefault(file_digest(file, "sha256").digest(), portrait)
        if (other.split in TRAINING) != (portrait.split in TRAINING):
            raise ImageSetError(
                f"{portrait.image} and {other.image} are one picture in the splits "
                f"'{portrait.split}' and '{other.split}'; leave one of them out"
            )


def _unlisted(folder: Path) -> list[Portrait]:
    images = sorted(p for p in folder.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES)
    return [Portrait(image, path_text(image.stem)) for image in images]


def read_image(path: Path) -> Tensor:
    """Read a photograph as the reference runner does, uint8 sRGB [3, H, W].

    Raises:
        PhotographError: the file is not a photograph that can be read.
    """
    return torch.from_numpy(read_photograph(path)).permute(2, 0, 1).contiguous()


def cut_faces(portraits: Sequence[Portrait], checkpoint: Checkpoint, progress: Progress) -> FaceSet:
    """Align the face of every portrait.

    Raises:
        ImageSetError: not one portrait shows a usable face.
    """
    kept: list[tuple[Portrait, AlignedFace]] = []
    skipped: list[tuple[Portrait, str]] = []
    for done, portrait in enumerate(portraits, start=1):
        try:
            photo = read_image(portrait.image)
            kept.append((portrait, align(photo, checkpoint.detector, checkpoint.config.alignment)))
        except (PhotographError, NoFaceError) as error:
            skipped.append((portrait, str(error)))
        progress(done, len(portraits))
    if not portraits:
        raise ImageSetError("no portrait was chosen; give a folder with portraits of the right split")
    if not kept:
        raise ImageSetError(f"none of {len(skipped)} images shows a usable face; the first: {skipped[0][1]}")
    return FaceSet(
        faces=torch.stack([face.pixels for _, face in kept]),
        matrices=torch.stack([face.matrix for _, face in kept]),
        portraits=tuple(portrait for portrait, _ in kept),
        skipped=tuple(skipped),
    )
