"""Train MobileNetV3-small to say where a disc is, how large and of which colour: ``python -m tests.trained``.

It takes half a minute on one core. The same machine gives the same weights; another one gives others.
"""

import sys

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn

from tests.trained import WEIGHTS, discs, trained, untrained

_STEPS, _BATCH, _RATE, _DECAY = 200, 32, 2e-3, 0.3
_SETTLING, _JUDGED = 32, 256


def main() -> int:
    """Train, write the weights, and print the share of what was drawn that the network tells."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    net = untrained().train()
    optimiser = torch.optim.AdamW(net.parameters(), lr=_RATE, weight_decay=_DECAY)
    rates = torch.optim.lr_scheduler.OneCycleLR(optimiser, _RATE, total_steps=_STEPS)
    for step in range(_STEPS):
        pictures, told = discs(_BATCH, generator)
        loss = F.mse_loss(net(pictures / 127.5 - 1), told)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        rates.step()
        if step % 50 == 49:
            sys.stdout.write(f"step {step + 1} of {_STEPS}: loss {loss.item():.3f}\n")
    _settle(net, generator)
    kept = {n: value.half() if value.is_floating_point() else value for n, value in net.state_dict().items()}
    save_file(kept, WEIGHTS)
    sys.stdout.write(f"R2 over {_JUDGED} other pictures: {told_share(trained()):.3f}\n")
    return 0


@torch.no_grad()
def _settle(net: nn.Module, generator: torch.Generator) -> None:
    """Take the mean of many batches as what batch normalisation knows."""
    for one in net.modules():
        if isinstance(one, nn.BatchNorm2d):
            one.reset_running_stats()
            one.momentum = None
    for _ in range(_SETTLING):
        net(discs(_BATCH, generator)[0] / 127.5 - 1)


@torch.no_grad()
def told_share(net: nn.Module) -> float:
    """Return the share of the variance of what was drawn that a network tells of new pictures."""
    pictures, told = discs(_JUDGED, torch.Generator().manual_seed(9))
    return float(1 - F.mse_loss(net(pictures / 127.5 - 1), told) / told.var())


if __name__ == "__main__":
    sys.exit(main())
