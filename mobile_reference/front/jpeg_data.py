"""Whether a JPEG holds the picture that its header states: libjpeg makes up the rest, without a word.

When the coded data of a scan end early, every block that is not there becomes grey.
"""

import re
from collections.abc import Iterator
from itertools import islice

_START_OF_SCAN, _END = 0xDA, 0xD9
_NO_LENGTH = (0x01, *range(0xD0, 0xD9))
"""Markers that stand alone (ITU T.81, table B.1): TEM, the restarts, the start of the picture."""
_MARKER = re.compile(rb"\xff+([^\x00\xff\xd0-\xd7])", re.DOTALL)
"""What ends coded data: a 0xFF in them is followed by 0, and a restart is part of them (B.1.1.5)."""
_MOST_SCANS = 64
"""A progressive JPEG has some ten; a file of millions would become a thousand times as large."""
_BLOCKS = bytes(range(1, 128))
_MORE = _BLOCKS + b"".join(bytes([0xFF, restart]) + _BLOCKS for restart in range(0xD0, 0xD8))
"""Data that would be blocks of all kinds if a scan had room for them, with restarts or without."""


def with_more_data(data: bytes) -> bytes:
    """Return a JPEG file with more coded data at the end of each of the first scans of its first picture.

    A decoder passes over them when the scan had all its blocks; else they become blocks, and the picture is
    another one.
    """
    parts, done = [], 0
    for end in islice(_ends_of_scans(data), _MOST_SCANS):
        parts += [data[done:end], _MORE]
        done = end
    return b"".join([*parts, data[done:]])


def _ends_of_scans(data: bytes) -> Iterator[int]:
    """Give the place behind the coded data of each scan, up to the end of the first picture."""
    at = 0
    while found := _MARKER.search(data, at):
        marker, at = found[1][0], found.end()
        if marker == _END:
            return
        if marker not in _NO_LENGTH:
            at += int.from_bytes(data[at : at + 2], "big")
        if marker == _START_OF_SCAN:
            found = _MARKER.search(data, at)
            at = found.start() if found else len(data)
            yield at
