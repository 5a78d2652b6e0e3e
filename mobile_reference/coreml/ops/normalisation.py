"""Normalisations."""

from math import prod
from typing import Any

import numpy as np

from mien.mobile_reference.coreml.program import Array
from mien.mobile_reference.coreml.registry import Ints, op

from .activation import per_channel


@op("batch_norm")
def batch_norm(
    x: Array,
    mean: Array,
    variance: Array,
    gamma: Array | None = None,
    beta: Array | None = None,
    epsilon: float = 1e-5,
) -> Any:
    """Gamma (x - mean) / sqrt(variance + epsilon) + beta, per channel."""
    scale = 1 / np.sqrt(variance + x.dtype.type(epsilon))
    if gamma is not None:
        scale = scale * gamma
    shifted = (x - per_channel(mean, x.ndim)) * per_channel(scale, x.ndim)
    return shifted if beta is None else shifted + per_channel(beta, x.ndim)


def _standardised(x: Array, axes: Ints, epsilon: float) -> Any:
    centred = x - x.mean(axes, keepdims=True)
    spread = np.square(centred).mean(axes, keepdims=True)
    return centred / np.sqrt(spread + x.dtype.type(epsilon))


@op("instance_norm")
def instance_norm(
    x: Array, gamma: Array | None = None, beta: Array | None = None, epsilon: float = 1e-5
) -> Any:
    """Each channel of each image to mean 0 and variance 1, then gamma and beta per channel."""
    result = _standardised(x, tuple(range(2, x.ndim)), epsilon)
    if gamma is not None:
        result = result * per_channel(gamma, x.ndim)
    return result if beta is None else result + per_channel(beta, x.ndim)


@op("layer_norm")
def layer_norm(
    x: Array,
    axes: Ints | None = None,
    gamma: Array | None = None,
    beta: Array | None = None,
    epsilon: float = 1e-5,
) -> Any:
    """Mean 0 and variance 1 over ``axes``, then gamma and beta of the shape of these axes."""
    chosen = tuple(a % x.ndim for a in (range(x.ndim) if axes is None else axes))
    shape = [n if axis in chosen else 1 for axis, n in enumerate(x.shape)]
    result = _standardised(x, chosen, epsilon)
    if gamma is not None:
        result = result * gamma.reshape(shape)
    return result if beta is None else result + beta.reshape(shape)


@op("l2_norm")
def l2_norm(x: Array, epsilon: float = 1e-6) -> Any:
    """X over the root of the sum of squares of the last three axes."""
    batch = x.shape[: max(0, x.ndim - 3)]
    flat = x.reshape(*batch, prod(x.shape[len(batch) :]))
    square_sum = np.square(flat).sum(axis=-1, keepdims=True)
    return (flat / np.sqrt(square_sum + x.dtype.type(epsilon))).reshape(x.shape)


@op("local_response_norm")
def local_response_norm(x: Array, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> Any:
    """X / (k + alpha / size * sum of squares of ``size`` neighbouring channels) ** beta."""
    before = size // 2
    widths = [(0, 0), (before, size - 1 - before), *[(0, 0)] * (x.ndim - 2)]
    squares = np.pad(np.square(x), widths)
    total = sum(squares[:, i : i + x.shape[1]] for i in range(size))
    return x / np.power(k + alpha / size * total, beta).astype(x.dtype)
