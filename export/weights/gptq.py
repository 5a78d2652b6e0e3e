"""Weights rounded to eight bits so that the errors cancel in what a convolution makes of the inputs.

Rounded one by one to the nearest step, weights err independently. Here the inputs of a convolution are taken
in turn, and the weights of those to come make up for the error so far, as far as the inputs' covariance lets
them (GPTQ, arXiv 2210.17323). What is left of the mean goes into the bias (arXiv 1906.04721).

The greatest weight of every output channel keeps its value. So every quantiser that scales a channel by it
finds the same steps, and ``Rounded`` weights are given to converters as the float weights that they are.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from torch import Tensor, nn

from mien.calibration.moments import Moments, convolution_moments, convolutions
from mien.mobile_reference.report.steps import Progress, Step, quietly

from .fold_batch_norm import fold_batch_norm

_STEPS = 127
# Share of the mean variance that is added to every input's, so that inputs that hardly vary carry no error.
_DAMPING = 0.01
# Of the greatest weight of a channel: batch normalisation folded by one program and by another.
_FOLDING = 1e-3
# Half of the least float16 number: what a package's float16 weights of a dead channel may be off by.
_LEAST = 2.0**-25


@dataclass(frozen=True)
class Rounded:
    """Weights of 255 levels: multiples of their output channel's step, as float32.

    ``weight`` [out, ...] has the axes of PyTorch's, those of a transposed convolution in the order of a plain
    one; ``bias`` [out]. ``source`` and ``source_bias`` are the float ones, batch normalisation folded, that
    they were rounded from.
    """

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    source: NDArray[np.float32]
    source_bias: NDArray[np.float32]


_FIELDS = tuple(field.name for field in fields(Rounded))
Roundings = Mapping[str, Rounded]
"""Rounded weights by any name; ``find_rounded`` finds them by what they were rounded from."""


def find_rounded(
    roundings: Roundings, weight: NDArray[np.float32], bias: NDArray[np.float32] | None = None
) -> Rounded | None:
    """Find what the given float weights [out, ...] became, whatever they are called; None if nothing.

    What follows the first axis may be in any shape, in the order of PyTorch's axes. Programs fold batch
    normalisation with other rounding, so that the nearest is taken. Of equal weights those of the nearest
    bias [out] are taken, where it is given.
    """
    flat = weight.reshape(len(weight), -1)
    matching = [one for one in roundings.values() if same_weights(flat, one.source)]

    def distance(one: Rounded) -> tuple[float, float]:
        apart = 0.0 if bias is None else float(np.abs(one.source_bias - bias).max())
        return float(np.abs(one.source.reshape(flat.shape) - flat).max()), apart

    return min(matching, key=distance, default=None)


def same_weights(flat: NDArray[np.float32], source: NDArray[np.float32]) -> bool:
    """Tell whether weights [out, n] are equal but for how they were folded."""
    if source.size != flat.size or len(source) != len(flat):
        return False
    off = np.abs(source.reshape(flat.shape) - flat).max(axis=1)
    return bool((off <= _FOLDING * np.abs(flat).max(axis=1) + _LEAST).all())


def scales(flat: NDArray[np.float32], source: NDArray[np.float32]) -> NDArray[np.float32] | None:
    """Say by what the rows of ``source`` must be multiplied to be weights [out, n]; None if nothing does it.

    Programs fold a factor that follows into the weights, as that of a hard sigmoid, or leave it where it is.
    Rows of one weight are multiples of any other, so that these must be equal.
    """
    if same_weights(flat, source):
        return np.ones(len(flat), np.float32)
    if source.size != flat.size or len(source) != len(flat) or flat.shape[1] < 2:
        return None
    rows = source.reshape(flat.shape)
    squares = (rows**2).sum(axis=1)
    found: NDArray[np.float32] = np.where(squares, (rows * flat).sum(axis=1) / np.maximum(squares, 1e-30), 1)
    return found if found.all() and same_weights(flat, rows * found[:, None]) else None


def scaled(rounded: Rounded, factors: NDArray[np.float32]) -> Rounded:
    """Multiply everything of each output channel by its factor, which moves no level."""
    arrays = (getattr(rounded, name) for name in _FIELDS)
    return Rounded(*(array * factors.reshape(-1, *(1,) * (array.ndim - 1)) for array in arrays))


def round_convolutions(
    net: nn.Module, samples: Sequence[Sequence[Tensor]], progress: Progress = quietly
) -> Roundings:
    """Round every convolution of ``net``, batch normalisation folded, for ``samples`` of its inputs.

    The net is not changed.
    """
    folded = fold_batch_norm(net, [tensor.float() for tensor in samples[0]])
    moments = convolution_moments(folded, Step("watching convolutions", len(samples), progress).over(samples))
    return round_with(folded, moments, progress)


def round_with(folded: nn.Module, moments: Mapping[str, Moments], progress: Progress = quietly) -> Roundings:
    """Round the convolutions of a net without batch normalisation that have ``moments``, by name."""
    known, step = convolutions(folded), Step("rounding weights", len(moments), progress)
    return {
        name: round_convolution(_numbers(known[name].weight), _bias(known[name]), *found.groups)
        for name, found in step.over(moments.items())
    }


def _bias(convolution: nn.Conv2d) -> NDArray[np.float64]:
    if convolution.bias is None:
        return np.zeros(convolution.out_channels)
    return _numbers(convolution.bias)


def _numbers(parameter: Tensor) -> NDArray[np.float64]:
    numbers: NDArray[np.float64] = parameter.detach().double().numpy()
    return numbers


def round_convolution(weight: NDArray[np.float64], bias: NDArray[np.float64], *groups: Moments) -> Rounded:
    """Round weights [out, ...] for inputs of the given moments, and correct the bias [out].

    Each of several ``groups`` of inputs is read by an equal share of the outputs, one after the other.
    """
    flat = weight.reshape(len(weight), -1)
    parts = np.split(flat, len(groups))
    rounded = [_rounded(part, group.covariance) for part, group in zip(parts, groups, strict=True)]
    shifts = [(part - found) @ group.mean for part, found, group in zip(parts, rounded, groups, strict=True)]
    return Rounded(
        np.concatenate(rounded).reshape(weight.shape).astype(np.float32),
        (bias + np.concatenate(shifts)).astype(np.float32),
        weight.astype(np.float32),
        bias.astype(np.float32),
    )


def _rounded(weights: NDArray[np.float64], covariance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Round weights [out, n], those of the inputs that vary most first."""
    steps = np.abs(weights).max(axis=1) / _STEPS
    steps[steps == 0] = 1
    greatest = np.abs(weights).argmax(axis=1)
    order = np.argsort(-np.diag(covariance), kind="stable")
    pinned, left = weights, weights[:, order].copy()
    found = np.empty_like(weights)
    spread = _share_of_errors(covariance[np.ix_(order, order)])
    for place, column in enumerate(order):
        nearest = np.rint(left[:, place] / steps).clip(-_STEPS, _STEPS) * steps
        found[:, column] = np.where(greatest == column, pinned[:, column], nearest)
        error = (left[:, place] - found[:, column]) / spread[place, place]
        left[:, place + 1 :] -= np.outer(error, spread[place, place + 1 :])
    return found


def _share_of_errors(covariance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the upper triangle by which later inputs make up for the error of earlier ones."""
    size = len(covariance)
    # An input that never varies at all would leave nothing to divide by.
    damped = covariance + np.eye(size) * max(_DAMPING * np.trace(covariance) / size, 1e-12)
    return np.linalg.cholesky(np.linalg.inv(damped)).T


def write_roundings(roundings: Roundings, file: Path) -> None:
    """Write roundings as safetensors."""
    file.parent.mkdir(parents=True, exist_ok=True)
    save_file(
        {f"{name}.{field}": array for name, one in roundings.items() for field, array in asdict(one).items()},
        file,
    )


def read_roundings(file: Path) -> Roundings:
    """Read what ``write_roundings`` wrote."""
    arrays = load_file(file)
    names = {name.rpartition(".")[0] for name in arrays}
    return {name: Rounded(*(arrays[f"{name}.{field}"] for field in _FIELDS)) for name in sorted(names)}
