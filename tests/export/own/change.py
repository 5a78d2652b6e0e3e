"""A pipeline of tensors alone: how two signals differ, from two inputs of one shape."""

import torch
from torch import Tensor, nn

from mien import Pipeline, Stage, relative


class Change(nn.Module):
    """Two layers that see both signals, each with weights of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.before, self.after, self.last = nn.Linear(8, 16), nn.Linear(8, 16), nn.Linear(16, 3)

    def forward(self, before: Tensor, after: Tensor) -> Tensor:
        """Return three numbers for two signals of eight."""
        changed: Tensor = self.last(torch.relu(self.before(before) - 2 * self.after(after)))
        return changed


torch.manual_seed(0)
pipeline = Pipeline(
    name="change",
    stages=[Stage("change", Change(), inputs=["before", "after"], outputs=["changes"])],
    gates=[relative("changes", fp32=1e-4, fp16=1e-2, int8=5e-2)],
)
