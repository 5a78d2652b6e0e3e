"""What the convolutions of a pipeline read: means and covariances over calibration inputs.

Weights are rounded by them, see ``mien.export.weights.gptq``. PyTorch itself is watched, not its modules: a
convolution is seen with the stride, the dilation and the padded input that it really has.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

# Of a larger map some places are taken: they are alike, and inputs are many.
_PLACES = 1024
_NUMBERS = 1 << 20
"""At most so many are looked at together, in double precision: eight megabytes."""


@dataclass(frozen=True)
class Moments:
    """Mean [..., n] and covariance [..., n, n] of what lies under a convolution's window.

    n is inputs * rows * columns, in the order of the convolution's weights. Groups of inputs come first.
    """

    mean: NDArray[np.float64]
    covariance: NDArray[np.float64]

    @property
    def groups(self) -> list["Moments"]:
        """Those of each group of inputs, of moments [groups, n]."""
        return [Moments(*group) for group in zip(self.mean, self.covariance, strict=True)]


def _joined(parts: Sequence[Moments]) -> Moments:
    """Return the moments of all groups from those of some after others."""
    return Moments(*(np.concatenate([getattr(p, f) for p in parts]) for f in ("mean", "covariance")))


@dataclass
class Sums:
    """Sums over places and inputs, from which ``Moments`` follow."""

    count: int = 0
    first: Any = 0.0
    second: Any = 0.0

    def add(self, values: NDArray[np.float64]) -> None:
        """Add what was seen at some places: [..., n, places]."""
        self.count += values.shape[-1]
        self.first = self.first + values.sum(axis=-1)
        self.second = self.second + values @ values.swapaxes(-1, -2)

    def moments(self) -> Moments:
        """Return the moments of all that was added."""
        mean = self.first / self.count
        return Moments(mean, self.second / self.count - mean[..., :, None] * mean[..., None, :])


@dataclass(frozen=True)
class Window:
    """How a convolution looks at a map: [rows, columns] of its kernel, stride and dilation, and the padding.

    ``padding`` is the zeros added on the left, on the right, at the top and at the bottom.
    """

    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)


def convolution_moments(net: nn.Module, samples: Iterable[Sequence[Tensor]]) -> Mapping[str, Moments]:
    """Run ``net`` on ``samples`` of its inputs, pixels as float32, and watch its convolutions.

    Returns:
        The moments [groups, n] by the convolution's name in ``net``. One that runs twice a sample has those
        of both runs.
    """
    watch = _Watch({module.weight.data_ptr(): name for name, module in convolutions(net).items()})
    # Without gradients, and not in inference mode, where it is not said what a convolution is made of.
    with torch.no_grad(), watch:
        for sample in samples:
            net(*(tensor.float() for tensor in sample))
    return {name: _joined([one.moments() for one in found.values()]) for name, found in watch.sums.items()}


def convolutions(net: nn.Module) -> dict[str, nn.Conv2d]:
    """Find the convolutions: dense, grouped and depthwise."""
    return {name: module for name, module in net.named_modules() if isinstance(module, nn.Conv2d)}


class _Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sums up what the convolutions of the given weights read, by the names of the weights."""

    def __init__(self, names: Mapping[int, str]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.names = names
        self.sums: dict[str, dict[int, Sums]] = {}

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if function is torch.ops.aten.convolution.default:
            x, weight, _, stride, padding, dilation, _, _, groups = args
            name = self.names.get(weight.data_ptr())
            if name is not None:
                rows, columns = padding
                around = (columns, columns, rows, rows)
                window = Window(tuple(weight.shape[2:]), tuple(stride), tuple(dilation), around)
                self._add(self.sums.setdefault(name, {}), x, window, groups)
        return function(*args, **(kwargs or {}))

    def _add(self, sums: dict[int, Sums], x: Tensor, window: Window, groups: int) -> None:
        """Add what is seen of some groups at a time: memory for all at once costs more than the sums."""
        each = x.shape[1] // groups
        most = max(1, _NUMBERS // (each * math.prod(window.kernel) * _PLACES))
        for first in range(0, groups, most):
            values = seen(x[:, first * each : (first + most) * each], window)
            count = min(most, groups - first)
            sums.setdefault(first, Sums()).add(values.reshape(count, -1, values.shape[-1]))


def seen(x: Tensor, window: Window) -> NDArray[np.float64]:
    """List what a window sees of ``x`` [1, C, H, W] at each place, or at some of very many.

    Returns:
        [C * rows * columns, places].
    """
    padded = F.pad(x, window.padding)[0]
    channels, height, width = padded.shape
    down, across = (
        torch.arange(0, size - dilation * (taps - 1), stride)
        for size, taps, stride, dilation in zip(
            (height, width), window.kernel, window.stride, window.dilation, strict=True
        )
    )
    corners = (down[:, None] * width + across).ravel()
    corners = corners[:: _step(len(corners))]
    rows, columns = (torch.arange(n) * d for n, d in zip(window.kernel, window.dilation, strict=True))
    taps = (rows[:, None] * width + columns).ravel()
    # numpy takes them faster than PyTorch does.
    read = padded.reshape(channels, -1).numpy().take((taps[:, None] + corners).ravel(), axis=1)
    return read.reshape(channels * len(taps), -1).astype(np.float64)


def some_places(values: Tensor) -> Tensor:
    """Take some of the places of [n, places] where there are very many."""
    return values[:, :: _step(values.shape[1])]


def _step(places: int) -> int:
    """Return every how many places one is taken."""
    # An odd step: an even one would see the same few columns of a map in every row.
    return places // _PLACES | 1
