"""Small seeded networks of many kinds, as components of a pipeline with samples."""

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mien.export.component import Component
from mien.mobile_reference.contract import AS_IT_IS, PICTURE, TensorSpec


class Hourglass(nn.Module):
    """Convolutions of every kind: dense, depthwise, grouped, dilated, transposed, with normalisation."""

    def __init__(self) -> None:
        super().__init__()
        # Registered in another order than they run in.
        self.first, self.second = nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.Conv2d(8, 8, 1, bias=False)
        self.norm_first, self.norm_second = nn.BatchNorm2d(8), nn.BatchNorm2d(8)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.grouped = nn.Conv2d(8, 16, 3, padding=1, groups=2)
        self.dilated = nn.Conv2d(16, 16, 3, padding=2, dilation=2)
        self.up = nn.ConvTranspose2d(16, 8, 4, 2, 1)
        self.head = nn.Conv2d(8, 2, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Map pixels [1, 3, 16, 16] to two maps."""
        x = F.relu(self.norm_first(self.first(image.float() / 127.5 - 1)))
        x = F.hardswish(self.norm_second(self.second(x)))
        x = self.grouped(F.relu6(self.depthwise(x)))
        # The channels of both groups mixed.
        x = x.reshape(1, 2, 8, 8, 8).transpose(1, 2).reshape(1, 16, 8, 8)
        return torch.sigmoid(self.head(F.leaky_relu(self.up(F.silu(self.dilated(x))))))


class Attention(nn.Module):
    """One block of attention over tokens [1, 6, 16]."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.norm_after = nn.LayerNorm(16), nn.LayerNorm(16)
        self.qkv, self.out = nn.Linear(16, 48), nn.Linear(16, 16)
        self.wide, self.narrow = nn.Linear(16, 32), nn.Linear(32, 16)

    def forward(self, tokens: Tensor) -> Tensor:
        """Keep the shape."""
        q, k, v = self.qkv(self.norm(tokens)).reshape(1, 6, 3, 2, 8).permute(2, 0, 3, 1, 4)
        weights = torch.softmax(q @ k.transpose(-1, -2) / 8**0.5, -1)
        x = tokens + self.out((weights @ v).transpose(1, 2).reshape(1, 6, 16))
        made: Tensor = x + self.narrow(F.gelu(self.wide(self.norm_after(x))))
        return made


class Tensors(nn.Module):
    """Features, the index of a row and a picture of grey: a number and an index."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(10, 6)
        self.mix = nn.Parameter(torch.randn(14, 4))

    def forward(self, features: Tensor, row: Tensor, grey: Tensor) -> tuple[Tensor, Tensor]:
        """Multiply by a matrix outside of any layer."""
        mean = F.adaptive_avg_pool2d(grey.float() / 255, 1).flatten(1).expand(1, 2)
        made = torch.tanh(torch.cat([features, self.table(row), mean], 1) @ self.mix)
        return made, made.argmax(1).to(torch.int32)


def spec(name: str, shape: tuple[int, ...], dtype: str = "float32", layout: str = AS_IT_IS) -> TensorSpec:
    """Describe a tensor."""
    return TensorSpec(name, shape, dtype, 1, "", layout)


_GENERATOR = np.random.default_rng(4)


def _pixels(*shape: int) -> np.ndarray:
    return _GENERATOR.integers(0, 256, shape, dtype=np.uint8)


def _reals(*shape: int) -> np.ndarray:
    return _GENERATOR.normal(size=shape).astype(np.float32)


_SAMPLES: dict[str, Callable[[], dict[str, np.ndarray]]] = {
    "hourglass": lambda: {"image": _pixels(1, 16, 16, 3)},
    "attention": lambda: {"tokens": _reals(1, 6, 16)},
    "tensors": lambda: {
        "features": _reals(1, 6),
        "row": _GENERATOR.integers(0, 10, 1).astype(np.int32),
        "grey": _pixels(1, 4, 6, 1),
    },
}
_TENSORS = {
    "hourglass": (
        Hourglass,
        [spec("image", (1, 16, 16, 3), "uint8", PICTURE)],
        [spec("maps", (1, 16, 16, 2), layout=PICTURE)],
    ),
    "attention": (Attention, [spec("tokens", (1, 6, 16))], [spec("mixed", (1, 6, 16))]),
    "tensors": (
        Tensors,
        [spec("features", (1, 6)), spec("row", (1,), "int32"), spec("grey", (1, 4, 6, 1), "uint8", PICTURE)],
        [spec("made", (1, 4)), spec("best", (1,), "int32")],
    ),
}
NAMES = tuple(_TENSORS)


def small(name: str) -> tuple[Component, list[dict[str, np.ndarray]]]:
    """Return a network with settled statistics, and samples of its inputs."""
    torch.manual_seed(1)
    kind, inputs, outputs = _TENSORS[name]
    module = kind()
    for child in module.modules():
        if isinstance(child, nn.BatchNorm2d):
            child.running_mean.uniform_(-0.5, 0.5)
            child.running_var.uniform_(0.5, 2)
    tensors = {one.name: one for one in (*inputs, *outputs)}
    names = tuple(one.name for one in inputs), tuple(one.name for one in outputs)
    component = Component(name, module.eval(), *names, quantise=True, tensors=tensors)
    return component, [_SAMPLES[name]() for _ in range(3)]
