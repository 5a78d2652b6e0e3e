"""The layout pass on small graphs that onnx2tf makes of PyTorch modules."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mien.export.flatbuffer import LAYOUT_OPERATIONS, operation_names
from mien.export.layout import channels_last_model
from mien.export.litert import Runner
from mien.export.onnx2tf_route import shield_shared


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


def _onnx(module: nn.Module, file: Path) -> Path:
    torch.manual_seed(0)
    example = torch.rand(1, 3, 12, 16)
    names = ["inside", "out"] if isinstance(module, Tapped) else ["out"]
    torch.onnx.export(
        module.eval(),
        (example,),
        str(file),
        input_names=["x"],
        output_names=names,
        opset_version=17,
        dynamo=False,
    )
    return file


def _convert(file: Path, folder: Path) -> bytes:
    import onnx2tf

    onnx2tf.convert(
        input_onnx_file_path=str(file),
        output_folder_path=str(folder),
        tflite_backend="flatbuffer_direct",
        non_verbose=True,
    )
    return (folder / f"{file.stem}_float32.tflite").read_bytes()


def _same(module: nn.Module, model: bytes) -> None:
    x = torch.rand(1, 3, 12, 16, generator=torch.Generator().manual_seed(1))
    expected = module.eval()(x)
    expected = expected if isinstance(expected, tuple) else (expected,)
    outputs = Runner(model).run([x.permute(0, 2, 3, 1).contiguous().numpy()])
    for output, reference in zip(outputs, expected, strict=True):
        np.testing.assert_allclose(output, reference.detach().permute(0, 2, 3, 1).numpy(), atol=1e-5)


def test_turns_a_gated_network_into_one_layout(tmp_path: Path, scripts_on_path: None) -> None:
    module = Gates()
    before = _convert(_onnx(module, tmp_path / "gates.onnx"), tmp_path / "out")
    after = channels_last_model(before)
    assert LAYOUT_OPERATIONS & set(operation_names(before))
    assert not LAYOUT_OPERATIONS & set(operation_names(after))
    _same(module, after)


def test_a_second_pass_changes_nothing(tmp_path: Path, scripts_on_path: None) -> None:
    once = channels_last_model(_convert(_onnx(Gates(), tmp_path / "gates.onnx"), tmp_path / "out"))
    assert list(operation_names(channels_last_model(once))) == list(operation_names(once))


def test_shielded_taps_and_outputs_survive_conversion(tmp_path: Path, scripts_on_path: None) -> None:
    module = Tapped()
    file = _onnx(module, tmp_path / "tapped.onnx")
    model = onnx.load(str(file))
    shield_shared(model)
    onnx.checker.check_model(model)
    assert [output.name for output in model.graph.output] == ["inside", "out"]
    shielded = tmp_path / "shielded.onnx"
    onnx.save(model, str(shielded))
    _same(module, channels_last_model(_convert(shielded, tmp_path / "out")))


def test_an_unknown_operation_leaves_the_model_as_it_was(tmp_path: Path, scripts_on_path: None) -> None:
    class Sorted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Conv2d(3, 4, 1)

        def forward(self, x: Tensor) -> Tensor:
            return torch.cumsum(torch.sigmoid(self.first(x)), dim=1)

    before = _convert(_onnx(Sorted(), tmp_path / "sorted.onnx"), tmp_path / "out")
    assert channels_last_model(before) == before or not LAYOUT_OPERATIONS & set(
        operation_names(channels_last_model(before))
    )


@pytest.fixture
def scripts_on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let onnx2tf find the program onnxsim, as converters' processes do."""
    import os
    import sysconfig

    monkeypatch.setenv("PATH", sysconfig.get_path("scripts") + os.pathsep + os.environ["PATH"])
