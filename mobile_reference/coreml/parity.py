"""How far an output of a package is from that of its source model."""

from dataclasses import dataclass
from math import inf
from typing import Any

import numpy as np

from .program import Array

_FLOAT, _WHOLE, _TRUTH = "a real number", "a whole number", "true or false"
_KINDS = {"f": _FLOAT, "i": _WHOLE, "u": _WHOLE, "b": _TRUTH}


@dataclass(frozen=True)
class Difference:
    """One output compared with its reference.

    Attributes:
        output: name of the output in the package.
        largest: largest absolute difference.
        relative: ``largest`` over the largest absolute value of the reference.
        snr: power of the reference over that of the difference, in dB; None where there is none.
        fault: what no tolerance allows, such as NaN or another shape; None where there is nothing.
    """

    output: str
    largest: float
    relative: float
    snr: float | None
    fault: str | None = None

    def passes(self, limit: float | None) -> bool:
        """Tell whether nothing is wrong that no limit allows, and the limit holds if there is one."""
        return self.fault is None and (limit is None or self.relative <= limit)

    @property
    def badness(self) -> tuple[bool, float]:
        """What is worse has more of it."""
        return self.fault is not None, self.relative


def difference(name: str, got: Any, expected: Any) -> Difference:
    """Compare one output.

    Shapes must be equal, but that Core ML has a single number as an array of one. Whole numbers must be
    equal and stay whole numbers. Infinities must be at the same places. NaN is never equal, not even to NaN.
    """
    have, want = np.asarray(got), np.asarray(expected)
    fault = _unlike(have, want)
    if fault:
        return Difference(name, inf, inf, None, fault)
    have, want = have.reshape(want.shape), want
    if want.dtype.kind != "f":
        return _whole_difference(name, have, want)
    have, want = have.astype(np.float64), want.astype(np.float64)
    fault = _not_finite(have, want)
    if fault:
        return Difference(name, inf, inf, None, fault)
    finite = np.isfinite(want)
    return _real_difference(name, have[finite], want[finite])


def _unlike(have: Array, want: Array) -> str | None:
    """Say how type or shape differ."""
    if have.shape != want.shape and {have.shape, want.shape} != {(), (1,)}:
        return f"shape {have.shape}, the source model has {want.shape}"
    # Core ML's outputs know neither int64 nor truth values, which come as numbers.
    kinds = {_KINDS.get(array.dtype.kind) for array in (have, want)}
    if None in kinds or (len(kinds) > 1 and _KINDS[want.dtype.kind] != _TRUTH):
        return f"type {have.dtype}, the source model has {want.dtype}"
    return None


def _whole_difference(name: str, have: Array, want: Array) -> Difference:
    """Compare whole numbers, of at most 53 bits where one of both is real."""
    unequal = int((have != want).sum())
    gap = np.abs(have.astype(np.float64) - want.astype(np.float64))
    largest, scale = float(gap.max(initial=0.0)), float(np.abs(want.astype(np.float64)).max(initial=0.0))
    fault = f"{unequal} of {want.size} whole numbers differ" if unequal else None
    return Difference(name, largest, largest / scale if scale else largest, None, fault)


def _not_finite(have: Array, want: Array) -> str | None:
    """Say where NaN or infinity is in one and not in the other."""
    if np.isnan(want).any():
        return f"the source model gives NaN at {int(np.isnan(want).sum())} of {want.size} places"
    if np.isnan(have).any():
        return f"NaN at {int(np.isnan(have).sum())} of {have.size} places"
    infinite = np.isinf(have) | np.isinf(want)
    apart = int((have[infinite] != want[infinite]).sum())
    return f"infinite at {apart} of {want.size} places in one of both only" if apart else None


def _real_difference(name: str, have: Array, want: Array) -> Difference:
    gap = have - want
    largest = float(np.abs(gap).max(initial=0.0))
    scale = float(np.abs(want).max(initial=0.0))
    noise, power = float((gap**2).sum()), float((want**2).sum())
    snr = 10 * float(np.log10(power / noise)) if noise and power else None
    return Difference(name, largest, largest / scale if scale else largest, snr)
