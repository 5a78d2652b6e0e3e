"""Reading ``.npy`` and ``.npz`` files, which may be anybody's: plain numbers, as many as a file is long."""

import io
import math
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tokenize import TokenError
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from mien.mobile_reference.files import check_size

_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
_SUFFIX = ".npy"


def read_array(path: Path, most_bytes: int) -> NDArray[Any]:
    """Read a ``.npy`` file of numbers or booleans (NEP 1), unpickling nothing.

    Nothing is allocated for a header that promises other than what the file holds.

    Raises:
        ValueError: the file does not hold such an array, or has more than ``most_bytes``.
    """
    with _damage_is_told():
        check_size(path, most_bytes)
        return _array(path.read_bytes())


def read_arrays(path: Path, most_bytes: int) -> dict[str, NDArray[Any]]:
    """Read the arrays of a ``.npz`` file by their names, each as ``read_array`` does.

    Raises:
        ValueError: the file is not an archive of such arrays, or unpacks to more than ``most_bytes``.
    """
    with _damage_is_told(), zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        size = sum(entry.file_size for entry in entries)
        if size > most_bytes:
            raise ValueError(f"it unpacks to {size} bytes, at most {most_bytes} are read")
        names = [entry.filename.removesuffix(_SUFFIX) for entry in entries]
        if len({*names}) < len(names):
            raise ValueError("two arrays have one name")
        return {name: _array(archive.read(entry)) for name, entry in zip(names, entries, strict=True)}


@contextmanager
def _damage_is_told() -> Iterator[None]:
    """Turn what the parsers of damaged files meet first into ``ValueError``."""
    try:
        yield
    except ValueError:
        raise
    except (
        *(OSError, EOFError, OverflowError, MemoryError, RecursionError, SyntaxError, TokenError),
        *(zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError),
    ) as error:
        raise ValueError(" ".join(str(error).split()) or type(error).__name__) from error


def _array(data: bytes) -> NDArray[Any]:
    stream = io.BytesIO(data)
    with np.errstate(over="ignore"):
        shape, by_columns, dtype = _header(stream)
    start, count = stream.tell(), math.prod(shape)
    if dtype.kind not in "iufb" or start + count * dtype.itemsize != len(data):
        raise ValueError("it holds no numbers, or not as many as it says")
    values = np.frombuffer(data, dtype, count, start) if count else np.empty(0, dtype)
    # A copy, which may be written to.
    return np.array(values.reshape(shape, order="F" if by_columns else "C"))


def _header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = np.lib.format.read_magic(stream)  # type: ignore[no-untyped-call]
    if version not in _HEADERS:
        raise ValueError(f"its version is {version}")
    shape, by_columns, dtype = _HEADERS[version](stream)  # type: ignore[no-untyped-call]
    if not all(type(length) is int and length >= 0 for length in shape):
        raise ValueError(f"its shape is {shape}")
    return shape, by_columns, dtype
