"""Who multiplies: numpy alone, or torch where it is installed.

Convolutions and matrix products are nearly all the work of a network. `NumpyArithmetic` needs
nothing more than the light install; `TorchArithmetic` gives the same answers up to the order of
float sums, faster.
"""

from dataclasses import dataclass
from functools import cache
from itertools import product
from math import erf as exact_erf
from math import pi, sqrt
from typing import Any, Protocol

import numpy as np

from .program import Array

Sizes = tuple[int, ...]
Pads = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Windows:
    """How a kernel moves over its input.

    Attributes:
        strides: steps per spatial axis.
        dilations: distances between the elements of the kernel.
        groups: parts into which the channels are divided.
        pads: zeros before and after each spatial axis.
    """

    strides: Sizes
    dilations: Sizes
    groups: int
    pads: Pads


class Arithmetic(Protocol):
    """The heavy operations, on float32 or float64 arrays (n, channels, *space)."""

    name: str

    def matmul(self, a: Array, b: Array) -> Array:
        """The matrix product of the last two axes, the others broadcast."""

    def conv(self, x: Array, weight: Array, bias: Array | None, how: Windows) -> Array:
        """Convolve ``x`` with ``weight`` (out, in / groups, *kernel) and add ``bias`` (out,)."""

    def conv_transpose(self, x: Array, weight: Array, how: Windows) -> Array:
        """The uncropped transposed convolution; ``weight`` is (in, out / groups, *kernel)."""

    def erf(self, x: Array) -> Array:
        """The Gauss error function, to the precision of the type of ``x``."""

    def cast(self, x: Array, dtype: np.dtype[np.generic]) -> Array:
        """``x`` in another float type, rounded to nearest, ties to even."""


