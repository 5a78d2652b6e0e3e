"""Networks of an engineer's own, seeded, with settled batch statistics or trained, and what they are given.

``NETWORKS`` are small, for every test. ``WHOLE`` are torchvision's at their full width, which take longer.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
import torchvision
from numpy.typing import NDArray
from torch import Tensor, nn

from mien.export.component import Component
from mien.mobile_reference.contract import AS_IT_IS, PICTURE, TensorSpec
from tests.trained import SIDE, discs, trained


@dataclass(frozen=True)
class Input:
    """An input as the contract has it: its shape and its type; whole numbers are below ``below``.

    ``draw`` makes one, as a module takes it, where it is not what all others are.
    """

    shape: tuple[int, ...]
    dtype: str = "float32"
    below: int = 256
    draw: Callable[[torch.Generator], Tensor] | None = None

    @property
    def layout(self) -> str:
        """Four axes are a picture or a map, channels last."""
        return PICTURE if len(self.shape) == 4 else AS_IT_IS


@dataclass(frozen=True)
class Network:
    """How a network is made, its inputs in order, and how many of them give ranges that hold for others.

    A module that is made in training mode has batch statistics to be settled.
    """

    make: Callable[[], nn.Module]
    inputs: Mapping[str, Input]
    samples: int = 8


class Hourglass(nn.Module):
    """Dilated and transposed convolutions, and a border that is reflected."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.norm = nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8)
        self.near = nn.Conv2d(8, 8, 3, padding=2, dilation=2)
        self.far = nn.Conv2d(8, 8, 3, padding=4, dilation=4)
        self.up = nn.ConvTranspose2d(8, 8, 4, 2, 1)
        self.last = nn.Conv2d(8, 3, 3, padding=1, padding_mode="reflect")

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(self.down(x)))
        x = x + self.far(F.relu(self.near(x)))
        return torch.as_tensor(self.last(F.relu(self.up(x))))


class Disordered(nn.Module):
    """Convolutions of every kind on pixels; normalisations are not registered in the order they run in."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.Conv2d(8, 8, 1, bias=False)
        self.norm_second, self.norm_first = nn.BatchNorm2d(8), nn.BatchNorm2d(8)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.grouped = nn.Conv2d(8, 16, 3, padding=1, groups=2)
        self.dilated = nn.Conv2d(16, 16, 3, padding=2, dilation=2)
        self.up = nn.ConvTranspose2d(16, 8, 4, 2, 1)
        self.head = nn.Conv2d(8, 2, 1)

    def forward(self, image: Tensor) -> Tensor:
        x = F.relu(self.norm_first(self.first(image.float() / 127.5 - 1)))
        x = F.hardswish(self.norm_second(self.second(x)))
        x = self.grouped(F.relu6(self.depthwise(x)))
        # The channels of both groups mixed.
        batch, channels, height, width = x.shape
        x = x.reshape(batch, 2, channels // 2, height, width).transpose(1, 2).reshape(x.shape)
        return torch.sigmoid(self.head(F.leaky_relu(self.up(F.silu(self.dilated(x))))))


class Shuffled(nn.Module):
    """ShuffleNetV2's blocks, a grouped convolution, and a mean."""

    def __init__(self) -> None:
        super().__init__()
        block = torchvision.models.shufflenetv2.InvertedResidual
        self.first = nn.Conv2d(3, 16, 3, 2, 1)
        # The last one splits a map of eight columns, which a converter may take for channels.
        self.blocks = nn.Sequential(block(16, 16, 1), block(16, 32, 2), block(32, 32, 1))
        self.grouped, self.last = nn.Conv2d(32, 16, 3, padding=1, groups=2), nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(F.relu(self.first(x)))
        return torch.as_tensor(self.last(F.relu(self.grouped(x)).mean((2, 3))))


class Segmented(nn.Module):
    """LRASPP's head: a gate from the mean of a map, and two scales."""

    def __init__(self) -> None:
        super().__init__()
        self.low = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.Hardswish())
        self.high = nn.Sequential(nn.Conv2d(8, 16, 3, 2, 1), nn.Hardswish())
        self.map = nn.Sequential(nn.Conv2d(16, 8, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(16, 8, 1, bias=False), nn.Sigmoid())
        self.of_low, self.of_high = nn.Conv2d(8, 4, 1), nn.Conv2d(8, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        low = self.low(x)
        high = self.high(low)
        y = F.interpolate(self.map(high) * self.gate(high), size=low.shape[2:], mode="bilinear")
        return F.interpolate(self.of_low(low) + self.of_high(y), size=x.shape[2:], mode="bilinear")


class Detected(nn.Module):
    """Two outputs, such as classes and boxes."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU6(), nn.Conv2d(8, 16, 3, 2, 1), nn.ReLU6(), nn.MaxPool2d(2)
        )
        self.classes, self.boxes = nn.Conv2d(16, 2, 1), nn.Conv2d(16, 4, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.body(x)
        classes, boxes = (
            head(x).permute(0, 2, 3, 1).reshape(len(x), -1, count)
            for head, count in ((self.classes, 2), (self.boxes, 4))
        )
        return classes.softmax(-1), boxes


class Scored(nn.Module):
    """Two inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(4, 8, 3, 2, 1), nn.Linear(8, 4)

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.first(torch.cat([image, mask], 1))), 2)
        return torch.as_tensor(self.last(F.adaptive_avg_pool2d(x, 1).flatten(1)))


