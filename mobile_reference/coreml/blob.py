"""The weight file of a package.

Layout, little-endian: a header of 64 bytes (uint32 record count, uint32 version 2, zeros), then
records. A record is 64 bytes of metadata, on a multiple of 64, and its data anywhere after it:

    uint32 0xDEADBEEF | uint32 data type | uint64 size in bytes | uint64 offset of the data | zeros

A program names a record by the offset of its metadata. Source: the public MILBlob storage format.
"""

import mmap
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mien.mobile_reference.errors import PackageError

from . import dtypes

ALIGNMENT = 64
SENTINEL = 0xDEADBEEF
VERSION = 2
_HEADER = struct.Struct("<II")
_RECORD = struct.Struct("<IIQQ")


@dataclass(frozen=True)
class Record:
    """Where one array lies: element type code, size in bytes, offset of the data."""

    blob_code: int
    size: int
    offset: int


class BlobFile:
    """A memory-mapped ``weight.bin``; nothing is copied until an array is read."""

    def __init__(self, path: Path) -> None:
        self.name = path.name
        if path.stat().st_size < ALIGNMENT:
            raise PackageError(f"{self.name} has {path.stat().st_size} bytes; a header needs 64")
        with path.open("rb") as stream:
            self._data = memoryview(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ))
        count, version = _HEADER.unpack_from(self._data, 0)
        if version != VERSION:
            raise PackageError(f"{self.name} has format version {version}; known is {VERSION}")
        self.count = count

    def record(self, offset: int) -> Record:
        """Read and check the metadata at ``offset``."""
        size = len(self._data)
        if offset % ALIGNMENT or not ALIGNMENT <= offset <= size - ALIGNMENT:
            raise PackageError(
                f"{self.name} has no record at offset {offset}; "
                f"it has {size} bytes and records start on multiples of {ALIGNMENT}"
            )
        sentinel, blob_code, length, start = _RECORD.unpack_from(self._data, offset)
        if sentinel != SENTINEL:
            raise PackageError(f"{self.name} has no record at offset {offset}: the mark is missing")
        if start < offset + ALIGNMENT or start + length > size:
            raise PackageError(
                f"{self.name}: the record at {offset} names bytes {start} to {start + length} "
                f"of a file of {size} bytes; the file is cut short or changed"
            )
        return Record(blob_code, length, start)

    def check(self, offset: int, kind: dtypes.DataType, count: int) -> Record:
        """Check that the record at ``offset`` holds ``count`` elements of ``kind``."""
        record = self.record(offset)
        if record.blob_code != kind.blob_code:
            raise PackageError(
                f"{self.name}: the record at {offset} has type code {record.blob_code}, "
                f"the program declares {kind.name} (code {kind.blob_code})"
            )
        if record.size != kind.bytes_for(count):
            raise PackageError(
                f"{self.name}: the record at {offset} has {record.size} bytes, "
                f"{count} elements of {kind.name} need {kind.bytes_for(count)}"
            )
        return record

    def read(self, offset: int, kind: dtypes.DataType, count: int) -> NDArray[np.generic]:
        """Read ``count`` elements of ``kind`` as a read-only array of shape (count,)."""
        record = self.check(offset, kind, count)
        return dtypes.unpack(self._data[record.offset : record.offset + record.size], kind, count)
