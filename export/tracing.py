"""Traces of modules without the arithmetic of shapes, of which converters would fold every step."""

from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

_SHAPES = frozenset(
    [Tensor.shape.__get__, Tensor.size, Tensor.numel, Tensor.nelement, torch.numel]  # type: ignore[attr-defined]
)
"""What a module asks of a tensor that is the same in every run of a graph of fixed size."""


class FixedShapes(TorchFunctionMode):
    """While TorchScript traces a module, the shapes that it asks for are plain numbers.

    Else each is an operation of the trace, and so is all that is computed with it: three in five operations
    of a network that pads by shapes. What PyTorch's own functions ask for inside stays in the trace.
    """

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if function not in _SHAPES:
            return function(*args, **(kwargs or {}))
        tracing = torch._C._get_tracing_state()
        torch._C._set_tracing_state(None)  # type: ignore[attr-defined]
        try:
            return function(*args, **(kwargs or {}))
        finally:
            torch._C._set_tracing_state(tracing)  # type: ignore[attr-defined]
