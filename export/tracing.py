"""Traces of modules without the arithmetic of shapes, and without poolings that no converter knows."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

_SHAPES = frozenset(
    [Tensor.shape.__get__, Tensor.size, Tensor.numel, Tensor.nelement, torch.numel]  # type: ignore[attr-defined]
)
"""What a module asks of a tensor that is the same in every run of a graph of fixed size."""
_ATEN = torch.ops.aten
_POOLS = (F.max_pool1d, F.max_pool2d, F.max_pool3d)
_Size = int | Sequence[int | None]


class FixedShapes(TorchFunctionMode):
    """While TorchScript traces a module, the shapes that it asks for are plain numbers.

    Else each is an operation of the trace, and so is all that is computed with it: three in five operations
    of a network that pads by shapes. What PyTorch's own functions ask for inside stays in the trace.
    """

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if function in _WRITTEN_OUT:
            return _WRITTEN_OUT[function](function, *args, **kwargs)
        if function not in _SHAPES:
            return function(*args, **kwargs)
        with _untraced():
            return function(*args, **kwargs)


@contextmanager
def _untraced() -> Iterator[None]:
    tracing = torch._C._get_tracing_state()
    torch._C._set_tracing_state(None)  # type: ignore[attr-defined]
    try:
        yield
    finally:
        torch._C._set_tracing_state(tracing)  # type: ignore[attr-defined]


def _maxima(axes: int) -> Callable[..., Tensor]:
    """Return what pools the last ``axes`` of a map to a size, as the function of PyTorch does."""

    def pooled(function: Callable[..., Tensor], x: Tensor, size: _Size, *given: Any, **named: Any) -> Tensor:
        windows = _windows(x, axes, size)
        return function(x, size, *given, **named) if windows is None else _by_windows(x, axes, windows)

    return pooled


def _maxima_and_places(axes: int) -> Callable[..., tuple[Tensor, Tensor]]:
    """Return the same for a program's operation; the trace drops the places of maxima that nobody reads."""

    def pooled(
        function: Callable[..., tuple[Tensor, Tensor]], x: Tensor, size: Sequence[int]
    ) -> tuple[Tensor, Tensor]:
        maxima, places = function(x, size)
        windows = _windows(x, axes, size)
        return (maxima if windows is None else _by_windows(x, axes, windows)), places

    return pooled


_Windows = Sequence[Sequence[tuple[int, int]]]


def _windows(x: Tensor, axes: int, size: _Size) -> _Windows | None:
    """Say where each window of each axis begins and ends; None if the windows of every axis are alike."""
    with _untraced():
        lengths = x.shape[-axes:]
    asked = [size] * axes if isinstance(size, int) else size
    counts = [length if count is None else count for length, count in zip(lengths, asked, strict=True)]
    if not any(length % count for length, count in zip(lengths, counts, strict=True)):
        return None
    return [
        [(place * length // count, -(-(place + 1) * length // count)) for place in range(count)]
        for length, count in zip(lengths, counts, strict=True)
    ]


def _by_windows(x: Tensor, axes: int, windows: _Windows) -> Tensor:
    """Take the maxima along one axis after the other, each window a part of the map that is pooled whole."""
    for place, along in enumerate(windows):
        axis = place - axes
        parts = [
            _POOLS[axes - 1](
                x.narrow(axis, start, end - start), [end - start if n == place else 1 for n in range(axes)]
            )
            for start, end in along
        ]
        x = torch.cat(parts, axis)
    return x


_WRITTEN_OUT: Mapping[Any, Callable[..., Any]] = {
    F.adaptive_max_pool1d: _maxima(1),
    F.adaptive_max_pool2d: _maxima(2),
    F.adaptive_max_pool3d: _maxima(3),
    _ATEN.adaptive_max_pool1d.default: _maxima_and_places(1),
    _ATEN.adaptive_max_pool2d.default: _maxima_and_places(2),
    _ATEN.adaptive_max_pool3d.default: _maxima_and_places(3),
}
"""What is traced in the place of a function, which is given first, with what it was called with."""