class NumpyArithmetic:
    """Plain numpy: one matrix product per position of the kernel."""

    name = "numpy"

    def matmul(self, a: Array, b: Array) -> Array:
        """The matrix product of the last two axes, the others broadcast."""
        result: Array = np.matmul(a, b)
        return result

    def conv(self, x: Array, weight: Array, bias: Array | None, how: Windows) -> Array:
        """Convolve ``x`` with ``weight`` (out, in / groups, *kernel) and add ``bias`` (out,)."""
        x = padded(x, how.pads, 0.0)
        n, _, *space = x.shape
        out, inner, *kernel = weight.shape
        size = [
            (s - (k - 1) * d - 1) // stride + 1
            for s, k, d, stride in zip(space, kernel, how.dilations, how.strides, strict=True)
        ]
        x = x.reshape(n, how.groups, inner, *space)
        weight = weight.reshape(how.groups, out // how.groups, inner, *kernel)
        total: Array | None = None
        for offset in product(*(range(k) for k in kernel)):
            window = x[_place(offset, size, how)].reshape(n, how.groups, inner, -1)
            part = self._products(weight[_at(offset)], window)
            total = part if total is None else self._add(total, part)
        assert total is not None  # noqa: S101  a kernel has at least one position
        result = total.reshape(n, out, *size)
        return result if bias is None else result + bias.reshape(-1, *[1] * len(size))

    def conv_transpose(self, x: Array, weight: Array, how: Windows) -> Array:
        """The uncropped transposed convolution; ``weight`` is (in, out / groups, *kernel)."""
        n, channels, *space = x.shape
        groups, inner = how.groups, channels // how.groups
        _, out, *kernel = weight.shape
        size = [
            (s - 1) * stride + (k - 1) * d + 1
            for s, k, d, stride in zip(space, kernel, how.dilations, how.strides, strict=True)
        ]
        x = x.reshape(n, groups, inner, -1)
        weight = np.swapaxes(weight.reshape(groups, inner, out, *kernel), 1, 2)
        total = np.zeros((n, groups, out, *size), dtype=x.dtype)
        for offset in product(*(range(k) for k in kernel)):
            place = _place(offset, space, how)
            part = self._products(weight[_at(offset)], x).reshape(n, groups, out, *space)
            total[place] = self._add(total[place], part)
        return total.reshape(n, groups * out, *size)

    def erf(self, x: Array) -> Array:
        """Cubic Hermite interpolation of a table, exact to 1e-12."""
        values, slopes = _erf_table()
        distance = np.minimum(np.abs(x.astype(np.float64)), _ERF_END) * _ERF_STEPS
        cell = np.minimum(np.nan_to_num(distance).astype(np.int64), len(values) - 2)
        t = distance - cell
        left, right = values[cell], values[cell + 1]
        bend = (slopes[cell] * (1 - t) - slopes[cell + 1] * t) / _ERF_STEPS
        even = left + (right - left) * t * t * (3 - 2 * t) + t * (1 - t) * bend
        result: Array = np.copysign(even, x).astype(x.dtype)
        return result

    def cast(self, x: Array, dtype: np.dtype[np.generic]) -> Array:
        """``x`` in another float type; from float16 by a table, which numpy reads faster."""
        if x.dtype == np.float16 and dtype == np.float32:
            return _half_table().take(x.view(np.uint16))
        return x.astype(dtype, copy=False)

    def _products(self, weight: Array, window: Array) -> Array:
        if weight.shape[-1] == 1:  # depthwise: a product without a sum
            return np.multiply(weight, window)
        return self.matmul(weight, window)

    def _add(self, total: Array, part: Array) -> Array:
        result: Array = np.add(total, part)
        return result


class HalfSums(NumpyArithmetic):
    """Sums rounded to float16 after every ``block`` products, and between positions of a kernel."""

    name = "numpy, float16 sums"

    def __init__(self, block: int) -> None:
        self._block = block

    def matmul(self, a: Array, b: Array) -> Array:
        """The matrix product, in blocks of the summed axis."""
        if b.ndim == 1 or a.ndim == 1:
            return _half(super().matmul(a, b))
        total: Array | None = None
        for start in range(0, a.shape[-1], self._block):
            stop = start + self._block
            part = _half(super().matmul(a[..., start:stop], b[..., start:stop, :]))
            total = part if total is None else self._add(total, part)
        return super().matmul(a, b) if total is None else total

    def _add(self, total: Array, part: Array) -> Array:
        return _half(super()._add(total, part))


class TorchArithmetic:
    """Torch on the processor; torch is imported when one is made."""

    name = "torch"

    def __init__(self) -> None:
        import torch

        self._torch: Any = torch
        functional: Any = torch.nn.functional
        self._conv = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}
        self._transpose = {
            1: functional.conv_transpose1d,
            2: functional.conv_transpose2d,
            3: functional.conv_transpose3d,
        }

    def matmul(self, a: Array, b: Array) -> Array:
        """The matrix product of the last two axes, the others broadcast."""
        return self._array(self._torch.matmul(self._tensor(a), self._tensor(b)))

    def conv(self, x: Array, weight: Array, bias: Array | None, how: Windows) -> Array:
        """Convolve ``x`` with ``weight`` (out, in / groups, *kernel) and add ``bias`` (out,)."""
        pads = tuple(before for before, _ in how.pads)
        if any(before != after for before, after in how.pads):
            x, pads = padded(x, how.pads, 0.0), (0,) * len(pads)
        run = self._conv[x.ndim - 2]
        tensors = [None if a is None else self._tensor(a) for a in (x, weight, bias)]
        rules = (how.strides, pads, how.dilations, how.groups)
        return self._array(run(*tensors, *rules))

    def conv_transpose(self, x: Array, weight: Array, how: Windows) -> Array:
        """The uncropped transposed convolution; ``weight`` is (in, out / groups, *kernel)."""
        run = self._transpose[x.ndim - 2]
        tensors = self._tensor(x), self._tensor(weight)
        rules = {"stride": how.strides, "dilation": how.dilations, "groups": how.groups}
        return self._array(run(*tensors, **rules))

    def erf(self, x: Array) -> Array:
        """The Gauss error function."""
        return self._array(self._torch.erf(self._tensor(x)))

    def cast(self, x: Array, dtype: np.dtype[np.generic]) -> Array:
        """``x`` in another float type; on this the processor's own instructions are used."""
        if x.dtype == dtype:
            return x
        return self._array(self._tensor(x).to(getattr(self._torch, dtype.name)))

    def _tensor(self, array: Array) -> Any:
        turned = any(stride < 0 for stride in array.strides)  # which torch does not take
        return self._torch.from_numpy(array.copy() if turned or not array.flags.writeable else array)

    def _array(self, tensor: Any) -> Array:
        result: Array = tensor.detach().numpy()
        return result


def best_arithmetic() -> Arithmetic:
    """Torch where it is installed, numpy otherwise."""
    try:
        return TorchArithmetic()
    except ImportError:
        return NumpyArithmetic()


_ERF_END = 6.0  # erf(6) is 1 in float64
_ERF_STEPS = 512  # cells per unit: the error of a cubic is below (1 / 512)**4 / 20


@cache
def _erf_table() -> tuple[Any, Any]:
    nodes = np.arange(int(_ERF_END * _ERF_STEPS) + 1) / _ERF_STEPS
    values = np.array([exact_erf(node) for node in nodes])
    slopes = 2 / sqrt(pi) * np.exp(-nodes * nodes)
    return values, slopes


@cache
def _half_table() -> Array:
    """Every float16 as float32, at the place of its bits."""
    return np.arange(2**16, dtype=np.uint16).view(np.float16).astype(np.float32)


def _at(offset: Sizes) -> Any:
    """The index of one position of the kernel."""
    return (..., *offset)


def _place(offset: Sizes, size: Any, how: Windows) -> Any:
    """The index of the elements that one position of the kernel meets."""
    return (
        ...,
        *(
            slice(o * d, o * d + (s - 1) * stride + 1, stride)
            for o, s, stride, d in zip(offset, size, how.strides, how.dilations, strict=True)
        ),
    )


def padded(x: Array, pads: Pads, value: float) -> Array:
    """``x`` with ``value`` around its spatial axes."""
    if not any(before or after for before, after in pads):
        return x
    return np.pad(x, ((0, 0), (0, 0), *pads), constant_values=value)


def _half(array: Array) -> Array:
    return array.astype(np.float16).astype(array.dtype)
