"""Reading photographs: upright 8-bit sRGB, or one line that says why not.

This is the only reader of photographs. The float pipeline, the reference runner and the Core ML
evaluator all see the pixels that it returns.
"""

import stat
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from io import BytesIO
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.ExifTags import Base
from PIL.ImageFile import ImageFile

from mien.mobile_reference.errors import PhotographError

from .colour import srgb_converter
from .formats import SIGNATURE_BYTES, format_name
from .jpeg_data import with_more_data
from .png_data import is_whole

Pixels = NDArray[np.uint8]

MAX_BYTES = 256 << 20
MAX_SIDE = 32_768
"""A longer picture is refused before decoding, however narrow: decoders keep state for every row."""
FULL_JPEG_PIXELS = 50_000_000
"""A JPEG of more pixels is decoded at a half, a quarter or an eighth of its width and height."""


@dataclass(frozen=True)
class _Format:
    """A format that is read: the most pixels of a file, and what of Pillow opens it.

    Pillow's own ``Image.open`` imports all formats, and refuses pictures of 179 megapixels; phones take them.
    """

    module: str
    opener: str
    max_pixels: int

    def open(self, stream: IO[bytes]) -> ImageFile:
        """Read the head of a file."""
        opener: Callable[[IO[bytes]], ImageFile] = getattr(import_module(self.module), self.opener)
        return opener(stream)


FORMATS = {
    "JPEG": _Format("PIL.JpegImagePlugin", "jpeg_factory", 210_000_000),
    "PNG": _Format("PIL.PngImagePlugin", "PngImageFile", 64_000_000),
    "WebP": _Format("PIL.WebPImagePlugin", "WebPImageFile", 64_000_000),
}
# Pillow's raw mode of a 16-bit PNG, and the raw modes that give both halves of every value: "B" is the
# upper one, "L" the lower one. Grey comes whole, and grey with alpha as the bytes of the file.
_SIXTEEN_BITS = {
    "I;16B": ("I;16B",),
    "LA;16B": ("RGBA",),
    "RGB;16B": ("RGB;16B", "RGB;16L"),
    "RGBA;16B": ("RGBA;16B", "RGBA;16L"),
}
_ROWS = 256
"""As many rows are finished at a time: a picture of 64 megapixels shall not be held five times."""
# Pillow keeps a PNG's text under its keyword, in one table with what the decoder itself needs.
_NOT_TEXT = ("exif", "icc_profile", "interlace", "transparency", "xmp")
_BLOCK = 8
"""Width and height of what a JPEG codes at once."""
_UPRIGHT: Mapping[int, Callable[[Pixels], Pixels]] = {
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.swapaxes(0, 1),
    6: lambda stored: stored[::-1].swapaxes(0, 1),
    7: lambda stored: stored[::-1, ::-1].swapaxes(0, 1),
    8: lambda stored: stored[:, ::-1].swapaxes(0, 1),
}
"""What turns a picture of an EXIF orientation upright (Exif 2.32, 4.6.4 A)."""


def read_photograph(path: Path) -> Pixels:
    """Read a JPEG, PNG or WebP file as sRGB [H, W, 3], turned as its EXIF orientation says.

    Grey becomes RGB and transparency is laid over white. A 16-bit value v becomes (v + 128) // 257. An
    embedded ICC profile is converted to sRGB by relative colorimetric intent; without one the values are
    taken for sRGB, and a PNG's gAMA and cHRM are ignored. Of an animation or a file of several pictures
    (MPO) the first one counts. A JPEG of more than ``FULL_JPEG_PIXELS`` is decoded at a reduced size.

    Raises:
        PhotographError: the path is not a file, the file is not such an image, damaged, or too large.
    """
    with open_photograph(path) as stream:
        return pixels_of(stream, path)


def open_photograph(path: Path) -> IO[bytes]:
    """Open a file to be read as a photograph.

    Raises:
        PhotographError: the path is not a file, or the file cannot be read, is empty or too large.
    """
    _check_file(path)
    try:
        return path.open("rb")
    except PermissionError as error:
        raise PhotographError(f"{path} cannot be read ({error.strerror}); change its permissions") from error
    except OSError as error:
        raise PhotographError(f"{path} cannot be read ({error.strerror}); give another path") from error


