"""Reading photographs: every ordinary kind is read upright, and everything else is refused in one line."""

import io
import os
import struct
import subprocess
import sys
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, features

from mien.mobile_reference.errors import PhotographError
from mien.mobile_reference.front.jpeg_data import with_more_data
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


ROUNDED = (np.arange(65536, dtype=np.uint32) + 128) // 257
"""Every 16-bit value as 8 bits, by the rule of the manifest."""


@pytest.mark.parametrize("interlaced", [0, 1])
@pytest.mark.parametrize(("colour", "channels"), [(0, 1), (2, 3), (4, 2), (6, 4)])
def test_every_sixteen_bit_value_is_rounded(tmp_path: Path, colour: int, channels: int, interlaced: int):
    words = np.arange(65536, dtype=np.uint32).reshape(256, 256, 1)
    words = np.concatenate([(words * 7919 * (n + 1)) % 65536 for n in range(channels)], axis=2)
    if colour in (4, 6):
        words[..., -1] = 65535
    rows = adam7(words.astype(">u2")) if interlaced else filtered(words.astype(">u2"))
    (tmp_path / "deep.png").write_bytes(png(256, 256, rows, 16, colour=colour, interlaced=interlaced))
    seen = read_photograph(tmp_path / "deep.png")
    wanted = ROUNDED[words[..., :3] if channels > 2 else words[..., :1]]
    np.testing.assert_array_equal(seen, np.broadcast_to(wanted, seen.shape))


def filtered(words: NDArray[np.uint16]) -> bytes:
    """The rows of a PNG, each with the filter "up", so that a wrong distance would show."""
    data = words.reshape(len(words), -1).view(np.uint8)
    before = np.vstack([np.zeros_like(data[:1]), data[:-1]])
    return b"".join(b"\2" + row.tobytes() for row in data - before)


def adam7(words: NDArray[np.uint16]) -> bytes:
    passes = (
        (0, 0, 8, 8),
        (0, 4, 8, 8),
        (4, 0, 8, 4),
        (0, 2, 4, 4),
        (2, 0, 4, 2),
        (0, 1, 2, 2),
        (1, 0, 2, 1),
    )
    return b"".join(filtered(np.ascontiguousarray(words[y::down, x::right])) for y, x, down, right in passes)


@pytest.mark.parametrize(("colour", "key"), [(0, (4660,)), (2, (4660, 1, 2))])
def test_a_transparent_colour_of_sixteen_bits_lies_over_white(tmp_path: Path, colour: int, key: tuple):
    words = np.tile(np.array(key), (1, 2, 1))
    words[0, 1, 0] += 1  # of the same upper half
    extra = chunk(b"tRNS", struct.pack(f">{len(key)}H", *key))
    rows = b"\0" + words.astype(">u2").tobytes()
    (tmp_path / "deep.png").write_bytes(png(2, 1, rows, 16, extra=extra, colour=colour))
    pixels = read_photograph(tmp_path / "deep.png")
    assert pixels[0, 0].tolist() == [255, 255, 255]
    assert pixels[0, 1, 0] == ROUNDED[4661]


@pytest.mark.parametrize("gamma", [45455, 55556, 100000])
@pytest.mark.parametrize("depth", [8, 16])
def test_gamma_is_ignored(tmp_path: Path, gamma: int, depth: int):
    words = scene() if depth == 8 else (scene().astype(">u2") * 257)
    rows = b"".join(b"\0" + row.tobytes() for row in words)
    extra = chunk(b"gAMA", struct.pack(">I", gamma))
    (tmp_path / "gamma.png").write_bytes(png(20, 12, rows, depth, extra))
    np.testing.assert_array_equal(read_photograph(tmp_path / "gamma.png"), scene())


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


