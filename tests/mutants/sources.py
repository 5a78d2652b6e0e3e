"""What gets faults: the files by which a bundle is written, read and judged."""

from collections.abc import Mapping
from pathlib import Path

SOURCES: Mapping[str, tuple[str, ...]] = {
    "contract": ("mobile_reference/contract.py", "mobile_reference/bundle/*.py"),
    "front": ("mobile_reference/front/*.py",),
    "verify": ("mobile_reference/verify/*.py",),
    "run": ("mobile_reference/run/*.py",),
    "quantiser": (
        "export/tflite/quantise.py",
        "export/tflite/precision.py",
        "export/tflite/ranges.py",
        "export/tflite/blocks.py",
        "export/weights/*.py",
    ),
    "readers": (
        "mobile_reference/tflite/*.py",
        "mobile_reference/coreml/blob.py",
        "mobile_reference/coreml/dtypes.py",
        "mobile_reference/coreml/package.py",
        "mobile_reference/coreml/parse.py",
        "mobile_reference/coreml/program.py",
        "mobile_reference/coreml/wire.py",
    ),
}
"""Rooms and the patterns of their files, from the root of the tree."""


def files_of(root: Path, rooms: tuple[str, ...] = ()) -> list[str]:
    """List the files of some rooms, or of all, relative to ``root``, sorted."""
    patterns = [pattern for room in rooms or SOURCES for pattern in SOURCES[room]]
    return sorted({file.relative_to(root).as_posix() for p in patterns for file in root.glob(p)})


def room_of(root: Path, file: str) -> str:
    """Return the room of a file, the first whose patterns match it."""
    return next(room for room in SOURCES if file in files_of(root, (room,)))
