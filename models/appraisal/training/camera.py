"""What a camera does to any picture: it blurs or sharpens, and stores as JPEG."""

import io
import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Generator, Tensor

from mien.models.appraisal.networks.layers import upsample
from mien.models.appraisal.training.corruptions import uniform

_TAPS = 3


@dataclass(frozen=True)
class Camera:
    """How one camera takes a picture; with 0 throughout it takes it as it is.

    ``reduced`` is the share of its side that a picture is stored at, 0..1; ``blur`` the standard deviation
    of a Gaussian in pixels, ``sharpening`` how much of what such a blur takes away is added instead;
    ``quality`` that of the JPEG file, 1..95.
    """

    reduced: float = 0.0
    blur: float = 0.0
    sharpening: float = 0.0
    quality: int = 0

    def take(self, face: Tensor) -> Tensor:
        """Return a face [3, S, S] in 0..1 as this camera gives it."""
        size = face.shape[-1]
        if self.reduced:
            small = F.interpolate(face[None], size=(int(size * self.reduced),) * 2, mode="area")
            face = upsample(small, size)[0]
        if self.blur:
            face = _blurred(face, self.blur)
        if self.sharpening:
            face = (face + self.sharpening * (face - _blurred(face, 1.0))).clamp(0, 1)
        return _stored(face, self.quality) if self.quality else face


def draw_camera(rng: Generator) -> Camera:
    """Draw a camera: half of them store as JPEG, a few blur, sharpen or reduce."""

    def sometimes(share: float, low: float, high: float) -> float:
        value = uniform(low, high, rng)
        return value if uniform(0, 1, rng) < share else 0.0

    return Camera(
        reduced=sometimes(0.15, 0.4, 0.9),
        blur=sometimes(0.25, 0.3, 1.3),
        sharpening=sometimes(0.2, 0.2, 1.2),
        quality=int(sometimes(0.45, 35, 96)),
    )


def _blurred(face: Tensor, deviation: float) -> Tensor:
    taps = torch.tensor([math.exp(-(d**2) / (2 * deviation**2)) for d in range(-_TAPS, _TAPS + 1)])
    kernel = (taps / taps.sum()).view(1, 1, -1, 1).expand(3, -1, -1, -1)
    padded = F.pad(face[None], (_TAPS,) * 4, mode="replicate")
    return F.conv2d(F.conv2d(padded, kernel, groups=3), kernel.transpose(2, 3), groups=3)[0]


def _stored(face: Tensor, quality: int) -> Tensor:
    pixels = torch.floor(face.clamp(0, 1) * 255 + 0.5).to(torch.uint8).permute(1, 2, 0).numpy()
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    with Image.open(file) as stored:
        return torch.from_numpy(np.array(stored)).permute(2, 0, 1).float() / 255