def png(
    width: int,
    height: int,
    rows: bytes,
    depth: int = 8,
    extra: bytes = b"",
    late: bytes = b"",
    colour: int = 2,
    interlaced: int = 0,
) -> bytes:
    """A PNG of rows (RGB where nothing else is said), each after its filter byte."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced)
    data = chunk(b"IDAT", zlib.compress(rows))
    body = chunk(b"IHDR", header) + extra + data + late + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize(
    ("depth", "colour", "channels"), [(8, 2, 3), (8, 0, 1), (1, 0, 1), (8, 6, 4), (16, 2, 3)]
)
def test_a_png_that_lacks_rows_is_refused(tmp_path: Path, depth: int, colour: int, channels: int):
    """Pillow leaves them black: half of a face would be rated as a whole one."""
    bits, file = channels * depth, tmp_path / "photo.png"
    row = b"\0" + b"\xb7" * -(-21 * bits // 8)
    file.write_bytes(png(21, 20, row * 20, depth, colour=colour))
    assert read_photograph(file).shape == (20, 21, 3)
    for rows in (10, 19):
        file.write_bytes(png(21, 20, row * rows, depth, colour=colour))
        assert "is cut short (rows of pixels are missing); give a whole file" in refused(file)


JPEGS: dict[str, dict[str, object]] = {
    "baseline": {},
    "progressive": {"progressive": True},
    "restarts": {"restart_marker_blocks": 4},
    "not subsampled": {"subsampling": 0},
}


@pytest.mark.parametrize("kind", JPEGS)
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("plain_rows", [0, 32])
def test_a_jpeg_that_states_a_larger_picture_than_it_holds_is_refused(
    tmp_path: Path, kind: str, mode: str, plain_rows: int
):
    # A whole one may well end in one colour.
    noise = np.random.default_rng(1).integers(0, 256, (64, 48, 3), np.uint8)
    noise[64 - plain_rows :] = 128
    file = tmp_path / "photo.jpg"
    Image.fromarray(noise).convert(mode).save(file, **JPEGS[kind])
    assert read_photograph(file).shape == (64, 48, 3)
    data = bytearray(file.read_bytes())
    frame = data.find(b"\xff\xc2" if kind == "progressive" else b"\xff\xc0")
    for height, width in ((96, 48), (64, 80)):
        data[frame + 5 : frame + 9] = struct.pack(">HH", height, width)
        file.write_bytes(data)
        assert "is cut short (rows of pixels are missing); give a whole file" in refused(file)


def test_a_jpeg_of_very_many_scans_does_not_grow_with_them():
    scan = bytes([0xFF, 0xDA, 0, 8, 1, 1, 0, 0, 63, 0, 0x55])
    data = b"\xff\xd8" + scan * 20_000 + b"\xff\xd9"
    assert len(with_more_data(data)) < len(data) + (1 << 17)


def test_the_first_picture_of_several_is_held_against_its_own_data(tmp_path: Path):
    file, plain = tmp_path / "photo.jpg", Image.new("RGB", (64, 64), "gray")
    plain.save(file, "MPO", save_all=True, append_images=[plain])
    assert read_photograph(file).shape == (64, 64, 3)


def test_an_interlaced_png_that_lacks_its_last_pass_is_refused(tmp_path: Path):
    words = np.full((19, 21, 3), 0x1234, np.uint16)
    rows, file = adam7(words), tmp_path / "photo.png"
    file.write_bytes(png(21, 19, rows, 16, interlaced=1))
    assert read_photograph(file).shape == (19, 21, 3)
    file.write_bytes(png(21, 19, rows[:-1], 16, interlaced=1))
    assert "cut short" in refused(file)


def test_a_png_whose_last_row_is_black_is_read(tmp_path: Path):
    Image.new("RGB", (21, 19)).save(tmp_path / "black.png")
    assert not read_photograph(tmp_path / "black.png").any()


@pytest.mark.parametrize("side", [8001, 10_000, 100_000, 2_000_000_000])
def test_a_bomb_is_refused_before_it_is_decoded(tmp_path: Path, side: int, monkeypatch: pytest.MonkeyPatch):
    def decode(*_: object) -> None:
        raise AssertionError("the picture was decoded")

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", decode)
    (tmp_path / "bomb.png").write_bytes(png(side, side, b"\0" * 1000))
    assert "pixels, at most 64000000 are decoded of a PNG file" in refused(tmp_path / "bomb.png")


def test_a_bomb_in_a_text_chunk_is_refused(tmp_path: Path):
    text = b"Comment\0\0" + zlib.compress(b"\0" * (20 << 20))
    (tmp_path / "bomb.png").write_bytes(png(20, 12, b"\0" * 12 * 61, extra=chunk(b"zTXt", text)))
    refused(tmp_path / "bomb.png")


def test_a_file_of_too_many_bytes_is_refused_before_it_is_read(tmp_path: Path):
    with (tmp_path / "big.jpg").open("wb") as file:
        file.truncate(MAX_BYTES + 1)  # sparse: takes no space on disk
    assert f"at most {MAX_BYTES} are read" in refused(tmp_path / "big.jpg")


@pytest.mark.parametrize("content", [b"plain text", b"\0" * 100, b"\xff\xd8", b"RIFF\0\0\0\0WAVE"])
def test_what_is_no_photograph_is_refused(tmp_path: Path, content: bytes):
    (tmp_path / "photo.jpg").write_bytes(content)
    assert "give a" in refused(tmp_path / "photo.jpg")


FOREIGN = {
    "GIF": b"GIF89a" + b"\0" * 50,
    "TIFF": b"II*\0\x08\0\0\0",
    "HEIC": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
    "AVIF": b"\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf",
    "MP4": b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom",
    "BMP": b"BM\x36\0\0\0\0\0\0\0\x36",
    "JPEG XL": b"\xff\x0a\0\0",
    "JPEG 2000": b"\0\0\0\x0cjP  \r\n\x87\n",
    "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n",
}


@pytest.mark.parametrize("name", FOREIGN)
def test_another_format_is_named(tmp_path: Path, name: str):
    """Cameras and programs name such files .jpg, too."""
    (tmp_path / "photo.jpg").write_bytes(FOREIGN[name])
    assert f"but {name}; convert it to JPEG or PNG" in refused(tmp_path / "photo.jpg")


@pytest.mark.parametrize(
    ("suffix", "name"), [("gif", "GIF"), ("tiff", "TIFF"), ("bmp", "BMP"), ("avif", "AVIF")]
)
def test_another_format_as_pillow_writes_it_is_named(tmp_path: Path, suffix: str, name: str):
    if suffix == "avif" and not features.check("avif"):
        pytest.skip("this Pillow writes no AVIF")
    Image.fromarray(scene()).save(tmp_path / f"photo.{suffix}")
    assert f"but {name}; convert it" in refused(tmp_path / f"photo.{suffix}")


def test_of_a_file_of_two_pictures_the_first_counts(tmp_path: Path):
    """Phones write JPEG files with a second picture: a depth map, a gain map, the other eye."""
    first, second = Image.fromarray(scene()), Image.fromarray(255 - scene())
    first.save(tmp_path / "one.jpg", quality=95)
    first.save(tmp_path / "two.jpg", "MPO", save_all=True, append_images=[second], quality=95)
    np.testing.assert_array_equal(
        read_photograph(tmp_path / "two.jpg"), read_photograph(tmp_path / "one.jpg")
    )


def flat(path: Path, size: tuple[int, int], **options: object) -> Path:
    Image.new("RGB", size, (200, 100, 50)).save(path, quality=60, **options)
    return path


@pytest.mark.parametrize(
    ("size", "seen"),
    [((8000, 6250), (6250, 8000)), ((8160, 6144), (3072, 4080)), ((8193, 6145), (3073, 4097))],
)
def test_a_jpeg_of_many_pixels_is_reduced(tmp_path: Path, size: tuple[int, int], seen: tuple[int, int]):
    pixels = read_photograph(flat(tmp_path / "large.jpg", size))
    assert pixels.shape == (*seen, 3)
    assert np.abs(pixels[::97, ::97].astype(int) - (200, 100, 50)).max() <= 2


def with_size(content: bytes, width: int, height: int) -> bytes:
    """A JPEG file that claims another size: its first frame header is changed."""
    place = content.index(b"\xff\xc0") + 5
    return content[:place] + struct.pack(">HH", height, width) + content[place + 4 :]


@pytest.mark.parametrize(("width", "height"), [(15000, 14001), (32769, 8), (8, 40000)])
def test_a_jpeg_that_is_too_large_is_refused_before_decoding(
    tmp_path: Path, width: int, height: int, monkeypatch: pytest.MonkeyPatch
):
    small = flat(tmp_path / "small.jpg", (16, 16))
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda *_: pytest.fail("the picture was decoded"))
    small.write_bytes(with_size(small.read_bytes(), width, height))
    assert "at most 210000000 are decoded of a JPEG file and no side over 32768" in refused(small)


def test_a_jpeg_of_two_hundred_megapixels_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """What libjpeg is asked for; the decoding itself would take seconds."""
    asked = []
    small = flat(tmp_path / "small.jpg", (16, 16))
    small.write_bytes(with_size(small.read_bytes(), 16320, 12240))
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda image: asked.append(image.size) or 1 / 0)
    refused(small)
    assert asked == [(8160, 6120)]


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells the peak of memory so")
def test_a_narrow_png_of_many_pixels_takes_no_memory(tmp_path: Path):
    (tmp_path / "line.png").write_bytes(png(50_000_000, 1, b"\0" * 1000))
    code = (
        "import sys; from pathlib import Path\n"
        "from mien.mobile_reference.front.photograph import read_photograph\n"
        "try: read_photograph(Path(sys.argv[1]))\n"
        "except Exception as error: print(error)\n"
        "print(Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "line.png"], capture_output=True, text=True, check=True
    )
    message, kilobytes = done.stdout.splitlines()
    assert "50000000 x 1 pixels" in message
    assert int(kilobytes) < 200_000


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
    assert "not a regular file" in refused(tmp_path / "pipe.jpg")


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


@pytest.mark.parametrize("place", ["extra", "late"])
@pytest.mark.parametrize("kind", [b"tEXt", b"zTXt", b"iTXt"])
@pytest.mark.parametrize("keyword", [b"exif", b"icc_profile", b"interlace", b"transparency", b"xmp"])
def test_text_that_hides_what_the_decoder_needs_is_refused(
    tmp_path: Path, keyword: bytes, kind: bytes, place: str
):
    value = {b"tEXt": b"\0a", b"zTXt": b"\0\0" + zlib.compress(b"a"), b"iTXt": b"\0\0\0\0\0a"}[kind]
    rows = b"".join(b"\0" + row.tobytes() for row in scene())
    text = chunk(kind, keyword + value)
    (tmp_path / "text.png").write_bytes(png(20, 12, rows, **{place: text}))
    refused(tmp_path / "text.png")


def test_ordinary_text_is_read_over(tmp_path: Path):
    rows = b"".join(b"\0" + row.tobytes() for row in scene())
    text = b"".join(chunk(b"tEXt", word + b"\0x") for word in (b"Comment", b"gamma", b"dpi", b"srgb"))
    (tmp_path / "text.png").write_bytes(png(20, 12, rows, extra=text))
    np.testing.assert_array_equal(read_photograph(tmp_path / "text.png"), scene())


@pytest.mark.parametrize(
    "tag",
    [
        (0x0114, 16, 1, b"\xff" * 8),  # LONG8
        (0x9201, 10, 1, struct.pack("<ii", -1, 0)),  # a signed rational, over zero
        (0x010F, 2, 8, "\u5199\u771f".encode() + b"\0\0"),
        (0x0100, 7, 4, b"\xff\xff\xff\xff"),
    ],
)
def test_odd_tags_beside_the_orientation_do_not_matter(tmp_path: Path, tag: tuple):
    """Nothing but the orientation is read, and nothing is written back."""
    number, kind, count, value = tag
    directory = struct.pack("<H", 2) + struct.pack("<HHIHH", EXIF_ORIENTATION, 3, 1, 6, 0)
    inline = len(value) <= 4
    where = value.ljust(4, b"\0") if inline else struct.pack("<I", 8 + 2 + 24 + 4)
    directory += struct.pack("<HHI", number, kind, count) + where + b"\0" * 4 + (b"" if inline else value)
    stored = np.ascontiguousarray(STORED[6](scene()))
    rows = b"".join(b"\0" + row.tobytes() for row in stored)
    exif = chunk(b"eXIf", b"II*\0\x08\0\0\0" + directory)
    (tmp_path / "odd.png").write_bytes(png(12, 20, rows, extra=exif))
    np.testing.assert_array_equal(read_photograph(tmp_path / "odd.png"), scene())


@pytest.mark.parametrize(
    ("error", "said"),
    [
        *((kind, "is damaged or cut short") for kind in (TypeError, KeyError, struct.error, IndexError)),
        (AssertionError, "is damaged or cut short"),
        (MemoryError, "needs more memory than there is"),
    ],
)
def test_whatever_a_decoder_raises_is_one_line(
    tmp_path: Path, error: type[Exception], said: str, monkeypatch: pytest.MonkeyPatch
):
    def decode(*_: object) -> None:
        raise error("two\nlines")

    Image.fromarray(scene()).save(tmp_path / "photo.png")
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", decode)
    assert said in refused(tmp_path / "photo.png")


def profile(primaries: tuple[tuple[float, ...], ...], space: bytes = b"RGB ") -> bytes:
    """A matrix profile with the curve of sRGB (ICC.1:2022); ``primaries`` in XYZ under D50."""

    def fixed(*values: float) -> bytes:
        return struct.pack(f">{len(values)}i", *(round(value * 65536) for value in values))

    curve = b"para\0\0\0\0\0\x03\0\0" + fixed(2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
    text = b"desc\0\0\0\0\0\0\0\x02a\0" + b"\0" * 78
    tags = [(b"desc", text), (b"wtpt", b"XYZ \0\0\0\0" + fixed(0.9642, 1, 0.8249))]
    if space == b"GRAY":
        tags.append((b"kTRC", b"curv\0\0\0\0\0\0\0\x01\x01\0"))  # gamma 1
    for letter, values in zip(b"rgb", primaries, strict=False):
        tags += [
            (bytes([letter]) + b"XYZ", b"XYZ \0\0\0\0" + fixed(*values)),
            (bytes([letter]) + b"TRC", curve),
        ]
    table, body = struct.pack(">I", len(tags)), b""
    for name, value in tags:
        table += name + struct.pack(">II", 132 + 12 * len(tags) + len(body), len(value))
        body += value + b"\0" * (-len(value) % 4)
    head = struct.pack(">I4xI", 128 + len(table) + len(body), 0x02100000) + b"mntr" + space + b"XYZ "
    head += struct.pack(">6H", 2020, 1, 1, 0, 0, 0) + b"acsp" + b"\0" * 28 + fixed(0.9642, 1, 0.8249)
    return head.ljust(128, b"\0") + table + body


P3 = profile(((0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407)))
SRGB = profile(((0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.71410)))
LINEAR_GREY = profile((), b"GRAY")


@pytest.mark.parametrize("suffix", ["png", "webp", "jpg"])
def test_a_profile_is_converted_to_srgb(tmp_path: Path, suffix: str):
    picture = Image.new("RGB", (16, 16), (200, 100, 50))
    options = {"png": {}, "webp": {"lossless": True}, "jpg": {"quality": 100, "subsampling": 0}}[suffix]
    picture.save(tmp_path / f"wide.{suffix}", icc_profile=P3, **options)
    pixels = read_photograph(tmp_path / f"wide.{suffix}").reshape(-1, 3).astype(int)
    assert np.abs(pixels - expected_p3(200, 100, 50)).max() <= (1 if suffix != "jpg" else 3)
    assert np.abs(pixels - (200, 100, 50)).max() > 10


def expected_p3(*levels: int) -> NDArray[np.float64]:
    """sRGB of a Display P3 colour, from the primaries of both in XYZ, in float64."""
    value = np.array(levels) / 255
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    p3 = np.array([(0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407)])
    srgb = np.array([(0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.71410)])
    seen = (linear @ p3 @ np.linalg.inv(srgb)).clip(0, 1)
    return 255 * np.where(seen <= 0.0031308, seen * 12.92, 1.055 * seen ** (1 / 2.4) - 0.055)


def test_a_profile_of_srgb_changes_nothing_that_shows(tmp_path: Path):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "same.png", icc_profile=SRGB)
    assert np.abs(read_photograph(tmp_path / "same.png").astype(int) - noise).max() <= 1


def test_transparency_and_turns_stay_with_a_profile(tmp_path: Path):
    layer = np.dstack([np.full((12, 20, 3), (200, 100, 50), np.uint8), np.full((12, 20), 255, np.uint8)])
    layer[:, 10:, 3] = 0
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = 3
    Image.fromarray(layer).save(tmp_path / "clear.png", icc_profile=P3, exif=exif)
    pixels = read_photograph(tmp_path / "clear.png").astype(int)
    assert (pixels[:, :10] == 255).all()
    assert np.abs(pixels[:, 10:] - expected_p3(200, 100, 50)).max() <= 1


@pytest.mark.parametrize("mode", ["L", "LA"])
def test_a_grey_profile_is_converted(tmp_path: Path, mode: str):
    picture = Image.new(mode, (8, 8), 55 if mode == "L" else (55, 255))
    picture.save(tmp_path / "grey.png", icc_profile=LINEAR_GREY)
    # 55/255 of the light is sRGB 128 (IEC 61966-2-1).
    assert np.abs(read_photograph(tmp_path / "grey.png").astype(int) - 128).max() <= 1


@pytest.mark.parametrize(
    ("mode", "icc"),
    [("RGB", b"no profile"), ("RGB", P3[:200]), ("RGB", LINEAR_GREY), ("L", b"")],
    ids=["noise", "cut", "of grey", "empty"],
)
def test_a_profile_that_cannot_be_used_is_refused(tmp_path: Path, mode: str, icc: bytes):
    Image.new(mode, (8, 8)).save(tmp_path / "odd.png")
    content = (tmp_path / "odd.png").read_bytes()
    extra = chunk(b"iCCP", b"a\0\0" + zlib.compress(icc))
    (tmp_path / "odd.png").write_bytes(content[:33] + extra + content[33:])
    assert "colour profile (ICC) that cannot be used" in refused(tmp_path / "odd.png")


def test_a_profile_that_cannot_be_unpacked_is_refused(tmp_path: Path):
    rows = b"\0" * 12 * 61
    (tmp_path / "odd.png").write_bytes(png(20, 12, rows, extra=chunk(b"iCCP", b"a\0\0not zlib")))
    assert "cannot be used" in refused(tmp_path / "odd.png")


def test_a_device_is_refused_without_waiting_for_it():
    assert "not a regular file" in refused(Path("/dev/zero"))
