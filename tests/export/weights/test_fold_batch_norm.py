"""Batch normalisation is folded by what reads what, not by the order of registration."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mien.export.weights.fold_batch_norm import fold_batch_norm


def settled(module: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(0)
    for one in module.modules():
        if isinstance(one, nn.BatchNorm2d):
            for tensor, low in ((one.running_mean, -1.0), (one.running_var, 0.5), (one.weight.data, 0.5)):
                assert tensor is not None
                tensor.copy_(torch.rand(tensor.shape, generator=generator) + low)
    return module.eval()


class Two(nn.Module):
    """Two convolutions and two normalisations, registered in an order that is not that of a run."""

    def __init__(self) -> None:
        super().__init__()
        self.c1, self.c2 = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3)
        self.bn1, self.bn2 = nn.BatchNorm2d(4), nn.BatchNorm2d(4)


class Straight(Two):
    def forward(self, x: Tensor) -> Tensor:
        return torch.as_tensor(self.bn2(self.c2(F.relu(self.bn1(self.c1(x))))))


class Crossed(Two):
    def forward(self, x: Tensor) -> Tensor:
        return torch.as_tensor(self.bn1(self.c2(F.relu(self.bn2(self.c1(x))))))


class Twice(Two):
    """Both networks share a convolution and its normalisation."""

    def forward(self, x: Tensor) -> Tensor:
        y, z = self.bn1(self.c1(x)), self.bn1(self.c1(1 - x))
        return torch.as_tensor(self.bn2(self.c2(y + z)))


class Tapped(Two):
    """The first convolution's result is read beside its normalisation, the second's is given."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = self.c1(x)
        z = self.c2(F.relu(self.bn1(y)) + y)
        return z, self.bn2(z)


class Shared(Two):
    """One convolution with two normalisations."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.as_tensor(self.bn1(self.c1(x)) + self.bn2(self.c1(x)))


class Before(Two):
    """Normalisations of what an activation made, and of an input."""

    def forward(self, x: Tensor) -> Tensor:
        four = self.bn2(torch.cat([x, x[:, :1]], 1))
        return torch.as_tensor(self.bn1(F.relu(self.c1(x))) + four[..., 1:-1, 1:-1])


@pytest.mark.parametrize(
    ("kind", "left"), [(Straight, 0), (Crossed, 0), (Twice, 0), (Tapped, 2), (Shared, 2), (Before, 2)]
)
def test_a_module_computes_the_same_with_as_few_normalisations_as_can_be(kind: type[Two], left: int) -> None:
    torch.manual_seed(0)
    module = settled(kind())
    x = torch.rand(1, 3, 12, 12, generator=torch.Generator().manual_seed(1))
    folded = fold_batch_norm(module, [x])
    with torch.no_grad():
        before, after = (one(x + 0.1) for one in (module, folded))
    torch.testing.assert_close(after, before, atol=1e-5, rtol=1e-4)
    assert sum(isinstance(one, nn.BatchNorm2d) for one in folded.modules()) == left
    assert not any(one._forward_hooks or one._forward_pre_hooks for one in folded.modules())


def test_a_module_keeps_its_own() -> None:
    module = settled(Straight())
    fold_batch_norm(module, [torch.rand(1, 3, 12, 12)])
    assert isinstance(module.bn1, nn.BatchNorm2d)
