"""Held-out faces for ``mien verify``: aligned, plain and with drawn anomalies, and what float makes of each.

The reference runner finds this by the entry-point group ``mien.references``: it draws and computes what
the light install cannot.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from mien.models.appraisal.checkpoint import REFERENCE, Checkpoint, checkpoint_hash, load_checkpoint
from mien.models.appraisal.errors import ImageSetError
from mien.models.appraisal.portrait_checks import image_hash
from mien.models.appraisal.portraits import Portrait, cut_faces, read_portraits
from mien.models.appraisal.traces import trace_face

from .anomalies import ANOMALIES, draw_on_face

# What a bundle's weights and ranges may have been made from says nothing about faces it has not seen.
SEEN = frozenset({"train", "calibration"})


@dataclass(frozen=True)
class HeldOutFace:
    """One aligned face and the float tensors of every stage by name, channels last with a batch of 1."""

    name: str
    tensors: dict[str, NDArray[np.generic]]


@dataclass(frozen=True)
class HeldOutFaces:
    """Faces to judge by: how many there are, which checkpoint rates them, and the faces themselves.

    ``images`` are hashes of the photographs. ``skipped`` says which portraits were left out, and why.
    ``faces`` makes one after the other: an evaluation never holds them all.
    """

    checkpoint: str
    count: int
    images: tuple[str, ...]
    skipped: tuple[str, ...]
    faces: Callable[[], Iterator[HeldOutFace]]


def held_out_faces(folder: Path, checkpoint: Path | None) -> HeldOutFaces:
    """Cut the faces of ``folder`` that are neither of split train nor of split calibration.

    Each is rated plain and with every kind of drawn anomaly, its severity by turns.

    Raises:
        ImageSetError: the folder holds no such portrait, or none shows a usable face.
        CheckpointError: the checkpoint cannot be used.
    """
    loaded = load_checkpoint(checkpoint or REFERENCE)
    portraits = [portrait for portrait in read_portraits(folder) if portrait.split not in SEEN]
    if not portraits:
        raise ImageSetError(
            f"every portrait of {folder} is of split train or calibration; give faces that were held out"
        )
    cut = cut_faces(portraits, loaded, lambda done, total: None)
    skipped = tuple(f"{portrait.image.name}: {reason}" for portrait, reason in cut.skipped)
    kinds = ("plain", *ANOMALIES)

    def faces() -> Iterator[HeldOutFace]:
        for place, (portrait, face) in enumerate(zip(cut.portraits, cut.faces, strict=True)):
            picture = face.permute(1, 2, 0).contiguous().numpy()
            for turn, kind in enumerate(kinds):
                yield _rated(portrait, kind, drawn(kind, picture, place + turn, loaded), loaded)

    images = tuple(image_hash(portrait) for portrait in cut.portraits)
    return HeldOutFaces(checkpoint_hash(loaded), len(cut.portraits) * len(kinds), images, skipped, faces)


def drawn(kind: str, picture: NDArray[np.uint8], turn: int, checkpoint: Checkpoint) -> NDArray[np.uint8]:
    """Draw an anomaly of a kind, or none for ``plain``, on an aligned face [256, 256, 3].

    ``turn`` decides severity, side and details.
    """
    if kind == "plain":
        return picture
    return draw_on_face(kind, picture, checkpoint.config.alignment.template, turn)


def _rated(portrait: Portrait, kind: str, picture: NDArray[np.uint8], checkpoint: Checkpoint) -> HeldOutFace:
    pixels = torch.from_numpy(picture).permute(2, 0, 1)[None].contiguous()
    tensors = {name: _channels_last(value) for name, value in trace_face(pixels, checkpoint).items()}
    return HeldOutFace(f"{portrait.image.stem} {kind}", tensors)


def _channels_last(tensor: torch.Tensor) -> NDArray[np.generic]:
    return (tensor.permute(0, 2, 3, 1).contiguous() if tensor.ndim == 4 else tensor).numpy()
