"""The stored network was trained: it tells what was drawn of pictures that it has never seen."""

import pytest
import torch
from torch import nn

from tests.trained import __main__ as training
from tests.trained import trained, untrained


def test_it_tells_what_was_drawn() -> None:
    assert training.told_share(trained()) > 0.9


@pytest.mark.parametrize("seed", [0, 1])
def test_random_weights_do_not(seed: int) -> None:
    torch.manual_seed(seed)
    net: nn.Module = untrained().eval()
    assert training.told_share(net) < 0.1
