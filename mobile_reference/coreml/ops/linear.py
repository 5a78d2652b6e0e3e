"""Matrix products."""
# ruff: noqa: FBT001, FBT002  MIL's own parameters are truths

from typing import Any

import numpy as np

from mien.mobile_reference.coreml.program import Array, TensorType
from mien.mobile_reference.coreml.registry import Arrays, Context, op
from mien.mobile_reference.errors import EvaluationError

from .activation import softmax


@op("linear")
def linear(context: Context, x: Array, weight: Array, bias: Array | None = None) -> Any:
    """X times the transpose of ``weight`` (out, in), plus ``bias``, which may have another type than x."""
    wide = np.result_type(x, weight)
    result: Any = context.arithmetic.matmul(np.atleast_2d(x).astype(wide), weight.T.astype(wide))
    result = result.reshape(*x.shape[:-1], weight.shape[0]).astype(x.dtype, copy=False)
    return result if bias is None else result + bias.astype(x.dtype, copy=False)


def _declared(context: Context) -> np.dtype[np.generic]:
    kind = context.operation.outputs[0].type
    assert isinstance(kind, TensorType)  # noqa: S101  a product is never a list
    return context.policy.stored(kind.kind.dtype)


@op("matmul")
def matmul(
    context: Context,
    x: Array,
    y: Array,
    transpose_x: bool = False,
    transpose_y: bool = False,
) -> Any:
    """Matrix product with the rules of numpy for one and for more than two axes."""
    a = np.swapaxes(x, -1, -2) if transpose_x and x.ndim > 1 else x
    b = np.swapaxes(y, -1, -2) if transpose_y and y.ndim > 1 else y
    if x.dtype.kind == y.dtype.kind == "f":
        return context.arithmetic.matmul(a, b)
    return np.matmul(a, b).astype(_declared(context))  # types may differ from CoreML7 on


@op("einsum")
def einsum(values: Arrays, equation: str) -> Any:
    """The two products that MIL allows: over axis -1 of the first and axis -3 of the second."""
    if len(values) != 2:
        raise EvaluationError(f"einsum takes two tensors and got {len(values)}")
    return np.einsum(equation, *values, optimize=True).astype(values[0].dtype)


@op("scaled_dot_product_attention", "CoreML8")
def attention(
    context: Context, query: Array, key: Array, value: Array, attn_mask: Array | None = None
) -> Any:
    """softmax(query key^T / sqrt(width) + mask) value; a mask of truths hides where it is false."""
    scale = query.dtype.type(1 / np.sqrt(query.shape[-1]))
    similar: Any = context.arithmetic.matmul(query, np.swapaxes(key, -1, -2)) * scale
    if attn_mask is not None:
        hidden = query.dtype.type(-np.inf)
        is_truth = attn_mask.dtype == np.bool_
        similar = np.where(attn_mask, similar, hidden) if is_truth else similar + attn_mask
    return context.arithmetic.matmul(softmax(similar), value)
