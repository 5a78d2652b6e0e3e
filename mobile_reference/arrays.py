"""Reading ``.npy`` files, which may be anybody's: plain numbers, and as many as the file is long."""

import math
from pathlib import Path
from tokenize import TokenError
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

_READERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def read_array(path: Path, most_bytes: int) -> NDArray[Any]:
    """Read a ``.npy`` file of numbers or booleans (NEP 1), unpickling nothing.

    Nothing is allocated for a header that promises other than what the file holds.

    Raises:
        ValueError: the file does not hold such an array, or has more than ``most_bytes``.
    """
    try:
        if not path.is_file():
            raise ValueError("it is not a file")
        size = path.stat().st_size
        if size > most_bytes:
            raise ValueError(f"it is larger than {most_bytes} bytes")
        with path.open("rb") as stream, np.errstate(over="ignore"):
            shape, by_columns, dtype = _header(stream)
            count = math.prod(shape)
            if dtype.kind not in "iufb" or stream.tell() + count * dtype.itemsize != size:
                raise ValueError("it holds no numbers, or not as many as it says")
            values = np.fromfile(stream, dtype, count)
        return values.reshape(shape, order="F" if by_columns else "C")
    # What numpy's parser of headers meets first.
    except (OSError, OverflowError, SyntaxError, TokenError, MemoryError, RecursionError) as error:
        raise ValueError(" ".join(str(error).split())) from error


def _header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = np.lib.format.read_magic(stream)  # type: ignore[no-untyped-call]
    if version not in _READERS:
        raise ValueError(f"its version is {version}")
    shape, by_columns, dtype = _READERS[version](stream)  # type: ignore[no-untyped-call]
    if not all(type(length) is int and length >= 0 for length in shape):
        raise ValueError(f"its shape is {shape}")
    return shape, by_columns, dtype
