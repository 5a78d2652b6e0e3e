"""Damage: what becomes of sound bytes and sound JSON. The same numbers drawn give the same damage."""

import io
import json
import struct
from collections.abc import Callable
from copy import deepcopy
from random import Random
from typing import Any

import numpy as np

_ENDS = 4096
"""Headers and tables lie in so many bytes at both ends of a file; damage falls there more often."""
_WORDS = (0, -1, 1, 2, 255, 65_535, 2**31 - 1, -(2**31))
_VALUES: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    2**63,
    10**400,
    1e308,
    -1e308,
    5e-324,
    float("nan"),
    float("inf"),
    "",
    "a\n",
    "../x",
    "/dev/zero",
    "\ud800",
    "\x1b[31m\u202e<script>",
    "x" * 100_000,
    [],
    {},
    [[]] * 100,
)
_NUMBERS = (float("nan"), float("inf"), float("-inf"), 0, -1, 1e308, 5e-324)
_NO_NUMBERS = (np.nan, np.inf, -np.inf)


def damaged(data: bytes, random: Random) -> bytes:
    """Damage a file: as JSON where it is JSON, three times of four, or else its bytes."""
    try:
        value = json.loads(data)
    except ValueError:
        value = None
    if isinstance(value, dict) and random.random() < 0.75:
        for _ in range(random.choice((1, 1, 1, 2, 5))):
            _change_json(value, random)
        return json.dumps(value).encode()
    changed = bytearray(data)
    for _ in range(random.choice((1, 1, 2))):
        random.choice(_WAYS)(changed, random)
    return bytes(changed)


def damaged_record(data: bytes, random: Random) -> bytes:
    """Damage a file of JSON; half of the time one of its numbers alone, each as likely."""
    if random.random() < 0.5:
        return damaged(data, random)
    record = json.loads(data)
    inside, key = random.choice(_numbers(record))
    inside[key] = random.choice(_NUMBERS)
    return json.dumps(record).encode()


def _numbers(value: Any) -> list[tuple[Any, Any]]:
    """List the places of all numbers: what they lie in, and under which key."""
    places: list[tuple[Any, Any]] = []
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
        if isinstance(inner, dict | list):
            places += _numbers(inner)
        elif isinstance(inner, int | float) and not isinstance(inner, bool):
            places.append((value, key))
    return places


def damaged_vector(data: bytes, random: Random) -> bytes:
    """Damage a ``.npy`` file; a quarter of the time all its reals, or some in a row, become no number."""
    array = np.load(io.BytesIO(data), allow_pickle=False)
    if array.dtype.kind != "f" or random.random() < 0.75:
        return damaged(data, random)
    begin = random.choice((0, random.randrange(array.size)))
    array.reshape(-1)[begin:] = random.choice(_NO_NUMBERS)
    changed = io.BytesIO()
    np.save(changed, array)
    return changed.getvalue()


def _change_json(value: Any, random: Random) -> None:
    """Walk down to some place, and change what is there."""
    while True:
        keys: list[Any] = list(value) if isinstance(value, dict) else list(range(len(value)))
        if not keys:
            return
        key = random.choice(keys)
        inner = value[key]
        if not isinstance(inner, dict | list) or not inner or random.random() < 0.1:
            break
        value = inner
    if random.random() < 0.2:
        del value[key]
    elif isinstance(value, dict) and random.random() < 0.1:
        value[f"{key}x"] = value.pop(key)
    else:
        # A copy: what was put in may be changed by the next change.
        value[key] = deepcopy(random.choice(_VALUES))


def _place(data: bytearray, random: Random) -> int:
    size = max(len(data), 1)
    near = random.randrange(min(size, _ENDS))
    return random.choice((near, size - 1 - near, random.randrange(size)))


def _flip(data: bytearray, random: Random) -> None:
    for _ in range(random.choice((1, 1, 2, 8, 64))):
        if data:
            data[_place(data, random)] ^= 1 << random.randrange(8)


def _write_word(data: bytearray, random: Random) -> None:
    for _ in range(random.choice((1, 2, 4))):
        at = _place(data, random) // 4 * 4
        if at + 4 <= len(data):
            data[at : at + 4] = struct.pack("<i", random.choice((*_WORDS, random.randrange(-(2**31), 2**31))))


def _cut_end(data: bytearray, random: Random) -> None:
    del data[_place(data, random) :]


def _cut_out(data: bytearray, random: Random) -> None:
    at = _place(data, random)
    del data[at : at + random.randrange(1, 200)]


def _repeat(data: bytearray, random: Random) -> None:
    at = _place(data, random)
    data[at:at] = data[at : at + random.randrange(1, 2000)]


def _fill(data: bytearray, random: Random) -> None:
    at, value = _place(data, random), random.choice((0, 0x7F, 0xFF))
    count = min(random.randrange(1, 5000), len(data) - at)
    data[at : at + count] = bytes([value]) * count


_WAYS: tuple[Callable[[bytearray, Random], None], ...] = (
    _flip,
    _flip,
    _write_word,
    _write_word,
    _cut_end,
    _cut_out,
    _repeat,
    _fill,
)
