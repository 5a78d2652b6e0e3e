"""The last states of an RNN are taken from its steps; where those do not say them they stay."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx.helper import make_graph, make_model, make_node, make_operatorsetid, make_tensor_value_info
from torch import Tensor, nn

from mien.export.tflite.conversion import convert_float
from mien.export.tflite.converters import flatbuffer_direct
from mien.export.tflite.onnx_to_tflite.repairs import take_last_steps
from tests.networks import Input, Network, component_of, samples_of

STEPS, BATCH, SIZE, HIDDEN = 3, 2, 3, 4


def _rnn(outputs: tuple[str, ...], direction: str = "forward", *, lengths: bool = False) -> onnx.ModelProto:
    directions = 2 if direction == "bidirectional" else 1
    rng = np.random.default_rng(3)
    stored = {
        "w": rng.normal(0, 0.5, (directions, HIDDEN, SIZE)).astype(np.float32),
        "r": rng.normal(0, 0.5, (directions, HIDDEN, HIDDEN)).astype(np.float32),
        "lengths": np.array([1, 3], np.int32),
    }
    inputs = ["x", "w", "r", "", "lengths" if lengths else ""]
    node = make_node("RNN", inputs, list(outputs), hidden_size=HIDDEN, direction=direction)
    shapes = {"y": (STEPS, directions, BATCH, HIDDEN), "h": (directions, BATCH, HIDDEN)}
    graph = make_graph(
        [node],
        "graph",
        [make_tensor_value_info("x", onnx.TensorProto.FLOAT, (STEPS, BATCH, SIZE))],
        [make_tensor_value_info(name, onnx.TensorProto.FLOAT, shapes[name]) for name in outputs if name],
        [onnx.numpy_helper.from_array(values, name) for name, values in stored.items()],
    )
    return make_model(graph, opset_imports=[make_operatorsetid("", 17)], ir_version=8)


def _run(model: onnx.ModelProto) -> list[Any]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    x = np.random.default_rng(7).normal(size=(STEPS, BATCH, SIZE)).astype(np.float32)
    return list(session.run(None, {"x": x}))


@pytest.mark.parametrize("outputs", [("y", "h"), ("", "h")])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
def test_last_states_are_those_of_the_last_steps(direction: str, outputs: tuple[str, ...]) -> None:
    model = _rnn(outputs, direction)
    expected = _run(model)
    take_last_steps(model)
    onnx.checker.check_model(model, full_check=True)
    assert [len(node.output) for node in model.graph.node if node.op_type == "RNN"] == [1]
    for got, output in zip(_run(model), expected, strict=True):
        np.testing.assert_array_equal(got, output)


@pytest.mark.parametrize("left", [_rnn(("y",)), _rnn(("y", "h"), lengths=True)], ids=["no states", "lengths"])
def test_others_are_left_alone(left: onnx.ModelProto) -> None:
    before = left.SerializeToString(deterministic=True)
    take_last_steps(left)
    assert left.SerializeToString(deterministic=True) == before


class Summed(nn.Module):
    """What both ways end with."""

    def __init__(self) -> None:
        super().__init__()
        self.steps = nn.RNN(SIZE, HIDDEN, bidirectional=True, batch_first=True)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.steps(x))


def test_pytorch_s_rnn_reaches_tflite(tmp_path: Path) -> None:
    networks = {"one": Network(Summed, {"x": Input((1, 4, SIZE))})}
    one = component_of("one", networks)
    convert_float(flatbuffer_direct.convert, one, None, samples_of(one, 2, 1000, networks), tmp_path)
