"""A network that was trained, and the pictures that it was trained on.

How well eight bits follow a network shows where its outputs depend on what it is given. Random weights of
a deep network do not give that: with batch statistics that keep some of what a module begins with the outputs
hardly move, and with exact ones each layer enlarges what the one before was off by, so that eight bits lose
it whatever rounds them.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision.models import mobilenet_v3_small

SIDE = 64
ASKED = ("column", "row", "radius", "red", "green", "blue")
WEIGHTS = Path(__file__).with_name("mobilenet_v3_small.safetensors")
"""Written by ``python -m tests.trained``, in float16; the network is the one with these values."""


def discs(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw pictures [count, 3, 64, 64] of 0..255 of a disc before a smooth ground, and tell what was drawn.

    The second tensor [count, 6] has the disc's column, row, radius and colour, each from -1 to 1.
    """
    ends = torch.linspace(-1, 1, SIDE)
    rows, columns = torch.meshgrid(ends, ends, indexing="ij")
    told = 2 * torch.rand((count, len(ASKED)), generator=generator) - 1
    column, row, radius = (told[:, place, None, None] for place in range(3))
    distance = ((columns - 0.6 * column) ** 2 + (rows - 0.6 * row) ** 2).sqrt()
    inside = (distance < 0.4 + 0.2 * radius)[:, None].float()
    ground = F.interpolate(
        0.5 * torch.rand((count, 3, 4, 4), generator=generator), size=(SIDE, SIDE), mode="bilinear"
    )
    colour = 0.75 + 0.25 * told[:, 3:, None, None]
    noise = 0.1 * torch.rand((count, 3, SIDE, SIDE), generator=generator)
    picture = ground * (1 - inside) + colour * inside + noise
    return (picture.clamp(0, 1) * 255).round().to(torch.uint8), told


def untrained() -> nn.Module:
    """Make MobileNetV3-small that gives what is asked for, with random weights."""
    net: nn.Module = mobilenet_v3_small(weights=None, num_classes=len(ASKED))
    return net


def trained() -> nn.Module:
    """Make MobileNetV3-small with the weights that it was trained to, in evaluation mode."""
    net = untrained()
    net.load_state_dict(load_file(WEIGHTS))
    return net.eval()
