"""Small modules that onnx2tf has converted into something else: each is right, or refused, and never wrong.

What was reported of it: onnx2tf's pull requests 878 and 908, and its issues 107 and 605.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mien.export.errors import ConversionError
from mien.export.tflite.conversion import convert_float, convert_proven
from mien.export.tflite.converters.flatbuffer_direct import WAYS
from mien.export.tflite.interpreter import Runner
from tests.networks import Input, Network, component_of, samples_of

LARGEST = 5e-5
"""Difference to PyTorch, of the largest value."""


class Mapped(nn.Module):
    """Computes a function of x and of what a module makes of it."""

    def __init__(self, rule: Callable[[Tensor, Tensor], Tensor], inner: nn.Module | None = None) -> None:
        super().__init__()
        self.rule, self.inner = rule, inner or nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.rule(x, self.inner(x))


class Gated(nn.Module):
    """Channels weighted by what a linear layer makes of a pooled map, whose axes are flattened."""

    def __init__(self) -> None:
        super().__init__()
        self.map, self.gate = nn.Conv2d(3, 8, 1), nn.Linear(32, 8)

    def forward(self, x: Tensor) -> Tensor:
        x = self.map(x)
        return x * self.gate(F.adaptive_avg_pool2d(x, (2, 2)).flatten(1)).sigmoid().view(-1, 8, 1, 1)


RAMP = torch.linspace(0.1, 1, 16)
WIDE, CUBE = Input((1, 12, 16, 3)), Input((1, 16, 16, 16))
TRAPS: dict[str, tuple[Callable[[], nn.Module], Input]] = {
    "clip after a scale": (lambda: Mapped(lambda _, y: F.relu6(y * 9), nn.Conv2d(3, 8, 1)), WIDE),
    "flattened map": (Gated, WIDE),
    "constant along a row": (lambda: Mapped(lambda x, _: x * RAMP), CUBE),
    "constant map": (
        lambda: Mapped(
            lambda x, y: torch.cat([y, RAMP.expand(len(x), 1, 16, 16)], 1),
            nn.Conv2d(3, 3, 1),
        ),
        Input((1, 16, 16, 3)),
    ),
}


@pytest.mark.parametrize("name", TRAPS)
def test_a_trap_is_right_or_refused(tmp_path: Path, name: str) -> None:
    make, given = TRAPS[name]
    networks = {"trap": Network(make, {"x": given})}
    samples = samples_of(one := component_of("trap", networks), 4, 1, networks)
    try:
        model = convert_float(WAYS[0], one, None, samples, tmp_path)
    except ConversionError:
        model = convert_proven(WAYS[1:], one, None, samples, tmp_path)
    runner = Runner(model.read_bytes())
    for scale in (1, 5, 500):
        x = np.random.default_rng(2).normal(0, scale, given.shape).astype(np.float32)
        with torch.inference_mode():
            wanted = one.module(torch.from_numpy(x).permute(0, 3, 1, 2)).permute(0, 2, 3, 1).numpy()
        assert np.abs(runner.run([x])[0] - wanted).max() <= LARGEST * np.abs(wanted).max()
