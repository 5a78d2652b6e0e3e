"""Operations that onnx2tf has no form for become others that compute the same."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mien.export.tflite.conversion import convert_float
from mien.export.tflite.converters.flatbuffer_direct import WAYS
from mien.export.tflite.onnx_to_tflite.forms import join_borders, lift_groups
from tests.networks import Input, Network, component_of, samples_of


def ran(model: onnx.ModelProto, given: np.ndarray) -> np.ndarray:
    (made,) = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": given})
    return np.asarray(made)


@pytest.mark.parametrize("constants", [False, True])
def test_a_border_that_goes_on_at_the_other_end_is_joined(constants: bool) -> None:  # noqa: FBT001
    given = torch.rand(1, 2, 4, 6)
    widths = onnx.numpy_helper.from_array(np.int64([0, 0, 1, 2, 0, 0, 3, 0]), "widths")
    ends = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
        for name, shape in (("x", [1, 2, 4, 6]), ("y", [1, 2, 8, 8]))
    ]
    nodes = [onnx.helper.make_node("Pad", ["x", "widths"], ["y"], mode="wrap")]
    if constants:
        nodes.insert(0, onnx.helper.make_node("Constant", [], ["widths"], value=widths))
    graph = onnx.helper.make_graph(nodes, "around", ends[:1], ends[1:], [] if constants else [widths])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 19)], ir_version=9)
    expected = F.pad(given, (2, 0, 1, 3), mode="circular").numpy()
    np.testing.assert_array_equal(ran(model, given.numpy()), expected)
    join_borders(model)
    assert "Pad" not in {node.op_type for node in model.graph.node}
    np.testing.assert_array_equal(ran(model, given.numpy()), expected)


def test_a_convolution_in_groups_along_one_axis_is_that_of_a_row(tmp_path: Path) -> None:
    given = torch.rand(1, 8, 20)
    kept = nn.Sequential(nn.Conv1d(8, 8, 3, groups=8), nn.Conv1d(8, 4, 1))
    grouped = nn.Conv1d(4, 6, 3, stride=2, padding=2, dilation=2, groups=2)
    module, file = nn.Sequential(kept, grouped).eval(), str(tmp_path / "net.onnx")
    torch.onnx.export(module, (given,), file, input_names=["x"], dynamo=False)
    model = onnx.load(file)
    before = ran(model, given.numpy())
    lift_groups(model)
    shapes = [list(w.dims) for w in model.graph.initializer if "weight" in w.name]
    assert [6, 2, 1, 3] in shapes
    assert [node.op_type for node in model.graph.node] == ["Conv", "Conv", "Reshape", "Conv", "Reshape"]
    np.testing.assert_allclose(ran(model, given.numpy()), before, atol=1e-6)


class Causal(nn.Module):
    """Convolutions along one axis that reach back: dilated, in groups."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv1d(6, 16, 3), nn.Conv1d(16, 16, 3, dilation=4, groups=4)

    def forward(self, x: Tensor) -> Tensor:
        x = F.elu(self.first(F.pad(x, (2, 0))))
        return x + self.second(F.pad(x, (8, 0)))


def test_a_network_of_them_is_converted(tmp_path: Path) -> None:
    networks = {"causal": Network(Causal, {"x": Input((1, 6, 24))})}
    one = component_of("causal", networks)
    convert_float(WAYS[0], one, None, samples_of(one, 4, 1, networks), tmp_path)
