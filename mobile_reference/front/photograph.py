"""Reading photographs: upright 8-bit RGB, or one line that says why not."""

import stat
import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from mien.mobile_reference.errors import PhotographError

Pixels = NDArray[np.uint8]

FORMATS = ("JPEG", "PNG", "WEBP")
MAX_BYTES = 64 << 20
MAX_PIXELS = 50_000_000
"""More is refused before decoding: a small file can unpack to more memory than a machine has."""
# Pillow's modes of more than eight bits a channel, which its own conversion would clip.
_DEEP_MODES = ("I;16", "I;16B", "I;16L", "I")


def read_photograph(path: Path) -> Pixels:
    """Read a JPEG, PNG or WebP file as RGB [H, W, 3], turned as its EXIF orientation says.

    Grey becomes RGB, transparency is laid over white, 16-bit values keep their upper half; of an
    animation the first picture counts.

    Raises:
        PhotographError: the path is no file, the file no such image, damaged, or too large.
    """
    _check_file(path)
    try:
        with warnings.catch_warnings():
            # Pillow warns of bombs, though our limit is lower and checked below, and of damage in EXIF.
            warnings.simplefilter("ignore")
            with Image.open(path, formats=FORMATS) as image:
                _check_size(path, image)
                upright = ImageOps.exif_transpose(image)
                return _to_rgb(upright)
    except Image.DecompressionBombError as error:
        raise _too_large(path, "far more") from error
    except UnidentifiedImageError as error:
        raise PhotographError(f"{path} is not an image; give a JPEG, PNG or WebP file") from error
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise PhotographError(f"{path} is damaged or cut short ({error}); give a whole file") from error


def _check_file(path: Path) -> None:
    try:
        status = path.stat()
    except (OSError, ValueError) as error:  # not there, or no name that a file could have
        raise PhotographError(f"{path} does not exist; give the path of a photograph") from error
    if stat.S_ISDIR(status.st_mode):
        raise PhotographError(f"{path} is a folder; name the photographs in it, e.g. {path}/*.jpg")
    if not stat.S_ISREG(status.st_mode):
        raise PhotographError(f"{path} is no regular file; give a JPEG, PNG or WebP file")
    size = status.st_size
    if size == 0:
        raise PhotographError(f"{path} is empty (0 bytes); give a JPEG, PNG or WebP file")
    if size > MAX_BYTES:
        raise PhotographError(f"{path} has {size} bytes, at most {MAX_BYTES} are read; give a smaller file")


def _check_size(path: Path, image: Image.Image) -> None:
    if image.width * image.height > MAX_PIXELS:
        raise _too_large(path, f"{image.width} x {image.height}")


def _too_large(path: Path, found: str) -> PhotographError:
    return PhotographError(f"{path} has {found} pixels, at most {MAX_PIXELS} are decoded; give a smaller one")


def _to_rgb(image: Image.Image) -> Pixels:
    if image.mode in _DEEP_MODES:
        grey = (np.asarray(image).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    return np.array(image.convert("RGB"))
