"""Random tensors. Apple documents no generator: shapes and distributions agree, values do not.

A seed of -1 asks for a new draw at every run; here every draw is repeatable, with seed 0 in its
place.
"""

from typing import Any

import numpy as np

from mien.mobile_reference.coreml.program import Array
from mien.mobile_reference.coreml.registry import Ints, exact

from .shape import room_for


def _generator(seed: int) -> np.random.Generator:
    return np.random.default_rng(max(seed, 0))


@exact("random_bernoulli")
def random_bernoulli(shape: Ints, prob: Array | None = None, seed: int = -1) -> Any:
    """Ones with probability ``prob``, else zeros."""
    chance = np.float32(0.5) if prob is None else prob
    return (_generator(seed).random(room_for(shape)) < chance).astype(chance.dtype)


@exact("random_normal")
def random_normal(shape: Ints, mean: Array | None = None, stddev: Array | None = None, seed: int = -1) -> Any:
    """Draws from a normal distribution."""
    centre: Any = np.float32(0) if mean is None else mean
    spread: Any = np.float32(1) if stddev is None else stddev
    drawn = _generator(seed).standard_normal(room_for(shape))
    return (drawn * spread + centre).astype(centre.dtype)


@exact("random_uniform")
def random_uniform(shape: Ints, low: Array | None = None, high: Array | None = None, seed: int = -1) -> Any:
    """Draws from [low, high)."""
    start: Any = np.float32(0) if low is None else low
    end: Any = np.float32(1) if high is None else high
    drawn = _generator(seed).random(room_for(shape))
    return (drawn * (end - start) + start).astype(start.dtype)


@exact("random_categorical")
def random_categorical(x: Array, mode: str = "logits", size: int = 1, seed: int = -1) -> Any:
    """Indices along the last axis, drawn with its probabilities."""
    weights = x.astype(np.float64)
    if mode == "logits":
        weights = np.exp(weights - weights.max(axis=-1, keepdims=True))
    steps = np.cumsum(weights / weights.sum(axis=-1, keepdims=True), axis=-1)
    draws = _generator(seed).random((*room_for((*x.shape[:-1], size)), 1))
    return (draws > steps[..., np.newaxis, :-1]).sum(axis=-1).astype(x.dtype)
