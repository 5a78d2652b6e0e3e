"""What the convolutions of the pipeline read: means and covariances over calibration faces.

Weights are rounded by them, see ``mien.export.weights.gptq``.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

# Of a larger map some places are taken: they are alike, and faces are many.
_PLACES = 1024


@dataclass(frozen=True)
class Moments:
    """Mean [n] and covariance [n, n] of what lies under a convolution's window.

    n is inputs * rows * columns, in the order of the convolution's weights.
    """

    mean: NDArray[np.float64]
    covariance: NDArray[np.float64]


class _Sums:
    """Sums over places and faces."""

    def __init__(self) -> None:
        self.count = 0
        self.first: Any = 0.0
        self.second: Any = 0.0

    def add(self, convolution: nn.Conv2d, inputs: tuple[Tensor]) -> None:
        values = _windows(convolution, inputs[0]).double().numpy()
        self.count += values.shape[1]
        self.first = self.first + values.sum(axis=1)
        self.second = self.second + values @ values.T

    def moments(self) -> Moments:
        mean = self.first / self.count
        return Moments(mean, self.second / self.count - np.outer(mean, mean))


@torch.inference_mode()
def convolution_moments(net: nn.Module, samples: Sequence[Sequence[Tensor]]) -> Mapping[str, Moments]:
    """Run ``net`` on ``samples`` of its inputs, pixels as float32, and watch its dense convolutions.

    Returns:
        The moments by the convolution's name in ``net``. One that runs twice a face has those of both runs.
    """
    sums: dict[str, _Sums] = {}
    with _watched(net, sums):
        for sample in samples:
            net(*(tensor.float() for tensor in sample))
    return {name: found.moments() for name, found in sums.items()}


def dense_convolutions(net: nn.Module) -> dict[str, nn.Conv2d]:
    """Find the convolutions whose every output sees every input."""
    return {
        name: module
        for name, module in net.named_modules()
        if isinstance(module, nn.Conv2d) and module.groups == 1
    }


@contextmanager
def _watched(net: nn.Module, sums: dict[str, _Sums]) -> Iterator[None]:
    convolutions = dense_convolutions(net)
    sums |= {name: _Sums() for name in convolutions}
    hooks = [module.register_forward_pre_hook(sums[name].add) for name, module in convolutions.items()]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _windows(convolution: nn.Conv2d, x: Tensor) -> Tensor:
    """List what the convolution sees of x [1, C, H, W] at each place: [C * rows * columns, places]."""
    padded = getattr(convolution, "padded", None)
    if padded is not None:  # a convolution that pads by a rule of its own
        x = padded(x)
    else:
        rows, columns = (int(size) for size in convolution.padding)
        x = F.pad(x, (columns, columns, rows, rows))
    places = F.unfold(x, convolution.kernel_size, stride=convolution.stride)[0]
    # An odd step: an even one would see the same few columns of a map in every row.
    return places[:, :: places.shape[1] // _PLACES | 1]
