"""Convolutions of volumes become ones of maps that compute the same, and have every precision."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mien.export.tflite.conversion import convert_float
from mien.export.tflite.converters.flatbuffer_direct import WAYS
from mien.export.tflite.onnx_to_tflite.volumes import flatten_volumes
from mien.export.tflite.precision import ALL_INT8
from mien.export.tflite.products import products
from mien.export.tflite.quantise import quantise, seen_by_converted
from mien.mobile_reference.tflite.flatbuffer import parse
from mien.mobile_reference.tflite.model_file import read_tflite
from tests.networks import Input, Network, component_of, samples_of


def exported(module: nn.Module, given: Tensor, file: Path) -> onnx.ModelProto:
    torch.onnx.export(module.eval(), (given,), str(file), input_names=["x"], dynamo=False)
    return onnx.load(str(file))


def ran(model: onnx.ModelProto, given: Tensor) -> Any:
    return onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": given.numpy()})[0]


@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": 3, "padding": 1},
        {"kernel_size": (3, 1, 2), "stride": (2, 1, 2), "padding": (2, 0, 1), "dilation": (2, 1, 1)},
        {"kernel_size": (1, 3, 3), "stride": (1, 2, 2), "bias": False},
        {"kernel_size": 3, "groups": 2},
        {"kernel_size": 3, "groups": 4, "padding": (0, 1, 1)},
    ],
)
def test_a_volume_is_convolved_as_maps(tmp_path: Path, options: dict[str, Any]) -> None:
    given, module = torch.rand(1, 4, 7, 6, 8), nn.Conv3d(4, 8, **options)
    model = exported(nn.Sequential(module), given, tmp_path / "net.onnx")
    before = ran(model, given)
    flatten_volumes(model)
    np.testing.assert_allclose(ran(model, given), before, atol=1e-5)
    # The weights lie as they did, by which Core ML's are found.
    stored = {one.name: onnx.numpy_helper.to_array(one) for one in model.graph.initializer}
    (flat,) = (stored[node.input[1]] for node in model.graph.node if node.op_type == "Conv")
    assert flat.ndim == 4
    np.testing.assert_array_equal(flat.ravel(), module.weight.detach().numpy().ravel())
    # Borders are not stored: their zeros could be more than all weights.
    read = {name for node in model.graph.node for name in node.input}
    sizes = [one.size for name, one in stored.items() if name in read and one.dtype == np.float32]
    assert sum(sizes) == sum(one.numel() for one in module.parameters())


def test_maps_and_several_volumes_are_left_alone(tmp_path: Path) -> None:
    for module, shape in ((nn.Conv2d(2, 2, 3), (1, 2, 6, 6)), (nn.Conv3d(2, 2, 3), (2, 2, 6, 6, 6))):
        model = exported(nn.Sequential(module), torch.rand(*shape), tmp_path / "net.onnx")
        before = model.SerializeToString(deterministic=True)
        flatten_volumes(model)
        assert model.SerializeToString(deterministic=True) == before


class Scan(nn.Module):
    """A volume at two scales, normalised in groups."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv3d(1, 8, 3, padding=1), nn.Conv3d(8, 8, 3, 2, 1, groups=2)
        self.norm = nn.GroupNorm(2, 8)
        self.up, self.last = nn.ConvTranspose3d(8, 8, 2, 2), nn.Conv3d(16, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(self.first(x)))
        return torch.as_tensor(self.last(torch.cat([x, self.up(F.relu(self.second(x)))], 1)))


def test_a_network_of_volumes_has_int8(tmp_path: Path) -> None:
    networks = {"scan": Network(Scan, {"x": Input((1, 1, 4, 6, 8))})}
    one = component_of("scan", networks)
    samples = samples_of(one, 4, 1, networks)
    model = convert_float(WAYS[0], one, None, samples, tmp_path)
    assert len(list(products(parse(model.read_bytes())))) == 3
    # What stays a transposed convolution of a volume counts, and is float.
    convolved = 192 * 8 * 27 + 24 * 8 * 4 * 27 + 192 * 2 * 16
    assert read_tflite(model).macs.total() == convolved + 24 * 8 * 8 * 8
    found = seen_by_converted(one, model, ALL_INT8, {}, samples, samples)
    assert not list(products(parse(quantise(model, ALL_INT8, found, {}))))
