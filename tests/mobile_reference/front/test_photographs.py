"""Reading photographs: every ordinary kind is read upright, and everything else is refused in one line."""

import io
import os
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from mien.mobile_reference.errors import PhotographError
from mien.mobile_reference.front.photograph import MAX_BYTES, read_photograph

EXIF_ORIENTATION = 0x0112


def scene() -> NDArray[np.uint8]:
    """A picture of 12x20 whose four quarters differ, so that every turn shows."""
    pixels = np.zeros((12, 20, 3), np.uint8)
    pixels[:6, :10] = (250, 20, 20)
    pixels[:6, 10:] = (20, 250, 20)
    pixels[6:, :10] = (20, 20, 250)
    return pixels


def refused(path: Path) -> str:
    with pytest.raises(PhotographError) as caught:
        read_photograph(path)
    message = str(caught.value)
    assert "\n" not in message
    assert caught.value.exit_code == 2
    return message


@pytest.mark.parametrize(
    ("suffix", "options"), [("png", {}), ("webp", {"lossless": True}), ("jpg", {"quality": 95})]
)
def test_each_format_is_read_as_rgb(tmp_path: Path, suffix: str, options: dict):
    path = tmp_path / f"photo.{suffix}"
    Image.fromarray(scene()).save(path, **options)
    pixels = read_photograph(path)
    assert pixels.shape == (12, 20, 3)
    assert pixels.dtype == np.uint8
    # JPEG is lossy; in the middle of the quarters it stays near.
    inner = pixels[[3, 3, 9, 9], [5, 15, 5, 15]].astype(int)
    assert np.abs(inner - scene()[[3, 3, 9, 9], [5, 15, 5, 15]]).max() <= (0 if suffix != "jpg" else 12)


# How a camera must have stored the upright scene for each EXIF orientation (Exif 2.32, 4.6.4 A).
STORED = {
    1: lambda p: p,
    2: np.fliplr,
    3: lambda p: np.rot90(p, 2),
    4: np.flipud,
    5: lambda p: p.transpose(1, 0, 2),
    6: lambda p: np.rot90(p, 1),
    7: lambda p: np.rot90(p, 2).transpose(1, 0, 2),
    8: lambda p: np.rot90(p, -1),
}


@pytest.mark.parametrize("suffix", ["png", "webp"])
@pytest.mark.parametrize("orientation", STORED)
def test_every_exif_orientation_is_turned_upright(tmp_path: Path, orientation: int, suffix: str):
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = orientation
    stored = np.ascontiguousarray(STORED[orientation](scene()))
    path = tmp_path / f"turned.{suffix}"
    Image.fromarray(stored).save(path, exif=exif, lossless=True)
    np.testing.assert_array_equal(read_photograph(path), scene())


@pytest.mark.parametrize("orientation", STORED)
def test_jpeg_orientation_is_honoured(tmp_path: Path, orientation: int):
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = orientation
    path = tmp_path / "turned.jpg"
    stored = np.ascontiguousarray(STORED[orientation](scene()))
    Image.fromarray(stored).save(path, exif=exif, quality=95, subsampling=0)
    # JPEG is lossy, most of all at the edges of the quarters.
    assert np.abs(read_photograph(path).astype(int) - scene()).mean() < 8


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_an_orientation_that_does_not_exist_changes_nothing(tmp_path: Path, value: int):
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = value
    Image.fromarray(scene()).save(tmp_path / "odd.png", exif=exif)
    np.testing.assert_array_equal(read_photograph(tmp_path / "odd.png"), scene())


def test_grey_becomes_rgb(tmp_path: Path):
    grey = scene()[..., 0]
    Image.fromarray(grey).save(tmp_path / "grey.png")
    np.testing.assert_array_equal(read_photograph(tmp_path / "grey.png"), np.stack([grey] * 3, axis=2))


def test_black_and_white_becomes_rgb(tmp_path: Path):
    bits = scene()[..., 0] > 100
    Image.fromarray(bits).save(tmp_path / "bits.png")
    np.testing.assert_array_equal(read_photograph(tmp_path / "bits.png")[..., 1], bits * 255)


