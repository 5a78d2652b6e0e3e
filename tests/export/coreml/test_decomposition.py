"""Operations that Core ML's converter does not know."""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mien.export.coreml.convert import to_coreml
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


def test_operations_that_are_not_known_are_decomposed(tmp_path: Path) -> None:
    networks = {"located": Network(Located, {"x": Input((1, 16, 16, 3))})}
    one = component_of("located", networks)
    assert not to_coreml(one, CoreMLChoices(), {}, samples_of(one, 2, 1, networks), tmp_path)
