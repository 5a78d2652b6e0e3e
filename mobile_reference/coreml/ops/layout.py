"""Slices, joins and repetitions."""
# ruff: noqa: FBT001, FBT002  MIL's own parameters are truths

from typing import Any

import numpy as np

from mien.mobile_reference.coreml.program import Array
from mien.mobile_reference.coreml.registry import Arrays, Ints, exact
from mien.mobile_reference.errors import EvaluationError

from .shape import room_for

Masks = Array | None


@exact("concat")
def concat(values: Arrays, axis: int, interleave: bool = False) -> Any:
    """Joined along ``axis``; interleaved, one slice of each in turn."""
    if not interleave:
        return np.concatenate(values, axis=axis)
    stacked = np.stack(values, axis=(axis % values[0].ndim) + 1)
    shape = list(values[0].shape)
    shape[axis] *= len(values)
    return stacked.reshape(shape)


@exact("stack")
def stack(values: Arrays, axis: int) -> Any:
    """Joined along a new axis."""
    return np.stack(values, axis=axis)


@exact("split")
def split(
    x: Array, axis: int, num_splits: int | None = None, split_sizes: Ints | None = None
) -> tuple[Any, ...]:
    """Cut along ``axis`` into equal parts or parts of given sizes."""
    if split_sizes is not None:
        return tuple(np.split(x, np.cumsum(split_sizes)[:-1], axis=axis))
    if num_splits is None:
        raise EvaluationError("split needs num_splits or split_sizes")
    return tuple(np.split(x, num_splits, axis=axis))


@exact("tile")
def tile(x: Array, reps: Ints) -> Any:
    """Repeated along every axis."""
    room_for(tuple(n * r for n, r in zip(x.shape, reps, strict=True)))
    return np.tile(x, reps)


@exact("reverse")
def reverse(x: Array, axes: Ints | None = None) -> Any:
    """Order of elements turned around along ``axes``."""
    return np.flip(x, axes)


@exact("reverse_sequence")
def reverse_sequence(x: Array, lengths: Ints, seq_axis: int = 0, batch_axis: int = 0) -> Any:
    """The first ``lengths`` elements of ``seq_axis`` turned around, for each item."""
    moved: Any = np.moveaxis(x, (batch_axis, seq_axis), (0, 1)).copy()
    for item, length in zip(moved, lengths, strict=True):
        item[:length] = item[:length][::-1].copy()
    return np.moveaxis(moved, (0, 1), (batch_axis, seq_axis))


def slices(
    begin: Ints, end: Ints, stride: Ints | None, begin_mask: Masks, end_mask: Masks, squeeze: Masks
) -> tuple[slice | int, ...]:
    """The numpy index of MIL's slice: a mask drops the bound, a squeezed axis is one element."""
    rank = len(begin)
    steps = stride or (1,) * rank
    no_begin, no_end, single = (
        [False] * rank if mask is None else mask.astype(bool).tolist()
        for mask in (begin_mask, end_mask, squeeze)
    )
    return tuple(
        (0 if no_begin[i] else begin[i])
        if single[i]
        else slice(None if no_begin[i] else begin[i], None if no_end[i] else end[i], steps[i])
        for i in range(rank)
    )


@exact("slice_by_index")
def slice_by_index(
    x: Array,
    begin: Ints,
    end: Ints,
    stride: Ints | None = None,
    begin_mask: Array | None = None,
    end_mask: Array | None = None,
    squeeze_mask: Array | None = None,
) -> Any:
    """x[begin:end:stride] along every axis."""
    return x[slices(begin, end, stride, begin_mask, end_mask, squeeze_mask)]


@exact("slice_update", "CoreML8")
def slice_update(
    x: Array,
    update: Array,
    begin: Ints,
    end: Ints,
    stride: Ints | None = None,
    begin_mask: Array | None = None,
    end_mask: Array | None = None,
    squeeze_mask: Array | None = None,
) -> Any:
    """``x`` with the slice replaced by ``update``."""
    result = x.copy()
    result[slices(begin, end, stride, begin_mask, end_mask, squeeze_mask)] = update
    return result


@exact("slice_by_size")
def slice_by_size(x: Array, begin: Ints, size: Ints) -> Any:
    """``size`` elements from ``begin``; -1 means all that follow."""
    starts = [b + n if b < 0 else b for b, n in zip(begin, x.shape, strict=True)]
    return x[tuple(slice(b, None if n < 0 else b + n) for b, n in zip(starts, size, strict=True))]


@exact("sliding_windows")
def sliding_windows(x: Array, axis: int, size: int, stride: int = 1) -> Any:
    """Windows along ``axis``; the new axis follows it."""
    axis %= x.ndim
    views = np.lib.stride_tricks.sliding_window_view(x, size, axis=axis)
    every = (slice(None),) * axis + (slice(None, None, stride),)
    return np.moveaxis(views[every], -1, axis + 1)


@exact("pad")
def pad(x: Array, pad: Ints, mode: str = "constant", constant_val: Array | None = None) -> Any:
    """Elements before and after the last axes: zeros, a constant, the edge or a reflection."""
    widths = [(0, 0)] * (x.ndim - len(pad) // 2)
    widths += list(zip(pad[::2], pad[1::2], strict=True))
    room_for(tuple(n + a + b for n, (a, b) in zip(x.shape, widths, strict=True)))
    if mode == "constant":
        value = 0 if constant_val is None else constant_val.astype(x.dtype)
        return np.pad(x, widths, constant_values=value)
    if mode == "reflect":
        return np.pad(x, widths, mode="reflect")
    if mode == "replicate":
        return np.pad(x, widths, mode="edge")
    raise EvaluationError(f"mode '{mode}' of pad is unknown")