@pytest.mark.parametrize("suffix", ["png", "webp"])
def test_transparency_lies_over_white(tmp_path: Path, suffix: str):
    layer = np.dstack([scene(), np.full((12, 20), 255, np.uint8)])
    layer[:, 10:, 3] = 0
    path = tmp_path / f"clear.{suffix}"
    Image.fromarray(layer).save(path, lossless=True)
    pixels = read_photograph(path)
    np.testing.assert_array_equal(pixels[:, :10], scene()[:, :10])
    assert (pixels[:, 10:] == 255).all()


def test_grey_with_alpha_lies_over_white(tmp_path: Path):
    layer = np.dstack([scene()[..., 0], np.full((12, 20), 128, np.uint8)])
    Image.fromarray(layer).save(tmp_path / "grey.png")
    expected = scene()[..., 0] * (128 / 255) + 255 * (127 / 255)
    # Blending rounds.
    assert np.abs(read_photograph(tmp_path / "grey.png")[..., 0] - expected).max() <= 1


def test_a_palette_is_resolved(tmp_path: Path):
    Image.fromarray(scene()).quantize(8).save(tmp_path / "palette.png")
    assert Image.open(tmp_path / "palette.png").mode == "P"
    np.testing.assert_array_equal(read_photograph(tmp_path / "palette.png"), scene())


def test_a_transparent_palette_colour_lies_over_white(tmp_path: Path):
    image = Image.fromarray(scene()).quantize(8)
    red = image.getpixel((0, 0))
    image.save(tmp_path / "palette.png", transparency=red)
    pixels = read_photograph(tmp_path / "palette.png")
    assert (pixels[:6, :10] == 255).all()
    np.testing.assert_array_equal(pixels[6:], scene()[6:])


def test_cmyk_jpeg_becomes_rgb(tmp_path: Path):
    Image.new("CMYK", (20, 12), (0, 255, 255, 0)).save(tmp_path / "print.jpg", quality=95)
    pixels = read_photograph(tmp_path / "print.jpg").reshape(-1, 3).mean(axis=0)
    assert pixels[0] > 240
    assert max(pixels[1], pixels[2]) < 15


def test_sixteen_bits_keep_their_upper_half(tmp_path: Path):
    deep = np.linspace(0, 65535, 240).astype(np.uint16).reshape(12, 20)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    np.testing.assert_array_equal(read_photograph(tmp_path / "deep.png"), np.stack([deep >> 8] * 3, axis=2))


def test_sixteen_bit_rgb_is_read(tmp_path: Path):
    rows = b"".join(
        b"\0" + (row.astype(">u2") * 257).tobytes() for row in scene()
    )  # 257 maps 255 to 65535; the filter of each row is 0
    (tmp_path / "deep.png").write_bytes(png(20, 12, rows, depth=16))
    np.testing.assert_array_equal(read_photograph(tmp_path / "deep.png"), scene())


def test_of_an_animation_the_first_picture_counts(tmp_path: Path):
    frames = [Image.fromarray(scene()), Image.fromarray(255 - scene())]
    frames[0].save(tmp_path / "moving.webp", save_all=True, append_images=frames[1:], lossless=True)
    with Image.open(tmp_path / "moving.webp") as image:
        assert image.n_frames == 2
    np.testing.assert_array_equal(read_photograph(tmp_path / "moving.webp"), scene())


