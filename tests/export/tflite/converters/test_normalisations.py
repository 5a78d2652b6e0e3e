"""A normalisation that no convolution takes in is done by channels, also where a map has as many columns."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mien.export.tflite.conversion import convert_float
from mien.export.tflite.converters import flatbuffer_direct
from mien.export.tflite.onnx_to_tflite.repairs import normalise_by_channels
from tests.networks import Input, Network, component_of, samples_of


class Grown(nn.Module):
    """Layers of a DenseNet: in the end as many channels as the map has columns, normalised once joined."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(12, 4, 1)
        self.norms = nn.ModuleList(nn.BatchNorm2d(size) for size in (4, 8, 12))
        self.layers = nn.ModuleList(nn.Conv2d(size, 4, 3, padding=1) for size in (4, 8))

    def forward(self, image: Tensor) -> Tensor:
        found = [self.first(image)]
        for norm, layer in zip(self.norms, self.layers, strict=False):
            found.append(layer(F.relu(norm(torch.cat(found, 1)))))
        return torch.as_tensor(self.last(F.relu(self.norms[2](torch.cat(found, 1)))))


def _exported(size: int, file: Path) -> onnx.ModelProto:
    torch.manual_seed(0)
    module = Grown().train()
    module(torch.rand(4, 3, size, size))
    torch.onnx.export(module.eval(), (torch.rand(1, 3, size, size),), str(file), dynamo=False)
    return onnx.load(str(file))


def _run(model: onnx.ModelProto, size: int) -> list[Any]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    given = np.random.default_rng(0).random((1, 3, size, size), np.float32)
    return list(session.run(None, {session.get_inputs()[0].name: given}))


def test_as_many_columns_as_channels_are_normalised_by_a_convolution(tmp_path: Path) -> None:
    model = _exported(24, tmp_path / "grown.onnx")
    (before,) = _run(model, 24)
    normalise_by_channels(model)
    kinds = [node.op_type for node in model.graph.node]
    assert (kinds.count("BatchNormalization"), kinds.count("Conv")) == (2, 5)
    np.testing.assert_allclose(_run(model, 24)[0], before, atol=1e-5)


def test_other_maps_are_left_alone(tmp_path: Path) -> None:
    model = _exported(32, tmp_path / "grown.onnx")
    before = model.SerializeToString(deterministic=True)
    normalise_by_channels(model)
    assert model.SerializeToString(deterministic=True) == before


def test_a_map_of_as_many_columns_as_channels_is_converted_as_it_is(tmp_path: Path) -> None:
    networks = {"grown": Network(Grown, {"image": Input((1, 24, 24, 3))})}
    one = component_of("grown", networks)
    samples = samples_of(one, 2, 0, networks)
    convert_float(flatbuffer_direct.convert, one, None, samples, tmp_path)
