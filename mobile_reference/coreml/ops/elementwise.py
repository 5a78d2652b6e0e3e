"""One value at a time: sums, comparisons, elementary functions, casts."""

from collections.abc import Callable
from typing import Any

import numpy as np

from mien.mobile_reference.coreml import dtypes
from mien.mobile_reference.coreml.program import Array
from mien.mobile_reference.coreml.registry import Context, Rounding, exact, op, register

Function = Callable[..., Any]


def _floor_div(x: Array, y: Array) -> Any:
    return np.floor_divide(x, y)


def _real_div(x: Array, y: Array) -> Any:
    """The quotient; of whole numbers rounded towards zero, since the result is a whole number."""
    quotient = np.true_divide(x, y)
    if x.dtype.kind == "f":
        return quotient
    return np.trunc(quotient).astype(x.dtype)


UNARY: dict[str, Function] = {
    "abs": np.abs,
    "acos": np.arccos,
    "asin": np.arcsin,
    "atan": np.arctan,
    "atanh": np.arctanh,
    "ceil": np.ceil,
    "cos": np.cos,
    "cosh": np.cosh,
    "exp": np.exp,
    "exp2": lambda x: np.exp2(x).astype(x.dtype),
    "floor": np.floor,
    "logical_not": np.logical_not,
    "round": np.rint,
    "sign": np.sign,
    "sin": np.sin,
    "sinh": np.sinh,
    "sqrt": np.sqrt,
    "square": np.square,
    "tan": np.tan,
    "tanh": np.tanh,
}
BINARY: dict[str, Function] = {
    "add": np.add,
    "equal": np.equal,
    "floor_div": _floor_div,
    "greater": np.greater,
    "greater_equal": np.greater_equal,
    "less": np.less,
    "less_equal": np.less_equal,
    "logical_and": np.logical_and,
    "logical_or": np.logical_or,
    "logical_xor": np.logical_xor,
    "maximum": np.maximum,
    "minimum": np.minimum,
    "mod": np.mod,
    "mul": np.multiply,
    "not_equal": np.not_equal,
    "pow": np.power,
    "real_div": _real_div,
    "sub": np.subtract,
}


def _enter_unary(name: str, function: Function) -> None:
    def run(x: Array) -> Any:
        return function(x)

    register(name, run, Rounding.ONCE)


def _enter_binary(name: str, function: Function) -> None:
    def run(x: Array, y: Array) -> Any:
        return function(x, y)

    register(name, run, Rounding.ONCE)


for _name, _function in UNARY.items():
    _enter_unary(_name, _function)
for _name, _function in BINARY.items():
    _enter_binary(_name, _function)


@exact("identity")
def identity(x: Array) -> Array:
    """The input itself."""
    return x


@op("erf")
def erf(context: Context, x: Array) -> Array:
    """The Gauss error function."""
    return context.arithmetic.erf(x)


@op("clip")
def clip(x: Array, alpha: Array, beta: Array) -> Any:
    """Values below ``alpha`` or above ``beta`` become these."""
    high = np.asarray(np.maximum(x, alpha))
    return np.minimum(high, beta, out=high)


@op("threshold")
def threshold(x: Array, alpha: Array) -> Any:
    """Values below ``alpha`` become ``alpha``."""
    return np.maximum(x, alpha)


@op("inverse")
def inverse(x: Array, epsilon: float = 1e-4) -> Any:
    """1 / (x + epsilon)."""
    return 1 / (x + x.dtype.type(epsilon))


@op("log")
def log(x: Array, epsilon: float = 1e-45) -> Any:
    """ln(x + epsilon), without an epsilon that float32 has as a denormal number alone.

    Metal may take such a number for 0 (Metal Shading Language Specification, flush to zero mode).
    coremltools writes the least one, 1e-45, where PyTorch has no epsilon: ln 0 is -inf, not -103.
    """
    return np.log(x + x.dtype.type(epsilon if epsilon >= np.finfo(np.float32).tiny else 0))


@op("rsqrt")
def rsqrt(x: Array, epsilon: float = 1e-12) -> Any:
    """1 / sqrt(x + epsilon)."""
    return 1 / np.sqrt(x + x.dtype.type(epsilon))


@exact("cast")
def cast(context: Context, x: Array, dtype: str) -> Array:
    """Change the type; reals become whole numbers by dropping the fraction."""
    return x.astype(context.policy.stored(dtypes.from_name(dtype).dtype))


@exact("select")
def select(cond: Array, a: Array, b: Array) -> Any:
    """``a`` where ``cond`` holds, else ``b``; the condition may also be a number."""
    return np.where(cond != 0, a, b)