def pixels_of(stream: IO[bytes], name: object) -> Pixels:
    """Read the bytes of a photograph as ``read_photograph`` does; ``name`` is what errors call it.

    Raises:
        PhotographError: they are not such an image, damaged, or too large.
    """
    try:
        kind = format_name(stream.read(SIGNATURE_BYTES))
        if kind not in FORMATS:
            raise _foreign(name, kind)
        stream.seek(0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of damage in EXIF
            return _decode(name, stream, kind)
    except PhotographError:
        raise
    except MemoryError as error:
        raise PhotographError(
            f"{name} needs more memory than there is; give a smaller or a whole file"
        ) from error
    except Exception as error:
        # Damaged files make Pillow raise whatever its parsers meet first: TypeError, KeyError, struct.error.
        reason = " ".join(str(error).split()) or type(error).__name__
        raise PhotographError(f"{name} is damaged or cut short ({reason}); give a whole file") from error


def _check_file(path: Path) -> None:
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:  # or no name that a file could have
        raise PhotographError(f"{path} does not exist; give the path of a photograph") from error
    except OSError as error:
        raise PhotographError(f"{path} cannot be read ({error.strerror}); give another path") from error
    if stat.S_ISDIR(status.st_mode):
        raise PhotographError(f"{path} is a folder; name the photographs in it, e.g. {path}/*.jpg")
    if not stat.S_ISREG(status.st_mode):
        raise PhotographError(f"{path} is not a regular file; give a JPEG, PNG or WebP file")
    size = status.st_size
    if size == 0:
        raise PhotographError(f"{path} is empty (0 bytes); give a JPEG, PNG or WebP file")
    if size > MAX_BYTES:
        raise PhotographError(f"{path} has {size} bytes, at most {MAX_BYTES} are read; give a smaller file")


def _foreign(name: object, kind: str | None) -> PhotographError:
    if kind is None:
        return PhotographError(f"{name} is not an image; give a JPEG, PNG or WebP file")
    return PhotographError(f"{name} is not JPEG, PNG or WebP but {kind}; convert it to JPEG or PNG")


def _decode(name: object, stream: IO[bytes], kind: str) -> Pixels:
    with FORMATS[kind].open(stream) as image:
        _check_size(name, image, kind)
        _reduce(image)
        decoded = _decoded(image, stream)
        head = decoded.layers[0]
        if _lacks_data(head, stream, kind):
            raise PhotographError(f"{name} is cut short (rows of pixels are missing); give a whole file")
    _check_text(name, head)
    to_srgb = srgb_converter(name, head.info["icc_profile"]) if "icc_profile" in head.info else _unchanged
    turn = _UPRIGHT.get(head.getexif().get(Base.Orientation, 1), _unchanged)
    return np.ascontiguousarray(turn(_finish(decoded, to_srgb)))


def _unchanged[T](value: T) -> T:
    """Stand for a colour profile or a turn where there is none."""
    return value


def _check_size(name: object, image: Image.Image, kind: str) -> None:
    """Refuse before anything of the picture's size is allocated."""
    limit = FORMATS[kind].max_pixels
    if image.width * image.height > limit or max(image.size) > MAX_SIDE:
        raise PhotographError(
            f"{name} has {image.width} x {image.height} pixels, at most {limit} are decoded of a {kind} "
            f"file and no side over {MAX_SIDE}; give a smaller one"
        )


def _reduce(image: ImageFile) -> None:
    """Let libjpeg decode a picture of too many pixels at a smaller size, which it does in the transform."""
    if image.format not in ("JPEG", "MPO") or image.width * image.height <= FULL_JPEG_PIXELS:
        return
    width, height = image.size
    factor = next(f for f in (2, 4, 8) if -(-width // f) * -(-height // f) <= FULL_JPEG_PIXELS)
    image.draft(None, (width // factor, height // factor))
    if image.width * image.height > FULL_JPEG_PIXELS:
        raise ValueError("it cannot be decoded at a reduced size")


def _lacks_data(image: Image.Image, stream: IO[bytes], kind: str) -> bool:
    """Tell whether a part of the picture is not in the file; Pillow tells of nothing there."""
    if kind == "PNG":
        return _ends_black(image) and not is_whole(stream)
    return kind == "JPEG" and _ends_plain(image) and _is_made_up(image, stream)


def _ends_plain(image: Image.Image) -> bool:
    """Tell whether a JPEG may lack blocks, which are then all of one grey."""
    last = image.crop((max(image.width - _BLOCK, 0), image.height - 1, image.width, image.height))
    values = np.asarray(last)
    return bool((values == values[:, :1]).all())


def _is_made_up(image: Image.Image, stream: IO[bytes]) -> bool:
    """Tell whether a JPEG would be another picture if its file had more data."""
    stream.seek(0)
    with FORMATS["JPEG"].open(BytesIO(with_more_data(stream.read()))) as longer:
        _reduce(longer)
        longer.load()
        for top in range(0, image.height, _ROWS):
            rows = (0, top, image.width, min(top + _ROWS, image.height))
            if longer.crop(rows).tobytes() != image.crop(rows).tobytes():
                return True
    return False


def _ends_black(image: Image.Image) -> bool:
    """Tell whether a PNG may lack rows: they stay 0, and those of an interlaced one are spread."""
    last = image.crop((0, image.height - 1, image.width, image.height))
    return "interlace" in image.info or not any(last.tobytes())


def _check_text(name: object, image: Image.Image) -> None:
    for key in _NOT_TEXT:
        if isinstance(image.info.get(key), str):
            raise PhotographError(
                f"{name} has a text chunk named '{key}', which hides the picture's own; save it without"
            )


@dataclass(frozen=True)
class _Decoded:
    """A decoded picture in one or two ``layers``; ``to_bytes`` makes 8 bits of the same part of each."""

    layers: Sequence[Image.Image]
    to_bytes: Callable[[Sequence[Image.Image]], Image.Image]


def _decoded(image: ImageFile, stream: IO[bytes]) -> _Decoded:
    modes = _SIXTEEN_BITS.get(str(image.tile[0].args)) if image.format == "PNG" else None
    if modes is None:
        image.load()
        return _Decoded([image], lambda parts: parts[0])
    layers = []
    for mode in modes:
        stream.seek(0)
        layer = FORMATS["PNG"].open(stream)
        layer.tile = [layer.tile[0]._replace(args=mode)]
        layer.load()
        layers.append(layer)
    return _Decoded(layers, _rounded)


def _finish(decoded: _Decoded, to_srgb: Callable[[Image.Image], Image.Image]) -> Pixels:
    """Bring a decoded picture to 8 bits, to sRGB and over white, [H, W, 3]."""
    head, *others = decoded.layers
    if head.mode == "RGB" and not (others or head.has_transparency_data) and to_srgb is _unchanged:
        return np.array(head)  # one that may be written to
    width, height = head.size
    pixels = np.empty((height, width, 3), np.uint8)
    for top in range(0, height, _ROWS):
        box = (0, top, width, min(top + _ROWS, height))
        part = decoded.to_bytes([layer.crop(box) for layer in decoded.layers])
        pixels[top : top + _ROWS] = np.asarray(_over_white(to_srgb(part)))
    return pixels


def _rounded(parts: Sequence[Image.Image]) -> Image.Image:
    """Round the values of a 16-bit picture to 8 bits; its transparent colour becomes alpha."""
    words = _words([np.asarray(part) for part in parts])
    seen = ((words.astype(np.uint32) + 128) // 257).astype(np.uint8)
    key = parts[0].info.get("transparency")
    if key is not None:
        opaque = (words != np.array(key)).any(axis=2, keepdims=True)
        seen = np.concatenate([seen, opaque * np.uint8(255)], axis=2)
    return Image.fromarray(seen[..., 0] if seen.shape[2] == 1 else seen)


def _words(halves: Sequence[NDArray[Any]]) -> NDArray[np.uint16]:
    """Put values of 16 bits together, [H, W, C]."""
    if len(halves) == 2:
        return np.asarray(halves[0].astype(np.uint16) << 8 | halves[1])
    (whole,) = halves
    if whole.dtype == np.uint8:
        return np.ascontiguousarray(whole).view(">u2")
    return np.asarray(whole[..., None])


def _over_white(image: Image.Image) -> Image.Image:
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    return image.convert("RGB")
