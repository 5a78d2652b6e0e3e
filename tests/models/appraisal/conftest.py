"""What several tests of the networks and their training share."""

import pytest
import torch
from torch import Tensor


@pytest.fixture(scope="module")
def small(face: Tensor) -> Tensor:
    """The face at 64x64, in 0..1."""
    return torch.nn.functional.avg_pool2d(face[None].float() / 255, 4)[0]
