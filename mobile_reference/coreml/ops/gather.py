"""Gathers and scatters.

Indices outside are errors. Negative ones count from the end up to CoreML6; from CoreML7 on they lie
outside too, and Core ML leaves their result undefined unless ``validate_indices`` is set.
"""
# ruff: noqa: FBT001, FBT002  MIL's own parameters are truths

from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np

from mien.mobile_reference.coreml.program import Array
from mien.mobile_reference.coreml.registry import Rounding, register
from mien.mobile_reference.errors import EvaluationError

Update = Callable[[Any, Any, Any], None]


def indexed[F: Callable[..., Any]](name: str, rounding: Rounding) -> Callable[[F], F]:
    """Register an operation with ``indices``, for newer opsets with a check of their sign."""

    def enter(function: F) -> F:
        @wraps(function)
        def checked(**arguments: Any) -> Any:
            if (arguments["indices"] < 0).any():
                raise EvaluationError("a negative index is undefined from CoreML7 on")
            return function(**arguments)

        register(name, function, rounding, ("CoreML5", "CoreML6"))
        register(name, checked, rounding, ("CoreML7", "CoreML8"))
        return function

    return enter


def _assign(data: Array, place: Any, updates: Array) -> None:
    data[place] = updates


UPDATES: dict[str, Update] = {
    "update": _assign,
    "add": np.add.at,
    "sub": np.subtract.at,
    "mul": np.multiply.at,
    "div": np.divide.at,
    "max": np.maximum.at,
    "min": np.minimum.at,
}


def _updated(data: Array, place: Any, updates: Array, mode: str) -> Array:
    if mode not in UPDATES:
        raise EvaluationError(f"mode '{mode}' of a scatter is unknown")
    result = data.copy()
    UPDATES[mode](result, place, updates)
    return result


def _along(shape: tuple[int, ...], indices: Array, axis: int) -> tuple[Any, ...]:
    """Index arrays that walk every axis, with ``indices`` in place of ``axis``."""
    grid: list[Any] = list(np.indices(indices.shape, sparse=True))
    grid[axis % len(shape)] = indices
    return tuple(grid)


@indexed("gather", Rounding.NEVER)
def gather(
    x: Array,
    indices: Array,
    axis: int = 0,
    batch_dims: int = 0,
    validate_indices: bool = False,
) -> Any:
    """Slices of ``axis`` at ``indices``; the first ``batch_dims`` axes are walked together."""
    axis %= x.ndim
    if batch_dims == 0:
        return np.take(x, indices.astype(np.int64), axis=axis)
    lead = x.shape[:batch_dims]
    rows = [
        np.take(x[place], indices[place].astype(np.int64), axis=axis - batch_dims)
        for place in np.ndindex(*lead)
    ]
    return np.stack(rows).reshape(*lead, *rows[0].shape)


@indexed("gather_along_axis", Rounding.NEVER)
def gather_along_axis(
    x: Array,
    indices: Array,
    axis: int = 0,
    validate_indices: bool = False,
) -> Any:
    """One element of ``axis`` for each element of ``indices``."""
    return np.take_along_axis(x, indices.astype(np.int64), axis)


@indexed("gather_nd", Rounding.NEVER)
def gather_nd(
    x: Array,
    indices: Array,
    batch_dims: int = 0,
    validate_indices: bool = False,
) -> Any:
    """The last axis of ``indices`` names elements or slices of ``x``."""
    return x[_named_places(x.shape, indices, batch_dims)]


def _named_places(shape: tuple[int, ...], indices: Array, batch_dims: int) -> tuple[Any, ...]:
    inner = np.moveaxis(indices.astype(np.int64), -1, 0)
    lead = np.indices(indices.shape[:batch_dims], sparse=True)
    tail = inner[0].ndim - batch_dims
    return (*(walk.reshape(*walk.shape, *[1] * tail) for walk in lead), *inner)


@indexed("scatter", Rounding.ONCE)
def scatter(
    data: Array,
    indices: Array,
    updates: Array,
    axis: int = 0,
    mode: str = "add",
    validate_indices: bool = False,
) -> Any:
    """``data`` with slices of ``axis`` changed by ``updates``."""
    place = (slice(None),) * (axis % data.ndim) + (indices.astype(np.int64),)
    return _updated(data, place, updates, mode)


@indexed("scatter_along_axis", Rounding.ONCE)
def scatter_along_axis(
    data: Array,
    indices: Array,
    updates: Array,
    axis: int = 0,
    mode: str = "add",
    validate_indices: bool = False,
) -> Any:
    """``data`` with one element of ``axis`` changed for each element of ``indices``."""
    place = _along(data.shape, indices.astype(np.int64), axis)
    return _updated(data, place, updates, mode)


@indexed("scatter_nd", Rounding.ONCE)
def scatter_nd(
    data: Array,
    indices: Array,
    updates: Array,
    mode: str = "add",
    validate_indices: bool = False,
) -> Any:
    """``data`` changed at the places that the last axis of ``indices`` names."""
    return _updated(data, _named_places(data.shape, indices, 0), updates, mode)
