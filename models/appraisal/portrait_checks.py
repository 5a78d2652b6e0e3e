"""What would spoil int8 ranges without any converter complaining, each found and named.

A set that cannot give ranges is refused (``ImageSetError``); what merely weakens it is a warning.
"""

from collections.abc import Iterator, Sequence
from hashlib import sha256

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .alignment import AlignedFace, align
from .checkpoint import Checkpoint
from .errors import ImageSetError
from .portraits import Portrait

LEAST_FACES = 4
"""Fewer portraits, or portraits of fewer people, are refused; fewer than ``FEW_FACES`` are a warning."""
FEW_FACES = 12
# An 8-bit photograph whose brightest value is this small was saved from numbers meant for a network.
_DARKEST = 8
# Skin reflects more red than blue: by 26 levels and more in every face of the portraits that mien was
# trained and evaluated on. Below zero red and blue were swapped.
_LEAST_RED = 0.0
# The detector, looking at an aligned face, finds its template again within 8 pixels on the same portraits.
_FARTHEST = 12.0
# Mean difference of two faces at 32 x 32, in levels. The same photograph saved again stays below 2, two
# photographs of one person in one sitting differ by 3.9 and more.
_NEAR = 2.5
_THUMBNAIL = 32


def examine(photo: Tensor, checkpoint: Checkpoint) -> AlignedFace:
    """Align the face of a photograph, [3, H, W], and refuse one that ranges must not be made from.

    Raises:
        ImageSetError: its values are not 0..255, its colours are swapped, or it cannot be aligned well.
        NoFaceError: it shows no usable face.
    """
    check_values(photo)
    face = align(photo, checkpoint.detector, checkpoint.config.alignment)
    check_colours(face.pixels, checkpoint.appraisal.region)
    check_alignment(face.pixels, checkpoint)
    return face


def check_values(pixels: Tensor) -> None:
    """Refuse pixels that are not uint8 0..255."""
    low, high = float(pixels.min()), float(pixels.max())
    if pixels.dtype == torch.uint8 and high > _DARKEST:
        return
    if low < 0:
        problem = f"values from {low:.3g} to {high:.3g} are already normalised"
    elif high <= 1:
        problem = f"values from {low:.3g} to {high:.3g} are of a range 0..1"
    elif pixels.dtype == torch.uint8:
        problem = f"values reach only {high:.0f} of 255, as if normalised before they were saved"
    else:
        problem = f"values are {str(pixels.dtype).removeprefix('torch.')}"
    raise ImageSetError(f"{problem}; give RGB of 8 bits, 0..255, as a camera stores it")


def check_colours(face: Tensor, region: Tensor) -> None:
    """Refuse an aligned face, uint8 [3, S, S], whose skin is bluer than red: BGR taken for RGB.

    ``region``, [1, 1, h, w], is 1 where the face is.
    """
    inside = F.interpolate(region, size=face.shape[1:])[0, 0] > 0
    red, _, blue = face.float()[:, inside].mean(dim=1).tolist()
    if red - blue < _LEAST_RED:
        raise ImageSetError(
            f"the face is bluer ({blue:.0f}) than red ({red:.0f}): red and blue are swapped; save it as RGB"
        )


def check_alignment(face: Tensor, checkpoint: Checkpoint) -> None:
    """Refuse an aligned face, uint8 [3, S, S], whose eyes, nose and mouth are not where they belong."""
    rule = checkpoint.config.alignment
    matrix = align(face, checkpoint.detector, rule).matrix.numpy()
    template = np.array(rule.template)
    off = float(np.abs(template @ matrix[:, :2].T + matrix[:, 2] - template).max())
    if off > _FARTHEST:
        raise ImageSetError(
            f"the face is not aligned: its features lie {off:.0f} pixels from their places, at most "
            f"{_FARTHEST:.0f} are allowed; give an upright, frontal portrait"
        )


def check_numbers(portraits: Sequence[Portrait]) -> Iterator[str]:
    """Refuse too few images or people, and yield a warning where they are few.

    Raises:
        ImageSetError: there are fewer than ``LEAST_FACES`` of either.
    """
    people = {portrait.identity for portrait in portraits}
    for count, what in ((len(portraits), "calibration faces"), (len(people), "people among them")):
        if count < LEAST_FACES:
            raise ImageSetError(
                f"{count} {what} were found, at least {LEAST_FACES} are needed; add portraits"
            )
        if count < FEW_FACES:
            yield f"only {count} {what}: ranges may be too narrow for others; {FEW_FACES} or more are better"


def check_held_out(portraits: Sequence[Portrait], evaluation: Sequence[Portrait]) -> None:
    """Refuse a portrait by which the bundle is also judged: a file or a person of the evaluation set.

    Raises:
        ImageSetError: names the first.
    """
    files = {_hash(portrait): portrait for portrait in evaluation}
    people = {portrait.identity: portrait for portrait in evaluation}
    for portrait in portraits:
        for what, same in (
            (f"the file {portrait.image.name}", files.get(_hash(portrait))),
            (f"the person {portrait.identity} of {portrait.image.name}", people.get(portrait.identity)),
        ):
            if same:
                raise ImageSetError(
                    f"{what} is also in the evaluation set ({same.image}); what a bundle is judged by must "
                    "not give its ranges: remove one of them"
                )


def _hash(portrait: Portrait) -> str:
    return image_hash(portrait) if portrait.image.is_file() else str(portrait.image)


def image_hash(portrait: Portrait) -> str:
    """Hash the file of a portrait."""
    return sha256(portrait.image.read_bytes()).hexdigest()


def check_duplicates(names: Sequence[str], faces: Sequence[Tensor]) -> Iterator[str]:
    """Refuse equal faces, uint8 [3, S, S], and yield a warning for each pair that is nearly equal.

    Raises:
        ImageSetError: names the first equal pair.
    """
    small = torch.stack([F.adaptive_avg_pool2d(face.float(), _THUMBNAIL) for face in faces])
    for second in range(1, len(faces)):
        apart = (small[:second] - small[second]).abs().mean(dim=(1, 2, 3))
        first = int(apart.argmin())
        if torch.equal(faces[first], faces[second]):
            raise ImageSetError(
                f"calibration faces are duplicates: {names[first]} and {names[second]}; remove one of them"
            )
        if float(apart[first]) < _NEAR:
            yield f"{names[first]} and {names[second]} seem to be one photograph; the second adds nothing"


def check_left_out(reasons: Sequence[tuple[str, str]], total: int) -> Iterator[str]:
    """Refuse a set most of which cannot be used, and yield a warning for each image that was left out.

    ``reasons`` are pairs of an image's name and what is wrong with it.

    Raises:
        ImageSetError: more than half of ``total`` images were left out; says why the first was.
    """
    if 2 * len(reasons) > total:
        name, reason = reasons[0]
        raise ImageSetError(f"{len(reasons)} of {total} images cannot be used; {name}: {reason}")
    for name, reason in reasons:
        yield f"left out {name}: {reason}"
