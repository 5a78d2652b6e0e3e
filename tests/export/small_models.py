"""Small PyTorch modules that show what converters do to a graph, and the way to a TFLite file."""

import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from mien.export.compare.yardstick import ALONE
from mien.export.environments import TFLITE
from mien.mobile_reference.files import default_cache


class Gates(nn.Module):
    """Convolutions joined by element-wise operations, sums over channels, padding and concatenation."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.gate = nn.Conv2d(8, 6, 1)
        self.feature = nn.Conv2d(8, 6, 1)
        self.scale = nn.Parameter(torch.rand(1, 6, 1, 1))
        self.last = nn.Conv2d(7, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.first(x))
        y = F.relu(self.feature(x)) * torch.sigmoid(self.gate(x)) * self.scale
        energy = (y * y).sum(dim=1, keepdim=True)
        return self.last(torch.cat([y, energy], dim=1))


class Tapped(nn.Module):
    """A feature that a convolution reads and something else too, beside an output read inside."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.second = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        tap = x.repeat(1, 2, 1, 1)[:, :4] + self.first(x)
        inside = self.second(tap)
        return inside, tap * 0.5 + F.relu(inside)


class Twice(nn.Module):
    """One encoder that sees the picture and its negative."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 8, 3, padding=1)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.encoder(x) - self.encoder(1 - x)


def onnx_file(module: nn.Module, file: Path, outputs: tuple[str, ...] = ("out",)) -> Path:
    """Write a module as ONNX, its weights drawn from a seed; its input ``x`` is [1, 3, 12, 16]."""
    torch.manual_seed(0)
    torch.onnx.export(
        module.eval(),
        (torch.rand(1, 3, 12, 16),),
        str(file),
        input_names=["x"],
        output_names=list(outputs),
        opset_version=17,
        dynamo=False,
    )
    return file


def convert(file: Path, folder: Path) -> bytes:
    """Convert an ONNX file by onnx2tf alone, which may rewrite it."""
    python = TFLITE.checked(default_cache())
    # It finds the program onnxsim there.
    path = os.pathsep.join([str(python.parent), os.environ["PATH"]])
    command = [str(python), "-I", "-c", ALONE, str(file), str(folder)]
    subprocess.run(command, env=os.environ | {"PATH": path}, check=True)
    return (folder / f"{file.stem}_float32.tflite").read_bytes()


def converted(module: nn.Module, folder: Path) -> bytes:
    """Convert a module of one output."""
    return convert(onnx_file(module, folder / "module.onnx"), folder / "out")


def nhwc_input() -> NDArray[Any]:
    """Draw an input from a seed, channels last."""
    x = torch.rand(1, 3, 12, 16, generator=torch.Generator().manual_seed(1))
    return np.ascontiguousarray(x.permute(0, 2, 3, 1).numpy())
