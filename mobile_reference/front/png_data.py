"""How much of a PNG's picture is in the file: Pillow leaves rows black that are not there, without a word."""

import struct
import zlib
from collections.abc import Iterator
from typing import IO

_SIGNATURE_BYTES = 8
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""Values of a pixel by the header's colour type (PNG, third edition, 11.2.1)."""
_WHOLE = ((0, 0, 1, 1),)
_ADAM7 = (
    *((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4)),
    *((0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)),
)
"""The first column and row of every pass, and the steps to the next ones (8.1)."""
_PIECE = 1 << 16


def is_whole(stream: IO[bytes]) -> bool:
    """Tell whether the compressed data of a PNG file has all rows that its header states."""
    stream.seek(_SIGNATURE_BYTES)
    chunks = _chunks(stream)
    _, header = next(chunks)
    wanted = _bytes_of_rows(header)
    unpack = zlib.decompressobj()
    for name, packed in chunks:
        while name == b"IDAT" and packed and wanted > 0:
            # No more than a piece at a time, whatever it becomes.
            wanted -= len(unpack.decompress(packed, _PIECE))
            packed = unpack.unconsumed_tail
    return wanted <= 0


def _chunks(stream: IO[bytes]) -> Iterator[tuple[bytes, bytes]]:
    while len(start := stream.read(8)) == 8:
        length, name = struct.unpack(">I4s", start)
        yield name, stream.read(length)
        stream.read(4)  # its checksum, which Pillow has seen


def _bytes_of_rows(header: bytes) -> int:
    """Return the bytes of all rows, each behind the byte that names its filter."""
    width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", header)
    total = 0
    for left, top, across, down in _ADAM7 if interlaced else _WHOLE:
        columns, rows = -(-(width - left) // across), -(-(height - top) // down)
        if columns > 0 and rows > 0:
            total += rows * (1 + -(-columns * _CHANNELS[colour] * depth // 8))
    return total
