"""Which photographs go to a phone: those that its decoders read as the reference runner does."""

import ctypes
import shutil
import struct
import subprocess
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms, PngImagePlugin

from mien.benchmarks.errors import DeviceError
from mien.benchmarks.targets.android import _check_photograph
from mien.mobile_reference.front.photograph import read_photograph

RUNNER = Path(__file__).parents[3] / "benchmarks/phone/runner"


def picture() -> Image.Image:
    return Image.fromarray(np.random.default_rng(1).integers(0, 256, (40, 30, 3), np.uint8))


def profile(name: str) -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile(name)).tobytes()


def wide() -> bytes:
    """Return sRGB's profile with red and blue exchanged: another space, made of the same curves."""
    data = bytearray(profile("sRGB"))
    count = struct.unpack(">I", data[128:132])[0]
    tags = {bytes(data[at : at + 4]): at for at in range(132, 132 + 12 * count, 12)}
    red, blue = tags[b"rXYZ"], tags[b"bXYZ"]
    data[red : red + 4], data[blue : blue + 4] = b"bXYZ", b"rXYZ"
    return bytes(data)


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def with_chunks(file: Path, *chunks: bytes) -> None:
    """Put chunks of PNG behind the header."""
    data = file.read_bytes()
    file.write_bytes(data[:33] + b"".join(chunks) + data[33:])


def deep(file: Path) -> None:
    rows = b"".join(b"\0" + bytes(30 * 6) for _ in range(40))
    head = struct.pack(">IIBBBBB", 30, 40, 16, 2, 0, 0, 0)
    parts = chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")
    file.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))


def gamma(file: Path, *more: bytes) -> None:
    picture().save(file)
    with_chunks(file, chunk(b"gAMA", struct.pack(">I", 100_000)), *more)


def turned(file: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    picture().save(file, exif=exif)


READ: dict[str, Callable[[Path], object]] = {
    "plain.png": lambda file: picture().save(file),
    "plain.jpg": lambda file: picture().save(file),
    "two.jpg": lambda file: picture().save(file, format="MPO", save_all=True, append_images=[picture()]),
    "srgb.jpg": lambda file: picture().save(file, icc_profile=profile("sRGB")),
    "srgb.png": lambda file: gamma(file, chunk(b"sRGB", b"\0")),
    "text.png": lambda file: picture().save(file, pnginfo=note()),
}
REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "profile.jpg": (lambda file: picture().save(file, icc_profile=wide()), "its colour profile is not sRGB"),
    "profile.png": (lambda file: picture().save(file, icc_profile=wide()), "its colour profile is not sRGB"),
    "gamma.png": (gamma, "it has a gamma of its own"),
    "deep.png": (deep, "it has 16 bits"),
    "turned.jpg": (turned, "it is not upright"),
    "clear.png": (lambda file: picture().convert("RGBA").save(file), "it is not plain RGB or grey"),
    "a.webp": (lambda file: picture().save(file), "phones read JPEG and PNG files"),
    # Above what Pillow itself opens without an error.
    "200.jpg": (lambda file: Image.new("L", (16_320, 12_240)).save(file), "more than 50000000 pixels"),
}


def note() -> PngImagePlugin.PngInfo:
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", "of a test")
    return text


@pytest.mark.parametrize("name", READ)
def test_what_both_read_alike_is_accepted(tmp_path: Path, name: str) -> None:
    READ[name](tmp_path / name)
    _check_photograph(tmp_path / name)


@pytest.mark.parametrize("name", REFUSED)
def test_what_the_phone_would_read_otherwise_is_refused(tmp_path: Path, name: str) -> None:
    make, reason = REFUSED[name]
    make(tmp_path / name)
    with pytest.raises(DeviceError, match=reason):
        _check_photograph(tmp_path / name)


def test_the_other_profile_is_another_indeed(tmp_path: Path) -> None:
    REFUSED["profile.png"][0](tmp_path / "x.png")
    difference = read_photograph(tmp_path / "x.png").astype(int) - np.asarray(picture()).astype(int)
    assert np.abs(difference).max() > 10


@pytest.fixture(scope="module")
def unreadable(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The runner's own rule: says why it does not read bytes, or None."""
    if not (compiler := shutil.which("gcc")):
        pytest.skip("there is no gcc to compile benchmarks/phone/runner/readable.c with")
    made = tmp_path_factory.mktemp("library") / "readable.so"
    flags = ["-O1", "-std=c17", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
    subprocess.run([compiler, *flags, RUNNER / "readable.c", "-o", made], check=True)
    function = ctypes.CDLL(str(made)).unreadable
    function.argtypes, function.restype = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_int], ctypes.c_char_p

    def reason(data: bytes, *, profile_is_srgb: bool) -> str | None:
        found: bytes | None = function(data, len(data), profile_is_srgb)
        return found and found.decode()

    return reason


@pytest.mark.parametrize("name", READ)
def test_the_runner_reads_it(unreadable: Any, tmp_path: Path, name: str) -> None:
    READ[name](tmp_path / name)
    data = (tmp_path / name).read_bytes()
    assert unreadable(data, profile_is_srgb=True) is None
    alone = unreadable(data, profile_is_srgb=False)
    assert (alone == "nobody has found its colour profile to be sRGB") == (name == "srgb.jpg")


WORDS = {"phones read JPEG and PNG files": "neither JPEG nor PNG", "its colour profile is not sRGB": "nobody"}
"""What the runner says in the place of what is said here."""


@pytest.mark.parametrize("name", [name for name in REFUSED if name != "200.jpg"])
def test_the_runner_refuses_it_by_itself(unreadable: Any, tmp_path: Path, name: str) -> None:
    make, reason = REFUSED[name]
    make(tmp_path / name)
    said = unreadable((tmp_path / name).read_bytes(), profile_is_srgb=False)
    assert WORDS.get(reason, reason) in said


CUT = """
#include "common.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
static uint8_t file[1 << 16];
int main(void) {
  size_t count = fread(file, 1, sizeof file, stdin);
  for (size_t end = 0; end <= count; end++) {
    uint8_t *bytes = malloc(end);
    memcpy(bytes, file, end);
    unreadable(bytes, end, 0);
    free(bytes);
  }
  return count ? 0 : 1;
}
"""
"""Looks at every beginning of a file, in memory of just that size."""


def test_the_runner_reads_nothing_behind_a_file_that_is_cut(tmp_path: Path) -> None:
    if not (compiler := shutil.which("gcc")):
        pytest.skip("there is no gcc to compile benchmarks/phone/runner/readable.c with")
    (tmp_path / "cut.c").write_text(CUT)
    flags = ["-g", "-fsanitize=address,undefined", "-fno-sanitize-recover", "-I", RUNNER]
    program = tmp_path / "cut"
    subprocess.run([compiler, *flags, tmp_path / "cut.c", RUNNER / "readable.c", "-o", program], check=True)
    for name in ("turned.jpg", "profile.jpg", "profile.png", "gamma.png", "deep.png"):
        make, _ = REFUSED[name]
        make(tmp_path / name)
        subprocess.run([program], input=(tmp_path / name).read_bytes(), check=True)
