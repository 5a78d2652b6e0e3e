"""Lists of tensors, as recurrent networks use them. Writing to a list gives a new list."""
# ruff: noqa: FBT001, FBT002  MIL's own parameters are truths

from typing import Any

import numpy as np

from mien.mobile_reference.coreml import dtypes
from mien.mobile_reference.coreml.program import Array
from mien.mobile_reference.coreml.registry import Context, Ints, TensorList, Values, exact
from mien.mobile_reference.errors import EvaluationError

from .shape import room_for

MAX_LENGTH = 1_000_000


@exact("make_list")
def make_list(
    context: Context,
    elem_shape: Values,
    init_length: int = 1,
    dynamic_length: bool = True,
    dtype: str = "fp32",
) -> TensorList:
    """A list of zeros; dimensions that are names of symbols become 1 until something is written."""
    flat = [n for value in elem_shape for n in (value if isinstance(value, tuple) else (value,))]
    shape: list[int] = []
    for entry in flat:
        shape.extend([1] if isinstance(entry, str) else np.asarray(entry).reshape(-1).tolist())
    kind = context.policy.stored(dtypes.from_name(dtype).dtype)
    room_for((init_length, *shape))
    return TensorList((np.zeros(shape, dtype=kind),) * init_length)


@exact("list_length")
def list_length(ls: TensorList) -> Any:
    """The number of tensors."""
    return np.array(len(ls.items), dtype=np.int32)


@exact("list_read")
def list_read(ls: TensorList, index: int) -> Array:
    """One tensor."""
    return ls.items[index]


@exact("list_gather")
def list_gather(ls: TensorList, indices: Ints) -> Any:
    """Several tensors as one."""
    return np.stack([ls.items[i] for i in indices])


@exact("list_write")
def list_write(ls: TensorList, index: int, value: Array) -> TensorList:
    """The list with one tensor replaced; it grows when written beyond its end."""
    return _written(ls, (index,), (value,))


@exact("list_scatter")
def list_scatter(ls: TensorList, indices: Ints, value: Array) -> TensorList:
    """The list with several tensors replaced."""
    return _written(ls, indices, tuple(value))


def _written(ls: TensorList, indices: Ints, values: tuple[Array, ...]) -> TensorList:
    items = list(ls.items)
    for index, value in zip(indices, values, strict=True):
        if index >= MAX_LENGTH:
            raise EvaluationError(f"element {index} of a list is written; {MAX_LENGTH} is the most")
        items.extend(np.zeros_like(value) for _ in range(index + 1 - len(items)))
        items[index] = value
    return TensorList(tuple(items))
