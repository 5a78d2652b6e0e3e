"""Weights rounded by what the products of a float TFLite graph read.

The graph says of every product which stride, dilation, padding and input it really has, whatever it was
converted from: a module, a program of torch.export or an ONNX file.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray
from torch import Tensor

from mien.calibration.moments import Moments, Sums, Window, seen, some_places
from mien.export.component import Component
from mien.export.weights.gptq import Rounded, Roundings, round_convolution
from mien.mobile_reference.tflite.flatbuffer import looked_into
from mien.mobile_reference.tflite.litert import Kernels

from .interpreter import Runner
from .products import Product, products
from .ranges import Arrays

# A covariance of more inputs takes minutes to invert; such weights go to the nearest step.
_LARGEST = 4608
# Numbers in the covariances that are summed up at a time: 256 MB.
_AT_A_TIME = 1 << 25


@dataclass
class _Layer:
    """Weights with all products that use them, and the sums of what these read, by group of inputs."""

    uses: list[Product]
    sums: Sums = field(default_factory=Sums)

    @property
    def inputs(self) -> int:
        """How many inputs an output has."""
        return int(self.uses[0].weight[0].size)

    @property
    def size(self) -> int:
        """How many numbers the covariances have."""
        return self.uses[0].groups * self.inputs**2

    def rounded(self) -> Rounded:
        """Round the weights by what was summed up."""
        one, moments = self.uses[0], self.sums.moments().groups
        if one.bias is not None:
            return round_convolution(one.weight.astype(np.float64), one.bias.astype(np.float64), *moments)
        # No bias makes up for the mean, so that it must be kept as everything else that is read.
        around_zero = [Moments(m.mean, m.covariance + np.outer(m.mean, m.mean)) for m in moments]
        return round_convolution(one.weight.astype(np.float64), np.zeros(len(one.weight)), *around_zero)


def round_graph(
    component: Component, model: bytes, samples: Sequence[Arrays], only: Collection[str] | None = None
) -> Roundings:
    """Round the weights of the products of a float ``model`` for ``samples`` of the component's tensors.

    Products that use the same weights and bias are one. Weights of more inputs than a covariance can be
    inverted for are left out. Given the names of tensors, those ``only`` that make these are rounded.
    """
    parsed = looked_into(model)
    found: dict[bytes, _Layer] = {}
    for one in products(parsed):
        if only is not None and one.made not in only:
            continue
        key = one.weight.tobytes() + (b"" if one.bias is None else one.bias.tobytes())
        found.setdefault(key, _Layer([])).uses.append(one)
    layers = [layer for layer in found.values() if layer.inputs <= _LARGEST]
    runner = Runner(model, Kernels.LITERT)
    rounded: dict[str, Rounded] = {}
    for part in _parts(layers):
        _watch(runner, component, part, samples)
        rounded |= {layer.uses[0].made: layer.rounded() for layer in part}
        for layer in part:
            layer.sums = Sums()
    return rounded


def _parts(layers: Sequence[_Layer]) -> Iterator[list[_Layer]]:
    """Split layers so that the covariances of a part fit into memory."""
    part: list[_Layer] = []
    for layer in layers:
        if part and sum(one.size for one in part) + layer.size > _AT_A_TIME:
            yield part
            part = []
        part.append(layer)
    if part:
        yield part


def _watch(runner: Runner, component: Component, layers: Sequence[_Layer], samples: Sequence[Arrays]) -> None:
    names = frozenset(one.source for layer in layers for one in layer.uses)
    for sample in samples:
        runner.run([sample[name] for name in component.inputs])
        tensors = runner.tensors(names)
        for layer in layers:
            for one in layer.uses:
                values = read_by(one, tensors[one.source])
                layer.sums.add(values.reshape(one.groups, -1, values.shape[-1]))


def read_by(product: Product, x: NDArray[np.float32]) -> NDArray[np.float64]:
    """List what a product reads of its input at each place, as its weights have it: [groups * n, places]."""
    return _READERS[product.kind](product, torch.from_numpy(np.ascontiguousarray(x)))


def _rows(product: Product, x: Tensor) -> NDArray[np.float64]:
    """Read vectors: [.., in], turned before where the operation turns them."""
    options = product.operator.builtinOptions
    if product.kind == "BATCH_MATMUL" and options.adjX:
        x = x.transpose(-1, -2)
    return some_places(x.reshape(-1, product.weight.shape[1]).T).double().numpy()


def _windows(product: Product, x: Tensor) -> NDArray[np.float64]:
    options = product.operator.builtinOptions
    kernel = (int(product.weight.shape[2]), int(product.weight.shape[3]))
    stride = (int(options.strideH), int(options.strideW))
    dilation = (int(options.dilationHFactor), int(options.dilationWFactor))
    before, after = product.shapes
    top, bottom, left, right = (0, 0, 0, 0)
    if options.padding == schema.Padding.SAME:
        top, bottom = _same(before[1], after[1], kernel[0], stride[0], dilation[0])
        left, right = _same(before[2], after[2], kernel[1], stride[1], dilation[1])
    window = Window(kernel, stride, dilation, (left, right, top, bottom))
    return seen(x.permute(0, 3, 1, 2), window)


def _same(size: int, made: int, kernel: int, stride: int, dilation: int) -> tuple[int, int]:
    """Return the zeros that TensorFlow's SAME adds before and behind; an odd one lies behind."""
    total = max((made - 1) * stride + (kernel - 1) * dilation + 1 - size, 0)
    return total // 2, total - total // 2


def _transposed(product: Product, x: Tensor) -> NDArray[np.float64]:
    """Read a transposed convolution: a plain one of the map with zeros between, its taps the other way."""
    options = product.operator.builtinOptions
    kernel = (int(product.weight.shape[2]), int(product.weight.shape[3]))
    strides = (int(options.strideH), int(options.strideW))
    before, after = product.shapes
    spread = _with_zeros_between(x.permute(0, 3, 1, 2), strides)
    around: list[int] = []
    for axis in (1, 0):  # columns first, as ``F.pad`` has them
        cut = 0
        if options.padding == schema.Padding.SAME:
            total = max((before[axis + 1] - 1) * strides[axis] + kernel[axis] - after[axis + 1], 0)
            cut = total // 2
        first = kernel[axis] - 1 - cut
        last = after[axis + 1] + kernel[axis] - 1 - int(spread.shape[axis + 2]) - first
        around += [first, last]
    left, right, top, bottom = around
    values = seen(spread, Window(kernel, padding=(left, right, top, bottom)))
    taps = values.reshape(before[3], *kernel, -1)[:, ::-1, ::-1]
    return np.ascontiguousarray(taps).reshape(values.shape)


def _with_zeros_between(x: Tensor, strides: tuple[int, int]) -> Tensor:
    rows, columns = strides
    spread: Tensor = F.pad(
        x[:, :, :, None, :, None], (0, columns - 1, 0, 0, 0, rows - 1)
    )  # [1, C, H, rows, W, columns]
    height, width = x.shape[2] * rows, x.shape[3] * columns
    return spread.reshape(1, x.shape[1], height, width)[:, :, : height - rows + 1, : width - columns + 1]


_READERS: Mapping[str, Callable[[Product, Tensor], NDArray[np.float64]]] = {
    "CONV_2D": _windows,
    "DEPTHWISE_CONV_2D": _windows,
    "TRANSPOSE_CONV": _transposed,
    "FULLY_CONNECTED": _rows,
    "BATCH_MATMUL": _rows,
}
