"""Runs in litert-torch's environment: ``litert_torch_worker.py MODEL TARGET [CHECKPOINT]``.

It sees mien's rooms by PYTHONPATH, and nothing else of the environment that calls it.
"""

import sys
from pathlib import Path

import litert_torch
import torch
from torch import Tensor, nn

from mien.export.component import component
from mien.models.sources import open_pipeline


class ChannelsLast(nn.Module):
    """A module whose 4-D inputs and outputs have their channels last; the converter drops what that costs."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Run the module."""
        outputs = self.module(*(x.permute(0, 3, 1, 2) if x.ndim == 4 else x for x in inputs))
        return tuple(y.permute(0, 2, 3, 1) if y.ndim == 4 else y for y in outputs)


def main(name: str, target: Path, source: Path | None = None) -> None:
    """Convert a model of a pipeline, and write it to ``target``."""
    torch.set_num_threads(1)
    found = component(open_pipeline(source), name)
    examples = tuple(
        torch.zeros(spec.shape, dtype=getattr(torch, spec.dtype)) for spec in found.specs(found.inputs)
    )
    module = ChannelsLast(found.module).eval()
    litert_torch.convert(module, examples).export(str(target))


if __name__ == "__main__":
    main(sys.argv[1], *map(Path, sys.argv[2:]))
