"""Reductions along axes."""
# ruff: noqa: FBT001, FBT002  MIL's own parameters are truths

from collections.abc import Callable
from typing import Any

import numpy as np

from mien.mobile_reference.coreml import dtypes
from mien.mobile_reference.coreml.program import Array
from mien.mobile_reference.coreml.registry import Ints, Rounding, op, register

Reduce = Callable[[Any, Ints | None, bool], Any]


def _log_sum_exp(x: Array, axes: Ints | None, keep: bool) -> Any:
    highest = x.max(axis=axes, keepdims=True)
    total = np.log(np.exp(x - highest).sum(axis=axes, keepdims=True)) + highest
    return total if keep else total.reshape(x.sum(axis=axes).shape)


REDUCTIONS: dict[str, Reduce] = {
    "reduce_l1_norm": lambda x, axes, keep: np.abs(x).sum(axes, x.dtype, keepdims=keep),
    "reduce_l2_norm": lambda x, axes, keep: np.sqrt(np.square(x).sum(axes, keepdims=keep)),
    "reduce_log_sum": lambda x, axes, keep: np.log(x.sum(axes, keepdims=keep)),
    "reduce_log_sum_exp": _log_sum_exp,
    "reduce_max": lambda x, axes, keep: x.max(axes, keepdims=keep),
    "reduce_mean": lambda x, axes, keep: x.mean(axes, keepdims=keep),
    "reduce_min": lambda x, axes, keep: x.min(axes, keepdims=keep),
    "reduce_prod": lambda x, axes, keep: x.prod(axes, x.dtype, keepdims=keep),
    "reduce_sum": lambda x, axes, keep: x.sum(axes, x.dtype, keepdims=keep),
    "reduce_sum_square": lambda x, axes, keep: np.square(x).sum(axes, x.dtype, keepdims=keep),
}


def _enter(name: str, reduce: Reduce) -> None:
    def run(x: Array, axes: Ints | None = None, keep_dims: bool = False) -> Any:
        return np.asarray(reduce(x, axes, keep_dims)).astype(x.dtype, copy=False)

    register(name, run, Rounding.ONCE)


for _name, _reduce in REDUCTIONS.items():
    _enter(_name, _reduce)


@op("reduce_argmax")
def reduce_argmax(
    x: Array,
    axis: int = -1,
    keep_dims: bool = False,
    output_dtype: str = "int32",
) -> Any:
    """Where the largest value is, the first of equals."""
    place = np.argmax(x, axis=axis, keepdims=keep_dims)
    return np.asarray(place).astype(dtypes.from_name(output_dtype).dtype)


@op("reduce_argmin")
def reduce_argmin(
    x: Array,
    axis: int = -1,
    keep_dims: bool = False,
    output_dtype: str = "int32",
) -> Any:
    """Where the smallest value is, the first of equals."""
    place = np.argmin(x, axis=axis, keepdims=keep_dims)
    return np.asarray(place).astype(dtypes.from_name(output_dtype).dtype)
