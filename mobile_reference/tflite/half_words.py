"""The words by which a TFLite model asks for half-float arithmetic: one without them is not read for it."""

import mmap
from pathlib import Path

REDUCED_PRECISION, HALF_FLOATS = b"reduced_precision_support", b"fp16accfp16"
"""The entry of the metadata by which a model asks for half-float arithmetic, and what it then says."""


def may_ask_for_half(path: Path) -> bool:
    """Tell whether a file has the words at all; its bytes are looked through where they lie."""
    if not path.is_file() or not path.stat().st_size:
        return False
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return content.find(HALF_FLOATS) >= 0
