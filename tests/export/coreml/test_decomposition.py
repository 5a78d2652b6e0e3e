"""Operations that Core ML's converter does not know, and tensors that it has no form for."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mien.export.coreml.convert import to_coreml
from mien.export.errors import ConversionError
from mien.models.pipeline import CoreMLChoices
from tests.networks import Input, Network, component_of, samples_of


class Located(nn.Module):
    """The shares of a map, shaped as the map is, behind a batch normalisation."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.norm = nn.Conv2d(3, 4, 3, 2, 1, bias=False), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        heat = self.norm(self.body(x))
        shares = heat.flatten(2).softmax(-1).view_as(heat)
        return torch.as_tensor(F.interpolate(shares, scale_factor=2, mode="bicubic"))


class Moved(nn.Module):
    """Pictures in a row, normalised behind a convolution in three directions."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.norm = nn.Conv3d(2, 4, 3, padding=1), nn.BatchNorm3d(4)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.norm(self.body(x)))


class Around(nn.Module):
    """A border that goes on at the other end: of both axes, of one, and at one side."""

    def __init__(self) -> None:
        super().__init__()
        self.both = nn.Conv2d(3, 4, 3, padding=1, padding_mode="circular")
        self.one = nn.Conv2d(4, 4, (1, 5), padding=(0, 2), padding_mode="circular")
        self.side = nn.Conv2d(4, 2, (2, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.one(F.relu(self.both(x))))
        return torch.as_tensor(self.side(F.pad(x, (0, 0, 1, 0), mode="circular")))


class Scanned(nn.Module):
    """A volume, normalised in groups of channels and one by one."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.groups = nn.Conv3d(1, 4, 3, padding=1), nn.GroupNorm(2, 4)
        self.alone = nn.InstanceNorm3d(4, affine=True)

    def forward(self, x: Tensor) -> Tensor:
        return torch.as_tensor(self.alone(F.relu(self.groups(self.body(x)))))


class Widest(nn.Module):
    """Maxima of windows that overlap, and the largest of them."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.pool = nn.Conv2d(3, 4, 3), nn.AdaptiveMaxPool2d((2, 3))

    def forward(self, x: Tensor) -> Tensor:
        return torch.topk(self.pool(self.body(x)).flatten(1), 5)[0]


UNKNOWN = {
    Widest: Input((1, 15, 16, 3)),
    Scanned: Input((1, 1, 4, 6, 6)),
    Around: Input((1, 8, 12, 3)),
    Located: Input((1, 16, 16, 3)),
    Moved: Input((1, 2, 4, 6, 6)),
}


@pytest.mark.parametrize("module", UNKNOWN)
def test_operations_that_are_not_known_are_decomposed(tmp_path: Path, module: type[nn.Module]) -> None:
    networks = {"unknown": Network(module, {"x": UNKNOWN[module]})}
    one = component_of("unknown", networks)
    assert not to_coreml(one, CoreMLChoices(), {}, samples_of(one, 2, 1, networks), tmp_path)


class Best(nn.Module):
    """Which three numbers are the largest."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.topk(x, 3)[1].to(torch.int32)


def test_the_places_of_the_largest_are_converted(tmp_path: Path) -> None:
    networks = {"best": Network(Best, {"x": Input((1, 6, 8))})}
    one = component_of("best", networks)
    left_out = to_coreml(one, CoreMLChoices(), {}, samples_of(one, 4, 1, networks), tmp_path)
    # Numbers that are nearly equal change places in float16.
    assert not any("coreml-fp32" in line for line in left_out)


class Filtered(nn.Module):
    """A convolution of pixels, which is given so many times."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.body, self.times = nn.Conv2d(3, 4, 3), times

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        return (self.body(image.float() / 255),) * self.times


def test_two_pictures_are_an_array_and_not_an_image(tmp_path: Path) -> None:
    networks = {"pair": Network(lambda: Filtered(1), {"image": Input((2, 8, 8, 3), "uint8")})}
    one = component_of("pair", networks)
    assert not to_coreml(one, CoreMLChoices(), {}, samples_of(one, 2, 1, networks), tmp_path)


def test_a_tensor_under_two_names_is_refused(tmp_path: Path) -> None:
    networks = {"twice": Network(lambda: Filtered(2), {"image": Input((1, 8, 8, 3), "uint8")})}
    one = component_of("twice", networks)
    with pytest.raises(ConversionError, match="output 1 is an input or another output as it is"):
        to_coreml(one, CoreMLChoices(), {}, samples_of(one, 2, 1, networks), tmp_path)
