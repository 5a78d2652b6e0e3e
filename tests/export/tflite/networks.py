"""Small networks of an engineer's own, seeded, with settled batch statistics, and what they are given."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from mien.export.component import Component
from mien.export.tflite.ranges import Arrays
from mien.mobile_reference.contract import AS_IT_IS, PICTURE, TensorSpec


@dataclass(frozen=True)
class Network:
    """How a network is made, and the shape of every input: pictures [1, H, W, C], others as they are."""

    make: Callable[[], nn.Module]
    inputs: Mapping[str, tuple[int, ...]]


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


class Shuffled(nn.Module):
    """ShuffleNetV2's blocks, a grouped convolution, and a mean."""

    def __init__(self) -> None:
        super().__init__()
        block = torchvision.models.shufflenetv2.InvertedResidual
        self.first, self.blocks = nn.Conv2d(3, 16, 3, 2, 1), nn.Sequential(block(16, 16, 1), block(16, 32, 2))
        self.grouped, self.last = nn.Conv2d(32, 16, 3, padding=1, groups=4), nn.Linear(16, 5)

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
            head(x).permute(0, 2, 3, 1).reshape(1, -1, count)
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


def layers() -> nn.Module:
    """Make a network of fully connected layers."""
    return nn.Sequential(nn.Linear(12, 16), nn.ReLU(), nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 3))


def mobile() -> nn.Module:
    """Make MobileNetV3-small with random weights."""
    net: nn.Module = torchvision.models.mobilenet_v3_small(weights=None)
    return net


_PICTURE = {"image": (1, 32, 32, 3)}
NETWORKS: Mapping[str, Network] = {
    "mobilenet_v3_small": Network(mobile, {"image": (1, 64, 64, 3)}),
    "hourglass": Network(Hourglass, _PICTURE),
    "shuffled": Network(Shuffled, _PICTURE),
    "segmented": Network(Segmented, _PICTURE),
    "detected": Network(Detected, _PICTURE),
    "scored": Network(Scored, _PICTURE | {"mask": (1, 32, 32, 1)}),
    "attended": Network(Attended, {"x": (1, 12, 16)}),
    "layers": Network(layers, {"x": (1, 12)}),
}


def inputs_of(network: Network, seed: int) -> list[Tensor]:
    """Draw inputs as a module takes them: pictures that are smooth but for some noise."""
    generator = torch.Generator().manual_seed(seed)
    made = []
    for shape in network.inputs.values():
        if len(shape) == 4:
            batch, height, width, channels = shape
            coarse = torch.rand((batch, channels, 4, 4), generator=generator)
            fine = torch.rand((batch, channels, height, width), generator=generator)
            made.append(0.6 * F.interpolate(coarse, size=(height, width), mode="bilinear") + 0.4 * fine)
        else:
            made.append(torch.rand(shape, generator=generator))
    return made


def component_of(name: str) -> Component:
    """Make a network, and give it a contract."""
    network = NETWORKS[name]
    torch.manual_seed(0)
    module = network.make().train()
    for one in module.modules():
        if isinstance(one, nn.BatchNorm2d):
            one.momentum = 0.3
    with torch.no_grad():
        for seed in range(8):
            batches = zip(*(inputs_of(network, 100 + 4 * seed + n) for n in range(4)), strict=True)
            module(
                *(torch.cat(batch) for batch in batches) if name != "detected" else inputs_of(network, seed)
            )
        made = _called(module.eval(), inputs_of(network, 0))
    tensors = {n: _spec(n, shape, 1.0) for n, shape in network.inputs.items()}
    for number, output in enumerate(made):
        shape = tuple(_last(output).shape)
        tensors[f"out{number}"] = _spec(f"out{number}", shape, max(float(output.abs().max()), 1e-3))
    outputs = tuple(f"out{number}" for number in range(len(made)))
    return Component(name, module, tuple(network.inputs), outputs, quantise=True, tensors=tensors)


@torch.inference_mode()
def samples_of(component: Component, count: int, seed: int) -> list[Arrays]:
    """Draw samples: inputs and what the float module makes of them, channels last."""
    found: list[Arrays] = []
    for number in range(count):
        given = inputs_of(NETWORKS[component.name], seed + number)
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


def _spec(name: str, shape: tuple[int, ...], scale: float) -> TensorSpec:
    return TensorSpec(name, shape, "float32", scale, "", PICTURE if len(shape) == 4 else AS_IT_IS)
