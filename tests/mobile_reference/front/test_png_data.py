"""How many bytes the rows of a PNG have, against a count of its pixels one by one."""

import struct
from collections import Counter
from io import BytesIO
from itertools import product

import pytest
from PIL import Image

from mien.mobile_reference.front.png_data import _bytes_of_rows, is_whole

# In which pass each pixel of a square of eight is (PNG, third edition, 8.1).
_PASSES = ("16462646", "77777777", "56565656", "77777777", "36463646", "77777777", "56565656", "77777777")
_VALUES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}


def counted(width: int, height: int, bits: int, *, interlaced: bool) -> int:
    """Sum each row of each pass: a byte for its filter, and its pixels in whole bytes."""
    rows = Counter(
        (_PASSES[y % 8][x % 8] if interlaced else "1", y) for y, x in product(range(height), range(width))
    )
    return sum(1 + -(-pixels * bits // 8) for pixels in rows.values())


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize(("depth", "colour"), [(1, 0), (4, 3), (8, 2), (16, 4), (8, 6)])
def test_rows_are_counted_as_the_format_lays_them(depth: int, colour: int, *, interlaced: bool) -> None:
    bits = depth * _VALUES[colour]
    for width, height in product((1, 2, 3, 4, 5, 7, 8, 9, 17), repeat=2):
        header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced)
        assert _bytes_of_rows(header) == counted(width, height, bits, interlaced=interlaced)


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_file_is_whole_to_its_last_row(mode: str) -> None:
    stream = BytesIO()
    Image.effect_noise((40, 30), 80).convert(mode).save(stream, "PNG")
    assert is_whole(stream)
    content = stream.getvalue()
    place = content.index(b"IDAT") - 4
    (length,) = struct.unpack(">I", content[place : place + 4])
    short = content[place + 8 : place + 8 + length // 2]
    cut = content[:place] + struct.pack(">I", len(short)) + b"IDAT" + short + bytes(4)
    assert not is_whole(BytesIO(cut))
