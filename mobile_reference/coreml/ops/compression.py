"""Compressed constants and quantised values.

The order of operations and the type of every intermediate result matter: the results are bit-equal
to coremltools' own decompression.
"""

from math import log2, prod
from typing import Any

import numpy as np

from mien.mobile_reference.coreml import dtypes
from mien.mobile_reference.coreml.program import Array
from mien.mobile_reference.coreml.registry import Context, Ints, exact
from mien.mobile_reference.errors import EvaluationError

_SINGLE = np.dtype(np.float32)


def _along(values: Array, rank: int, axis: int | None) -> Any:
    """A scalar or a vector along ``axis``, so that it broadcasts."""
    if values.ndim == 0 or values.size == 1:
        return values.reshape(())
    if axis is None:
        raise EvaluationError("a vector of scales needs an axis")
    shape = [1] * rank
    shape[axis] = -1
    return values.reshape(shape)


def _dequantised(
    context: Context, data: Array, scale: Array, zero_point: Array | None, axis: int | None
) -> Any:
    """Scale (data - zero point) in float32, rounded once to the type of the scale."""
    real = data.astype(np.float32)
    if zero_point is not None:
        real -= _along(zero_point, data.ndim, axis).astype(np.float32)
    return context.arithmetic.cast(real * _along(scale, data.ndim, axis), scale.dtype)


def _quotient(context: Context, data: Array, scale: Any) -> Array:
    """Divide, rounded to the type of both; float16 by way of float32, as numpy does it one by one."""
    if np.result_type(data, scale) != np.float16:
        return np.asarray(np.divide(data, scale))
    single = context.arithmetic.cast(data, _SINGLE)
    halves = context.arithmetic.cast(np.divide(single, scale.astype(_SINGLE)), data.dtype)
    return context.arithmetic.cast(halves, _SINGLE)


@exact("constexpr_affine_dequantize", "CoreML6", "CoreML7", "CoreML8")
def affine_dequantize(
    context: Context, quantized_data: Array, zero_point: Array, scale: Array, axis: int
) -> Any:
    """Eight-bit weights with one scale per tensor or per slice of ``axis``."""
    return _dequantised(context, quantized_data, scale, zero_point, axis)


@exact("dequantize", "CoreML7", "CoreML8")
def dequantize(
    context: Context,
    input: Array,  # noqa: A002  MIL's own name
    scale: Array,
    zero_point: Array | None = None,
    axis: int | None = None,
) -> Any:
    """Scale (input - zero point)."""
    return _dequantised(context, input, scale, zero_point, axis)


@exact("quantize", "CoreML7", "CoreML8")
def quantize(
    context: Context,
    input: Array,  # noqa: A002  MIL's own name
    scale: Array,
    output_dtype: str,
    zero_point: Array | None = None,
    axis: int | None = None,
) -> Any:
    """round(input / scale) + zero point, to even where half way, clamped to the type."""
    kind = dtypes.from_name(output_dtype)
    limits: Any = np.iinfo(kind.dtype)
    steps: Any = _quotient(context, input, _along(scale, input.ndim, axis))
    np.rint(steps, out=steps)
    if zero_point is not None:
        steps += _along(zero_point, input.ndim, axis).astype(np.float32)
    return np.clip(steps, limits.min, limits.max, out=steps).astype(kind.dtype)


@exact("constexpr_cast", "CoreML6", "CoreML7", "CoreML8")
def constexpr_cast(context: Context, source_val: Array, output_dtype: str) -> Array:
    """Float16 weights as float32."""
    return source_val.astype(context.policy.stored(dtypes.from_name(output_dtype).dtype))


@exact("constexpr_lut_to_dense", "CoreML6", "CoreML7")
def lut_to_dense_packed(indices: Array, lut: Array, shape: Ints) -> Any:
    """Packed indices into one table."""
    bits = int(log2(lut.size))
    return lut[dtypes.unpack_bits(indices, bits, prod(shape))].reshape(shape)


@exact("constexpr_sparse_to_dense", "CoreML6", "CoreML7")
def sparse_to_dense_packed(nonzero_data: Array, mask: Array, shape: Ints) -> Any:
    """Values where the packed mask has a bit, zeros elsewhere."""
    bits = dtypes.unpack_bits(mask, 1, prod(shape)).reshape(shape)
    return _spread(nonzero_data, bits)


def _spread(values: Array, mask: Array) -> Array:
    dense = np.zeros(mask.shape, dtype=values.dtype)
    dense[mask != 0] = values
    return dense


def _repeated(values: Array, shape: tuple[int, ...]) -> Any:
    """``values`` repeated block by block up to ``shape``."""
    for axis, (have, want) in enumerate(zip(values.shape, shape, strict=True)):
        if want % have:
            raise EvaluationError(f"{have} blocks do not divide {want} elements of axis {axis}")
        values = values if have == want else np.repeat(values, want // have, axis)
    return values


@exact("constexpr_blockwise_shift_scale", "CoreML8")
def blockwise_shift_scale(data: Array, scale: Array, offset: Array | None = None) -> Any:
    """Scale (data - offset), with one scale and offset per block."""
    real = data.astype(scale.dtype)
    if offset is not None:
        real = (real - _repeated(offset, data.shape)).astype(scale.dtype)
    return _repeated(scale, data.shape) * real


@exact("constexpr_sparse_blockwise_shift_scale", "CoreML8")
def sparse_blockwise_shift_scale(
    data_mask: Array, nonzero_data: Array, scale: Array, offset: Array | None = None
) -> Any:
    """As `blockwise_shift_scale`, on the values that a mask keeps."""
    dense = blockwise_shift_scale(_spread(nonzero_data, data_mask), scale, offset)
    return data_mask, dense[data_mask != 0]


@exact("constexpr_sparse_to_dense", "CoreML8")
def sparse_to_dense(nonzero_data: Array, mask: Array) -> Any:
    """Values where the mask is 1, zeros elsewhere."""
    return _spread(nonzero_data, mask)


@exact("constexpr_lut_to_dense", "CoreML8")
def lut_to_dense(indices: Array, lut: Array, vector_axis: int | None = None) -> Any:
    """Indices into tables, one per block; an entry is a number, or a vector along an axis."""
    tables = lut
    for axis, want in enumerate(indices.shape):
        tables = np.repeat(tables, want // tables.shape[axis], axis)
    picked = np.take_along_axis(tables, indices.astype(np.int64)[..., None, None], axis=-2)[..., 0, :]
    if picked.shape[-1] == 1:
        return picked[..., 0]
    if vector_axis is None:
        raise EvaluationError("a table of vectors needs a vector_axis")
    axis = vector_axis % indices.ndim
    shape = list(indices.shape)
    shape[axis] *= picked.shape[-1]
    return np.moveaxis(picked, -1, axis + 1).reshape(shape)


@exact("constexpr_lut_to_sparse", "CoreML8")
def lut_to_sparse(
    indices_mask: Array, indices_nonzero_data: Array, lut: Array, vector_axis: int | None = None
) -> Any:
    """As `lut_to_dense`, on the indices that a mask keeps; vectors widen the mask too."""
    dense = lut_to_dense(_spread(indices_nonzero_data, indices_mask), lut, vector_axis)
    mask = indices_mask
    if vector_axis is not None and lut.shape[-1] > 1:
        mask = np.repeat(mask, lut.shape[-1], axis=vector_axis)
    return mask, dense[mask != 0]
