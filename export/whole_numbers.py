"""Tensors of whole numbers, such as the class of every pixel: how far two classes are apart says nothing."""

from typing import Any

from numpy.typing import NDArray


def share_changed(exact: NDArray[Any], other: NDArray[Any]) -> float:
    """Return the share of places at which two tensors of whole numbers differ; 1 if they are not of those."""
    if exact.dtype.kind not in "iu" or exact.shape != other.shape:
        return 1.0
    return float((exact != other).mean())
