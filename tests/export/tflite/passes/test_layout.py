"""The layout pass on small graphs that onnx2tf makes of PyTorch modules."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from mien.export.tflite.interpreter import Runner
from mien.export.tflite.onnx_to_tflite.repairs import shield_shared
from mien.export.tflite.passes.layout import channels_last_model
from mien.mobile_reference.tflite.flatbuffer import LAYOUT_OPERATIONS, operation_names, parse
from mien.models.appraisal.networks.layers import mirror
from tests.export.small_models import Gates, Tapped, convert, converted, nhwc_input, onnx_file


def _same(module: nn.Module, model: bytes) -> None:
    expected = module.eval()(torch.from_numpy(nhwc_input()).permute(0, 3, 1, 2))
    expected = expected if isinstance(expected, tuple) else (expected,)
    outputs = Runner(model).run([nhwc_input()])
    for output, reference in zip(outputs, expected, strict=True):
        np.testing.assert_allclose(output, reference.detach().permute(0, 2, 3, 1).numpy(), atol=1e-5)


@pytest.fixture(scope="module")
def gates(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, bytes]:
    """A gated network, and the model that its converter makes."""
    module = Gates()
    return module, converted(module, tmp_path_factory.mktemp("gates"))


def test_turns_a_gated_network_into_one_layout(gates: tuple[nn.Module, bytes]) -> None:
    module, before = gates
    after = channels_last_model(before)
    assert LAYOUT_OPERATIONS & set(operation_names(before))
    assert not LAYOUT_OPERATIONS & set(operation_names(after))
    _same(module, after)


def test_a_constant_that_two_operations_read_has_one_name(tmp_path: Path) -> None:
    class Above(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Conv2d(3, 4, 1)
            self.register_buffer("level", torch.linspace(-1, 1, 4 * 12 * 16).reshape(1, 4, 12, 16))

        def forward(self, x: Tensor) -> Tensor:
            y = self.first(x)
            return torch.relu(y - self.level) + torch.minimum(y, self.level)

    module = Above()
    after = channels_last_model(converted(module, tmp_path))
    names = [tensor.name for tensor in parse(after).subgraphs[0].tensors]
    assert len(set(names)) == len(names)
    _same(module, after)


def test_a_mirrored_part_of_the_channels_keeps_its_place(tmp_path: Path) -> None:
    class Halves(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Conv2d(3, 4, 1)
            self.last = nn.Conv2d(6, 4, 1)

        def forward(self, x: Tensor) -> Tensor:
            y = torch.sigmoid(self.first(x))
            return torch.relu(self.last(torch.cat([y, mirror(y)[:, 1:3]], dim=1)))

    module = Halves()
    before = converted(module, tmp_path)
    after = channels_last_model(before)
    assert {"GATHER", "SLICE"} <= set(operation_names(before))
    assert not LAYOUT_OPERATIONS & set(operation_names(after))
    _same(module, after)


def test_a_second_pass_changes_nothing(gates: tuple[nn.Module, bytes]) -> None:
    once = channels_last_model(gates[1])
    assert list(operation_names(channels_last_model(once))) == list(operation_names(once))


def test_shielded_taps_and_outputs_survive_conversion(tmp_path: Path) -> None:
    module = Tapped()
    file = onnx_file(module, tmp_path / "tapped.onnx", ("inside", "out"))
    model = onnx.load(str(file))
    shield_shared(model)
    onnx.checker.check_model(model)
    assert [output.name for output in model.graph.output] == ["inside", "out"]
    shielded = tmp_path / "shielded.onnx"
    onnx.save(model, str(shielded))
    _same(module, channels_last_model(convert(shielded, tmp_path / "out")))


def test_an_unknown_operation_keeps_its_layout(tmp_path: Path) -> None:
    class Summed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Conv2d(3, 4, 1)
            self.last = nn.Conv2d(4, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            return torch.as_tensor(self.last(torch.cumsum(torch.sigmoid(self.first(x)), dim=1)))

    module = Summed()
    _same(module, channels_last_model(converted(module, tmp_path)))
