"""One small network in every form in which it can be compared."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture(scope="session", autouse=True)
def converter_leaves_nothing_behind(tmp_path_factory):
    """The converter writes its own temporary packages; they belong below pytest's folder."""
    usual = tempfile.tempdir
    tempfile.tempdir = str(tmp_path_factory.mktemp("converter"))
    yield
    tempfile.tempdir = usual


@dataclass(frozen=True)
class Small:
    """Files of one network, its input and PyTorch's output."""

    single: Path
    half: Path
    onnx: Path
    exported: Path
    x: np.ndarray
    expected: np.ndarray


@pytest.fixture(scope="session")
def small(tmp_path_factory):
    torch = pytest.importorskip("torch")  # before coremltools: the other order can crash
    ct = pytest.importorskip("coremltools")
    folder = tmp_path_factory.mktemp("small")
    torch.manual_seed(3)
    nn = torch.nn

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Conv2d(3, 8, 3, stride=2, padding=1)
            self.deep = nn.Conv2d(8, 8, 3, padding=2, dilation=2, groups=8)
            self.up = nn.ConvTranspose2d(16, 4, 4, stride=2, padding=1)
            self.norm = nn.LayerNorm(12)
            self.head = nn.Linear(12, 5)

        def forward(self, x):
            a = self.first(x)
            b = nn.functional.gelu(self.deep(a)) + nn.functional.leaky_relu(a, 0.2)
            c = nn.functional.avg_pool2d(torch.cat([a, b], 1), 3, 2, 1)
            d = nn.functional.interpolate(c, scale_factor=2, mode="bilinear")
            e = nn.functional.avg_pool2d(self.up(d), 2)
            f = torch.cat([e, nn.functional.pad(b[:, :, 1:, :-1], (1, 0, 0, 1))], 1)
            tokens = self.norm(nn.functional.silu(f).flatten(2).transpose(1, 2))
            return torch.softmax(self.head(tokens), dim=-1)

    net = Net().eval()
    x = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        expected = net(x).numpy()
    traced = torch.jit.trace(net, x)
    for precision in ("FLOAT32", "FLOAT16"):
        model = ct.convert(
            traced,
            inputs=[ct.TensorType(name="x", shape=x.shape)],
            outputs=[ct.TensorType(name="y")],
            convert_to="mlprogram",
            compute_precision=getattr(ct.precision, precision),
            minimum_deployment_target=ct.target.iOS16,
            skip_model_load=True,
        )
        model.save(str(folder / f"{precision}.mlpackage"))
    names = {"input_names": ["x"], "output_names": ["y"]}
    torch.onnx.export(net, (x,), str(folder / "net.onnx"), dynamo=False, **names)
    torch.export.save(torch.export.export(net, (x,)), folder / "net.pt2")
    return Small(
        single=folder / "FLOAT32.mlpackage",
        half=folder / "FLOAT16.mlpackage",
        onnx=folder / "net.onnx",
        exported=folder / "net.pt2",
        x=x.numpy(),
        expected=expected,
    )
