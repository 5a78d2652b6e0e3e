"""Runs in litert-torch's environment: ``litert_torch_worker.py GRAPH CHECKPOINT TARGET``.

It sees mien's rooms by PYTHONPATH, and nothing else of the environment that calls it.
"""

import sys
from pathlib import Path

import litert_torch
import torch
from torch import Tensor, nn

from mien.export.graphs import graph_named
from mien.models.appraisal.checkpoint import load_checkpoint


class ChannelsLast(nn.Module):
    """A module whose 4-D inputs and outputs have their channels last; the converter drops what that costs."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Run the module."""
        outputs = self.module(*(x.permute(0, 3, 1, 2) if x.ndim == 4 else x for x in inputs))
        return tuple(y.permute(0, 2, 3, 1) if y.ndim == 4 else y for y in outputs)


def main(name: str, checkpoint: Path, target: Path) -> None:
    """Convert a graph of a checkpoint, and write it to ``target``."""
    torch.set_num_threads(1)
    graph = graph_named(name)
    examples = tuple(
        torch.zeros(spec.channels_last, dtype=getattr(torch, spec.dtype))
        for spec in graph.specs(graph.inputs)
    )
    module = ChannelsLast(graph.build(load_checkpoint(checkpoint))).eval()
    litert_torch.convert(module, examples).export(str(target))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
