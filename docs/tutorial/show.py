"""Show what the bundle makes of plates: picture, mask in float32 and in int8, one row for each."""

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

import mien
from mien.mobile_reference.bundle.reader import Bundle

LARGER = 3
VARIANTS = ("tflite-fp32", "tflite-int8")


def row(bundle: Bundle, file: Path) -> NDArray[np.uint8]:
    """Return the pictures of one plate side by side, and print its grades."""
    image = np.asarray(Image.open(file).convert("RGB"))
    made = [mien.run_bundle(bundle, {"image": image[None]}, variant=variant) for variant in VARIANTS]
    grades = (f"{name}: {one['grade'].item():.1f}" for name, one in zip(VARIANTS, made, strict=True))
    sys.stdout.write(f"{file.name} {' '.join(grades)}\n")
    masks = [np.repeat((255 * one["mask"][0]).astype(np.uint8), 3, 2) for one in made]
    return np.concatenate([image, *masks], 1)


def main(bundle: str, folder: str, output: str) -> None:
    """Write the picture of the first four plates of a folder."""
    opened = mien.open_bundle(bundle)
    rows = [row(opened, file) for file in sorted(Path(folder).glob("*.png"))[:4]]
    picture = Image.fromarray(np.concatenate(rows))
    picture.resize((picture.width * LARGER, picture.height * LARGER), Image.Resampling.NEAREST).save(output)


if __name__ == "__main__":
    main(*sys.argv[1:])
