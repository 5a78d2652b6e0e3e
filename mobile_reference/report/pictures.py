"""What people look at: the heat over the face, the mask, the normalised face."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mien.mobile_reference.front.photograph import Pixels
from mien.mobile_reference.run.runner import Appraisal

# Heat at which the overlay is fully coloured.
_FULL_HEAT = 1.0
# From no heat to full heat: dark violet, red, orange, pale yellow.
_COLOURS = np.array([(60, 0, 90), (190, 30, 60), (250, 130, 20), (255, 245, 160)], dtype=np.float64)


def heat_colours(heatmap: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return colours [H, W, 3] in 0..255 and opacities [H, W, 1] in 0..1 of a heatmap [H, W]."""
    level = np.clip(heatmap / _FULL_HEAT, 0, 1)
    steps = np.linspace(0, 1, len(_COLOURS))
    colours = np.stack([np.interp(level, steps, _COLOURS[:, c]) for c in range(3)], axis=-1)
    return colours, np.sqrt(level)[..., None] * 0.85


def overlay(face: Pixels, heatmap: NDArray[np.float32]) -> Pixels:
    """Lay a heatmap [H, W] over its face [H, W, 3]."""
    colours, opacity = heat_colours(heatmap)
    return np.asarray(np.round(face + opacity * (colours - face)), dtype=np.uint8)


def panel(appraisal: Appraisal) -> Pixels:
    """Put face, overlay, mask and normalised face side by side, [256, 1024, 3]."""
    mask = np.repeat(np.round(appraisal.mask * 255).astype(np.uint8)[..., None], 3, axis=2)
    heat = overlay(appraisal.face, appraisal.heatmap)
    return np.concatenate([appraisal.face, heat, mask, appraisal.normalised], axis=1)


def write_appraisal(appraisal: Appraisal, folder: Path, stem: str) -> None:
    """Write ``<stem>.{overlay,mask,normalised,panel}.png`` and ``<stem>.heatmap.npy``."""
    pictures = {
        "overlay": overlay(appraisal.face, appraisal.heatmap),
        "mask": np.round(appraisal.mask * 255).astype(np.uint8),
        "normalised": appraisal.normalised,
        "panel": panel(appraisal),
    }
    for kind, pixels in pictures.items():
        Image.fromarray(pixels).save(folder / f"{stem}.{kind}.png")
    np.save(folder / f"{stem}.heatmap.npy", appraisal.heatmap.astype(np.float32))
