"""How a program's reals are rounded: documented policies, because Apple documents none.

A float16 model is bracketed, not predicted: run it under several policies and report the spread.
None of them is validated on Apple hardware, and `float16-accumulation` is not an upper bound of what an
accelerator may do.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from mien.mobile_reference.errors import UsageError

from .program import Array

HALF, SINGLE, DOUBLE = (np.dtype(name) for name in ("float16", "float32", "float64"))


@dataclass(frozen=True)
class Policy:
    """One way to round.

    Attributes:
        name: what reports call it.
        summary: one line for people.
        storage: the type in which values declared float16 and float32 lie between operations.
        compute: the type in which one operation computes; it rounds once, when it is done.
        block: products after which a sum of float16 values is rounded to float16 inside
        convolutions
            and matrix products (by numpy, whoever else multiplies); None rounds sums only at the
            end.
    """

    name: str
    summary: str
    storage: Mapping[np.dtype[np.generic], np.dtype[np.generic]] = field(repr=False)
    compute: np.dtype[np.generic]
    block: int | None = None

    def stored(self, dtype: np.dtype[np.generic]) -> np.dtype[np.generic]:
        """The type that holds values declared as ``dtype``; whole numbers stay what they are."""
        return self.storage.get(dtype, dtype)

    def store(self, array: Array) -> Array:
        """Bring an array of declared type into the type that holds it."""
        return array.astype(self.stored(array.dtype), copy=False)


DECLARED = Policy(
    "float16-storage",
    "values as declared, float32 arithmetic, one rounding per operation",
    {HALF: HALF, SINGLE: SINGLE, DOUBLE: DOUBLE},
    SINGLE,
)
FLOAT32 = Policy(
    "float32",
    "float32 values and arithmetic; of float16 only the weights' rounding is left",
    {HALF: SINGLE, SINGLE: SINGLE, DOUBLE: SINGLE},
    SINGLE,
)
HALF_SUMS = Policy(
    "float16-accumulation",
    "as float16-storage, and sums rounded to float16 after every 32 products",
    {HALF: HALF, SINGLE: SINGLE, DOUBLE: DOUBLE},
    SINGLE,
    block=32,
)
IDEAL = Policy(
    "ideal",
    "float64 values and arithmetic; the program's weights without any rounding of arithmetic",
    {HALF: DOUBLE, SINGLE: DOUBLE, DOUBLE: DOUBLE},
    DOUBLE,
)
POLICIES = {policy.name: policy for policy in (DECLARED, FLOAT32, HALF_SUMS, IDEAL)}


def policy_named(name: str) -> Policy:
    """Find a policy by name."""
    if name not in POLICIES:
        raise UsageError(f"there is no policy '{name}'; choose one of {', '.join(POLICIES)}")
    return POLICIES[name]
