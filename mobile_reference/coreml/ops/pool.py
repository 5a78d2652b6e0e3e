"""Pools, one pass over the input per position of the window."""
# ruff: noqa: FBT001, FBT002  MIL's own parameters are truths

from collections.abc import Callable
from itertools import product
from math import prod
from typing import Any

import numpy as np

from mien.mobile_reference.coreml.arithmetic import Pads, padded
from mien.mobile_reference.coreml.program import Array
from mien.mobile_reference.coreml.registry import Ints, op

from .conv import pads_for


def _window_pads(
    x: Array, kernel: Ints, strides: Ints, pad_type: str, pad: Ints | None, *, ceil_mode: bool
) -> Pads:
    """Padding rule of the program, and with ``ceil_mode`` what a last partial window needs."""
    space = x.shape[2:]
    pads = pads_for(pad_type, pad, space, kernel, strides, (1,) * len(space))
    if not ceil_mode:
        return pads
    return tuple(
        _ceiled(size, k, stride, before, after)
        for size, k, stride, (before, after) in zip(space, kernel, strides, pads, strict=True)
    )


def _ceiled(size: int, kernel: int, stride: int, before: int, after: int) -> tuple[int, int]:
    count = -(-(size + before + after - kernel) // stride) + 1
    if (count - 1) * stride >= size + before and before + after > 0:
        count -= 1  # a window may not start in the padding at the end
    return before, max(after, (count - 1) * stride + kernel - size - before)


def _windows(x: Array, kernel: Ints, strides: Ints, combine: Callable[..., Any]) -> Any:
    """Combine the shifted copies of ``x``, one for each position of the window."""
    sizes = [(s - k) // stride + 1 for s, k, stride in zip(x.shape[2:], kernel, strides, strict=True)]
    total = None
    for offset in product(*(range(k) for k in kernel)):
        slices = tuple(
            slice(o, o + (n - 1) * stride + 1, stride)
            for o, n, stride in zip(offset, sizes, strides, strict=True)
        )
        index: Any = (..., *slices)
        part = x[index]
        total = part if total is None else combine(total, part)
    return total


@op("max_pool")
def max_pool(
    x: Array,
    kernel_sizes: Ints,
    strides: Ints | None = None,
    pad_type: str = "valid",
    pad: Ints | None = None,
    ceil_mode: bool = False,
) -> Any:
    """The largest value of each window; padding never wins."""
    strides = strides or (1,) * len(kernel_sizes)
    pads = _window_pads(x, kernel_sizes, strides, pad_type, pad, ceil_mode=ceil_mode)
    return _windows(padded(x, pads, -np.inf), kernel_sizes, strides, np.maximum)


@op("avg_pool")
def avg_pool(
    x: Array,
    kernel_sizes: Ints,
    strides: Ints | None = None,
    pad_type: str = "valid",
    pad: Ints | None = None,
    ceil_mode: bool = False,
    exclude_padding_from_average: bool = False,
) -> Any:
    """The mean of each window.

    Padding that the program asks for counts as zeros unless excluded; what ``ceil_mode`` adds never
    counts.
    """
    strides = strides or (1,) * len(kernel_sizes)
    asked = _window_pads(x, kernel_sizes, strides, pad_type, pad, ceil_mode=False)
    pads = _window_pads(x, kernel_sizes, strides, pad_type, pad, ceil_mode=ceil_mode)
    total = _windows(padded(x, pads, 0.0), kernel_sizes, strides, np.add)
    if pads == asked and not exclude_padding_from_average:
        return total / x.dtype.type(prod(kernel_sizes))
    ones = np.ones((1, 1, *x.shape[2:]), dtype=x.dtype)
    if not exclude_padding_from_average:
        ones = padded(ones, asked, 1.0)
        pads = tuple((0, p[1] - a[1]) for p, a in zip(pads, asked, strict=True))
    return total / _windows(padded(ones, pads, 0.0), kernel_sizes, strides, np.add)


@op("l2_pool")
def l2_pool(
    x: Array,
    kernel_sizes: Ints,
    strides: Ints | None = None,
    pad_type: str = "valid",
    pad: Ints | None = None,
    ceil_mode: bool = False,
) -> Any:
    """The root of the sum of squares of each window."""
    strides = strides or (1,) * len(kernel_sizes)
    pads = _window_pads(x, kernel_sizes, strides, pad_type, pad, ceil_mode=ceil_mode)
    return np.sqrt(_windows(padded(x * x, pads, 0.0), kernel_sizes, strides, np.add))
