"""Convolutions and what they share with pools: padding rules."""

from typing import Any

import numpy as np

from mien.mobile_reference.coreml.arithmetic import Pads, Windows
from mien.mobile_reference.coreml.program import Array
from mien.mobile_reference.coreml.registry import Context, Ints, op
from mien.mobile_reference.errors import EvaluationError

from .activation import per_channel


def pads_for(
    pad_type: str, pad: Ints | None, space: Ints, kernel: Ints, strides: Ints, dilations: Ints
) -> Pads:
    """Elements to add before and after each spatial axis.

    ``same`` gives outputs of ceil(size / stride); an odd element goes to the end, with
    ``same_lower`` to the start.
    """
    if pad_type == "valid":
        return ((0, 0),) * len(space)
    if pad_type == "custom":
        flat = (0,) * (2 * len(space)) if pad is None else pad
        return tuple(zip(flat[::2], flat[1::2], strict=True))
    if pad_type not in ("same", "same_lower"):
        raise EvaluationError(f"pad_type '{pad_type}' is unknown")
    return tuple(
        _same(size, (k - 1) * dilation + 1, stride, pad_type)
        for size, k, stride, dilation in zip(space, kernel, strides, dilations, strict=True)
    )


def _same(size: int, kernel: int, stride: int, pad_type: str) -> tuple[int, int]:
    total = max(0, (-(-size // stride) - 1) * stride + kernel - size)
    less, more = total // 2, total - total // 2
    return (less, more) if pad_type == "same" else (more, less)


@op("conv")
def conv(
    context: Context,
    x: Array,
    weight: Array,
    bias: Array | None = None,
    strides: Ints | None = None,
    pad_type: str = "valid",
    pad: Ints | None = None,
    dilations: Ints | None = None,
    groups: int = 1,
) -> Any:
    """Convolution over one to three spatial axes; ``weight`` is (out, in / groups, *kernel)."""
    space, kernel = x.shape[2:], weight.shape[2:]
    strides = strides or (1,) * len(space)
    dilations = dilations or (1,) * len(space)
    pads = pads_for(pad_type, pad, space, kernel, strides, dilations)
    return context.arithmetic.conv(x, weight, bias, Windows(strides, dilations, groups, pads))


@op("conv_quantized")
def conv_quantized(
    context: Context,
    x: Array,
    weight: Array,
    quantization_type: str,
    quant_scale: Array,
    quant_bias: Array,
    bias: Array | None = None,
    nbits: int = 8,
    strides: Ints | None = None,
    pad_type: str = "valid",
    pad: Ints | None = None,
    dilations: Ints | None = None,
    groups: int = 1,
) -> Any:
    """Convolution with whole-number weights: weight * scale + bias, per output channel."""
    if quantization_type != "linear":
        raise EvaluationError(f"quantization_type '{quantization_type}' is not known; 'linear' is")
    column = (-1, *[1] * (weight.ndim - 1))
    scale, offset = quant_scale.reshape(column), quant_bias.reshape(column)
    real = (weight.astype(x.dtype) * scale + offset).astype(x.dtype)
    return conv(context, x, real, bias, strides, pad_type, pad, dilations, groups)


@op("conv_transpose")
def conv_transpose(
    context: Context,
    x: Array,
    weight: Array,
    bias: Array | None = None,
    pad: Ints | None = None,
    output_shape: Ints | None = None,
    pad_type: str = "valid",
    strides: Ints | None = None,
    dilations: Ints | None = None,
    groups: int = 1,
) -> Any:
    """Transposed convolution; ``weight`` is (in, out / groups, *kernel)."""
    space = x.shape[2:]
    strides = strides or (1,) * len(space)
    dilations = dilations or (1,) * len(space)
    how = Windows(strides, dilations, groups, ((0, 0),) * len(space))
    full = context.arithmetic.conv_transpose(x, weight, how)
    sizes = _sizes(output_shape, full)
    part = _cropped(full, pad_type, pad, space, strides, sizes)
    return part if bias is None else part + per_channel(bias, x.ndim)


def _sizes(output_shape: Ints | None, full: Array) -> Ints | None:
    """The spatial part of a declared shape, whose other part must be right."""
    if output_shape and output_shape[:2] != full.shape[:2]:
        raise EvaluationError(f"output_shape {output_shape} begins unlike {full.shape[:2]}")
    return output_shape[2:] if output_shape else None


def _cropped(
    full: Array, pad_type: str, pad: Ints | None, space: Ints, strides: Ints, sizes: Ints | None
) -> Any:
    """Cut the full result to its declared part; beyond its end there are zeros."""
    for axis, (size, stride) in enumerate(zip(space, strides, strict=True)):
        length = full.shape[axis + 2]
        before = after = 0
        if pad_type == "custom" and pad:
            before, after = pad[2 * axis], pad[2 * axis + 1]
        wanted = sizes[axis] if sizes else length - before - after
        if pad_type == "same":
            wanted = sizes[axis] if sizes else size * stride
            before = max(0, length - wanted) // 2
        full = _cut(full, axis + 2, before, wanted)
    return full


def _cut(full: Array, axis: int, before: int, wanted: int) -> Any:
    missing = max(0, before + wanted - full.shape[axis])
    if missing:
        widths = [(0, 0)] * full.ndim
        widths[axis] = (0, missing)
        full = np.pad(full, widths)
    return full[(slice(None),) * axis + (slice(before, before + wanted),)]