def test_the_name_does_not_decide(tmp_path: Path):
    Image.fromarray(scene()).save(tmp_path / "photo.png")
    (tmp_path / "photo.png").rename(tmp_path / "photo.txt")
    assert read_photograph(tmp_path / "photo.txt").shape == (12, 20, 3)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, rows: bytes, depth: int = 8, extra: bytes = b"") -> bytes:
    """A PNG of RGB rows, each after its filter byte."""
    header = struct.pack(">IIBBBBB", width, height, depth, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + extra + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize("side", [7072, 10_000, 100_000, 2_000_000_000])
def test_a_bomb_is_refused_before_it_is_decoded(tmp_path: Path, side: int, monkeypatch: pytest.MonkeyPatch):
    def decode(*_: object) -> None:
        raise AssertionError("the picture was decoded")

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", decode)
    (tmp_path / "bomb.png").write_bytes(png(side, side, b"\0" * 1000))
    assert "pixels, at most 50000000 are decoded" in refused(tmp_path / "bomb.png")


def test_a_bomb_in_a_text_chunk_is_refused(tmp_path: Path):
    text = b"Comment\0\0" + zlib.compress(b"\0" * (20 << 20))
    (tmp_path / "bomb.png").write_bytes(png(20, 12, b"\0" * 12 * 61, extra=chunk(b"zTXt", text)))
    refused(tmp_path / "bomb.png")


def test_a_file_of_too_many_bytes_is_refused_before_it_is_read(tmp_path: Path):
    with (tmp_path / "big.jpg").open("wb") as file:
        file.truncate(MAX_BYTES + 1)  # sparse: takes no space on disk
    assert f"at most {MAX_BYTES} are read" in refused(tmp_path / "big.jpg")


@pytest.mark.parametrize(
    "content", [b"plain text", b"\0" * 100, b"GIF89a" + b"\0" * 50, b"%!PS-Adobe-3.0 EPSF-3.0\n", b"\xff\xd8"]
)
def test_what_is_no_photograph_is_refused(tmp_path: Path, content: bytes):
    (tmp_path / "photo.jpg").write_bytes(content)
    assert "give a" in refused(tmp_path / "photo.jpg")


def test_another_image_format_is_refused(tmp_path: Path):
    Image.fromarray(scene()).save(tmp_path / "photo.tiff")
    assert "is not an image; give a JPEG, PNG or WebP file" in refused(tmp_path / "photo.tiff")


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp"])
def test_a_truncated_file_is_refused(tmp_path: Path, suffix: str):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / f"whole.{suffix}")
    content = (tmp_path / f"whole.{suffix}").read_bytes()
    for share in (0.3, 0.6, 0.9):
        cut = tmp_path / f"cut-{share}.{suffix}"
        cut.write_bytes(content[: int(len(content) * share)])
        assert "give a" in refused(cut)


def test_an_empty_file_is_refused(tmp_path: Path):
    (tmp_path / "empty.jpg").touch()
    assert "is empty (0 bytes)" in refused(tmp_path / "empty.jpg")


def test_a_folder_is_refused(tmp_path: Path):
    assert "is a folder" in refused(tmp_path)


@pytest.mark.parametrize("name", ["nowhere.jpg", "a" * 5000, "nul\0.jpg"], ids=["missing", "long", "nul"])
def test_what_is_not_there_is_refused(tmp_path: Path, name: str):
    refused(tmp_path / name)


def test_a_pipe_is_refused_without_waiting_for_it(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe.jpg")
    assert "no regular file" in refused(tmp_path / "pipe.jpg")


def encoded(suffix: str) -> bytes:
    stream = io.BytesIO()
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = 6
    Image.fromarray(scene()).save(stream, suffix, exif=exif)
    return stream.getvalue()


WHOLE = {suffix: encoded(suffix) for suffix in ("png", "jpeg", "webp")}


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("attacked") / "photo"


def read_or_refuse(path: Path) -> None:
    """Anything but pixels or a typed error of one line fails; warnings would reach the user's terminal."""
    message = ""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            pixels = read_photograph(path)
        except PhotographError as error:
            message = str(error)
    if message:
        assert "\n" not in message
    else:
        assert pixels.dtype == np.uint8
        assert pixels.shape[2:] == (3,)


@pytest.mark.parametrize("suffix", WHOLE)
@given(
    changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=4),
    kept=st.floats(0, 1),
)
def test_a_changed_file_gives_pixels_or_one_line(
    attacked: Path, suffix: str, changes: list[tuple[float, int]], kept: float
):
    content = bytearray(WHOLE[suffix])
    for place, value in changes:
        content[int(place * len(content))] = value
    attacked.write_bytes(bytes(content[: max(1, int(kept * len(content)))] if kept < 0.5 else content))
    read_or_refuse(attacked)


@given(st.binary(min_size=1, max_size=200))
def test_any_exif_block_gives_pixels_or_one_line(attacked: Path, block: bytes):
    # A PNG carries the block as it is, behind a valid checksum; TIFF's header lets the parser in.
    rows = b"\0" * 12 * 61
    for content in (block, b"II*\0\x08\0\0\0" + block, b"MM\0*\0\0\0\x08" + block):
        attacked.write_bytes(png(20, 12, rows, extra=chunk(b"eXIf", content)))
        read_or_refuse(attacked)
