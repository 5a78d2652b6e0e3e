"""Operations that change the shape and leave the values."""

from math import prod
from typing import Any

import numpy as np

from mien.mobile_reference.coreml.parse import MAX_ELEMENTS
from mien.mobile_reference.coreml.program import Array
from mien.mobile_reference.coreml.registry import Arrays, Ints, exact
from mien.mobile_reference.errors import EvaluationError


def room_for(shape: Ints) -> Ints:
    """``shape``, if a tensor of it may be made: the cap that holds for declared shapes too."""
    if prod(shape) > MAX_ELEMENTS or any(n < 0 for n in shape):
        raise EvaluationError(f"a tensor of shape {shape} is asked for; {MAX_ELEMENTS} is the most")
    return shape


@exact("reshape", "CoreML5", "CoreML6")
def reshape_same_axis(x: Array, shape: Ints) -> Array:
    """New shape; 0 keeps the size of the same axis and -1 takes what is left."""
    if 0 in shape and x.size:
        if len(shape) != x.ndim:
            raise EvaluationError(f"shape {shape} with zeros does not fit {x.ndim} axes")
        shape = tuple(n or x.shape[axis] for axis, n in enumerate(shape))
    return x.reshape(shape)


@exact("reshape", "CoreML7", "CoreML8")
def reshape(x: Array, shape: Ints) -> Array:
    """New shape; 0 keeps the size of the axis as far from the end, and is 1 beyond the first."""
    offset = x.ndim - len(shape)
    places = [axis + offset for axis in range(len(shape))]
    kept = [x.shape[place] if place >= 0 else 1 for place in places]
    return x.reshape([n or kept[axis] for axis, n in enumerate(shape)] if x.size else shape)


@exact("reshape_like", "CoreML6", "CoreML7", "CoreML8")
def reshape_like(x: Array, ref_tensors: Arrays, begins: Arrays, ends: Arrays, end_masks: Arrays) -> Array:
    """New shape put together from slices of other tensors' shapes."""
    rows = zip(ref_tensors, begins, ends, end_masks, strict=True)
    parts = [r.shape[int(begin) : None if all_ else int(end)] for r, begin, end, all_ in rows]
    return x.reshape(tuple(n for part in parts for n in part))


@exact("expand_dims")
def expand_dims(x: Array, axes: Ints) -> Any:
    """New axes of size 1 at the places ``axes`` of the result."""
    return np.expand_dims(x, axes)


@exact("squeeze")
def squeeze(x: Array, axes: Ints | None = None) -> Array:
    """Without the axes of size 1; larger ones stay even when named, as in PyTorch."""
    chosen = range(x.ndim) if axes is None else [axis % x.ndim for axis in axes]
    return x.reshape([n for axis, n in enumerate(x.shape) if n != 1 or axis not in chosen])


@exact("flatten2d")
def flatten2d(x: Array, axis: int = 1) -> Array:
    """Two axes: those before ``axis`` and the others."""
    return x.reshape(prod(x.shape[:axis]), -1)


@exact("transpose")
def transpose(x: Array, perm: Ints) -> Any:
    """Axes in the order ``perm``."""
    return np.transpose(x, perm)


@exact("shape")
def shape(x: Array) -> Any:
    """The shape as int32."""
    return np.array(x.shape, dtype=np.int32)


@exact("depth_to_space")
def depth_to_space(x: Array, block_size: int) -> Any:
    """Channels become blocks of pixels; the block's rows and columns are the slowest channels."""
    n, _c, h, w = x.shape
    split = x.reshape(n, block_size, block_size, -1, h, w).transpose(0, 3, 4, 1, 5, 2)
    return split.reshape(n, -1, h * block_size, w * block_size)


@exact("space_to_depth")
def space_to_depth(x: Array, block_size: int) -> Any:
    """The inverse of `depth_to_space`."""
    n, c, h, w = x.shape
    split = x.reshape(n, c, h // block_size, block_size, w // block_size, block_size)
    return split.transpose(0, 3, 5, 1, 2, 4).reshape(n, -1, h // block_size, w // block_size)


@exact("pixel_shuffle")
def pixel_shuffle(x: Array, upscale_factor: int) -> Any:
    """Channels become blocks of pixels; the block's rows and columns are the fastest channels."""
    n, _c, h, w = x.shape
    f = upscale_factor
    split = x.reshape(n, -1, f, f, h, w).transpose(0, 1, 4, 2, 5, 3)
    return split.reshape(n, -1, h * f, w * f)


@exact("pixel_unshuffle", "CoreML6", "CoreML7", "CoreML8")
def pixel_unshuffle(x: Array, downscale_factor: int) -> Any:
    """The inverse of `pixel_shuffle`."""
    n, c, h, w = x.shape
    f = int(downscale_factor)
    split = x.reshape(n, c, h // f, f, w // f, f).transpose(0, 1, 3, 5, 2, 4)
    return split.reshape(n, c * f * f, h // f, w // f)


@exact("space_to_batch")
def space_to_batch(x: Array, block_shape: Ints, paddings: Array) -> Any:
    """Blocks of pixels become images."""
    padded: Any = np.pad(x, ((0, 0), (0, 0), *paddings.astype(int).tolist()))
    n, c, h, w = padded.shape
    b0, b1 = block_shape
    split = padded.reshape(n, c, h // b0, b0, w // b1, b1).transpose(3, 5, 0, 1, 2, 4)
    return split.reshape(n * b0 * b1, c, h // b0, w // b1)


@exact("batch_to_space")
def batch_to_space(x: Array, block_shape: Ints, crops: Array) -> Any:
    """The inverse of `space_to_batch`, cropped."""
    b0, b1 = block_shape
    n, c, h, w = x.shape
    split = x.reshape(b0, b1, n // (b0 * b1), c, h, w).transpose(2, 3, 4, 0, 5, 1)
    whole = split.reshape(n // (b0 * b1), c, h * b0, w * b1)
    (top, bottom), (left, right) = crops.astype(int).tolist()
    return whole[:, :, top : h * b0 - bottom, left : w * b1 - right]