class Attended(nn.Module):
    """A block of a transformer, of tokens [1, T, D]: LayerNorm, computed products, SOFTMAX, GELU."""

    def __init__(self, size: int = 16, heads: int = 2) -> None:
        super().__init__()
        self.heads, self.before, self.between = heads, nn.LayerNorm(size), nn.LayerNorm(size)
        self.all, self.out = nn.Linear(size, 3 * size), nn.Linear(size, size)
        self.wide = nn.Sequential(nn.Linear(size, 2 * size), nn.GELU(), nn.Linear(2 * size, size))

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, size = x.shape
        parts = self.all(self.before(x)).reshape(batch, tokens, 3, self.heads, size // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4).unbind(0)
        shares = (query @ key.transpose(-2, -1) * (size // self.heads) ** -0.5).softmax(-1)
        x = x + self.out((shares @ value).transpose(1, 2).reshape(batch, tokens, size))
        return x + torch.as_tensor(self.wide(self.between(x)))


class Several(nn.Module):
    """Features, the index of a row and a picture of grey: a number and an index."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(10, 6)
        self.mix = nn.Parameter(torch.randn(14, 4))

    def forward(self, features: Tensor, row: Tensor, grey: Tensor) -> tuple[Tensor, Tensor]:
        mean = F.adaptive_avg_pool2d(grey.float() / 255, 1).flatten(1).expand(-1, 2)
        # A matrix outside of any layer.
        made = torch.tanh(torch.cat([features, self.table(row), mean], 1) @ self.mix)
        return made, made.argmax(1).to(torch.int32)


def _twice(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, after, 3, padding=1, bias=False),
        nn.BatchNorm2d(after),
        nn.ReLU(),
        nn.Conv2d(after, after, 3, padding=1, bias=False),
        nn.BatchNorm2d(after),
        nn.ReLU(),
    )


class UNet(nn.Module):
    """A mask [1, 1, H, W] of pixels [1, 3, H, W]: two scales, and maps handed across."""

    def __init__(self) -> None:
        super().__init__()
        self.fine, self.coarse = _twice(3, 8), _twice(8, 16)
        self.up, self.joined = nn.ConvTranspose2d(16, 8, 2, 2), _twice(16, 8)
        self.last = nn.Conv2d(8, 1, 1)

    def forward(self, image: Tensor) -> Tensor:
        fine = self.fine(image.float() / 127.5 - 1)
        coarse = self.coarse(F.max_pool2d(fine, 2))
        return torch.sigmoid(self.last(self.joined(torch.cat([self.up(coarse), fine], 1))))


class Scorer(nn.Module):
    """A grade [1] from 0 to 100 of pixels and a mask."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(4, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 16, 3, 2, 1), nn.ReLU())
        self.last = nn.Linear(16, 1)

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        x = self.body(torch.cat([image.float() / 127.5 - 1, mask], 1))
        return 100 * torch.sigmoid(self.last(x.mean((2, 3)))).flatten()


class Grader(nn.Module):
    """Both in a row: mask and grade."""

    def __init__(self) -> None:
        super().__init__()
        self.segment, self.rate = UNet(), Scorer()

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        mask = self.segment(image)
        return mask, self.rate(image, mask)


class Pixels(nn.Module):
    """A network that is given pixels, and gives one tensor even where it makes a dictionary of them."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, image: Tensor) -> Tensor:
        made = self.net(image.float() / 127.5 - 1)
        return torch.as_tensor(made["out"] if isinstance(made, dict) else made)


def layers() -> nn.Module:
    """Make a network of fully connected layers."""
    return nn.Sequential(nn.Linear(12, 16), nn.ReLU(), nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 3))


def mobile() -> nn.Module:
    """Make MobileNetV3-small as it was trained."""
    return Pixels(trained()).eval()


def pixels(name: str) -> Callable[[], nn.Module]:
    """Return what makes torchvision's network of a name, with random weights."""

    def make() -> nn.Module:
        more = {"weights_backbone": None} if name.startswith("lraspp") else {}
        return Pixels(torchvision.models.get_model(name, weights=None, **more))

    return make


_PICTURE = {"image": Input((1, 32, 32, 3))}
_PIXELS = {"image": Input((1, 64, 64, 3), "uint8")}
_DISCS = {"image": Input((1, SIDE, SIDE, 3), "uint8", draw=lambda generator: discs(1, generator)[0])}
NETWORKS: Mapping[str, Network] = {
    "mobilenet_v3_small": Network(mobile, _DISCS, samples=64),
    "hourglass": Network(Hourglass, _PICTURE),
    "shuffled": Network(Shuffled, _PICTURE),
    "segmented": Network(Segmented, _PICTURE),
    "detected": Network(Detected, _PICTURE),
    "scored": Network(Scored, _PICTURE | {"mask": Input((1, 32, 32, 1))}),
    "attended": Network(Attended, {"x": Input((1, 12, 16))}),
    "layers": Network(layers, {"x": Input((1, 12))}),
    "disordered": Network(Disordered, {"image": Input((1, 16, 16, 3), "uint8")}),
    "several": Network(
        Several,
        {
            "features": Input((1, 6)),
            "row": Input((1,), "int32", below=10),
            "grey": Input((1, 4, 6, 1), "uint8"),
        },
    ),
    "grader": Network(Grader, {"image": Input((1, 32, 32, 3), "uint8")}),
}
WHOLE: Mapping[str, Network] = {
    name: Network(pixels(name), _PIXELS)
    for name in (
        "efficientnet_b0",
        "lraspp_mobilenet_v3_large",
        "shufflenet_v2_x0_5",
    )
}


def inputs_of(network: Network, seed: int) -> list[Tensor]:
    """Draw inputs as a module takes them: pictures that are smooth but for some noise."""
    generator = torch.Generator().manual_seed(seed)
    return [_drawn(one, generator) for one in network.inputs.values()]


def _drawn(one: Input, generator: torch.Generator) -> Tensor:
    if one.draw:
        return one.draw(generator)
    if one.dtype == "int32":
        return torch.randint(one.below, one.shape, generator=generator, dtype=torch.int32)
    if one.layout != PICTURE:
        return torch.rand(one.shape, generator=generator)
    batch, height, width, channels = one.shape
    coarse = torch.rand((batch, channels, 4, 4), generator=generator)
    fine = torch.rand((batch, channels, height, width), generator=generator)
    picture = 0.6 * F.interpolate(coarse, size=(height, width), mode="bilinear") + 0.4 * fine
    return (picture * 255).round().to(torch.uint8) if one.dtype == "uint8" else picture


def component_of(name: str, networks: Mapping[str, Network] = NETWORKS) -> Component:
    """Make a network, and give it a contract."""
    network = networks[name]
    torch.manual_seed(0)
    module = network.make()
    if module.training:
        _settle(module, network)
    with torch.no_grad():
        made = _called(module.eval(), inputs_of(network, 0))
    tensors = {n: TensorSpec(n, one.shape, one.dtype, 1, "", one.layout) for n, one in network.inputs.items()}
    for number, output in enumerate(made):
        found, scale = _last(output), max(float(output.abs().max()), 1e-3)
        layout, kind = PICTURE if found.ndim == 4 else AS_IT_IS, str(found.dtype).removeprefix("torch.")
        tensors[f"out{number}"] = TensorSpec(f"out{number}", tuple(found.shape), kind, scale, "", layout)
    outputs = tuple(f"out{number}" for number in range(len(made)))
    return Component(name, module, tuple(network.inputs), outputs, quantise=True, tensors=tensors)


@torch.no_grad()
def _settle(module: nn.Module, network: Network) -> None:
    for one in module.modules():
        if isinstance(one, nn.BatchNorm2d):
            one.momentum = 0.3
    for seed in range(8):
        batches = zip(*(inputs_of(network, 100 + 4 * seed + n) for n in range(4)), strict=True)
        module(*(torch.cat(batch) for batch in batches))


@torch.inference_mode()
def samples_of(
    component: Component, count: int, seed: int, networks: Mapping[str, Network] = NETWORKS
) -> list[dict[str, NDArray[np.generic]]]:
    """Draw samples: inputs and what the float module makes of them, channels last."""
    found = []
    for number in range(count):
        given = inputs_of(networks[component.name], seed + number)
        made = _called(component.module, given)
        names = (*component.inputs, *component.outputs)
        pairs = zip(names, (*given, *made), strict=True)
        found.append({name: _last(value).contiguous().numpy() for name, value in pairs})
    return found


def _called(module: nn.Module, given: list[Tensor]) -> tuple[Tensor, ...]:
    made = module(*given)
    return made if isinstance(made, tuple) else (made,)


def _last(value: Tensor) -> Tensor:
    return value.permute(0, 2, 3, 1) if value.ndim == 4 else value
