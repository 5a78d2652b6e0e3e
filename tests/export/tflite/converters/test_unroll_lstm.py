"""LSTMs are written out as onnxruntime and PyTorch compute them, or left alone and refused by name."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
import torchvision
from onnx.helper import make_graph, make_model, make_node, make_operatorsetid, make_tensor_value_info
from torch import Tensor, nn

from mien.export.errors import ConversionError
from mien.export.tflite.conversion import convert_float
from mien.export.tflite.converters import flatbuffer_direct
from mien.export.tflite.converters.onnx2tf_program import run_onnx2tf
from mien.export.tflite.onnx_to_tflite.unroll_lstm import STEPS, unroll_lstms
from tests.networks import Input, Network, component_of, samples_of

SIZE, HIDDEN, BATCH = 3, 4, 2
BIAS, LENGTHS, STATE, CELL, PEEPHOLES = range(3, 8)
"""Places of an LSTM's inputs that may be left out."""


def _lstm(
    direction: str = "forward",
    steps: int = 3,
    given: tuple[int, ...] = (),
    opset: int = 17,
    **attributes: Any,
) -> onnx.ModelProto:
    """Make a graph of one LSTM; weights, and what else is ``given`` by its place, are seeded and stored."""
    directions = 2 if direction == "bidirectional" else 1
    gates = 4 * HIDDEN
    shapes = {
        1: (directions, gates, SIZE),
        2: (directions, gates, HIDDEN),
        BIAS: (directions, 2 * gates),
        STATE: (directions, BATCH, HIDDEN),
        CELL: (directions, BATCH, HIDDEN),
        PEEPHOLES: (directions, 3 * HIDDEN),
    }
    rng = np.random.default_rng(5)
    stored: dict[int, Any] = {
        place: rng.normal(0, 0.5, shape).astype(np.float32) for place, shape in shapes.items()
    }
    stored[LENGTHS] = np.full(BATCH, steps, np.int32)
    inputs = ["x", *(str(place) if place in (1, 2, *given) else "" for place in range(1, 8))]
    node = make_node(
        "LSTM", inputs, ["y", "h", "c"], hidden_size=HIDDEN, direction=direction, name="r", **attributes
    )
    graph = make_graph(
        [node],
        "graph",
        [make_tensor_value_info("x", onnx.TensorProto.FLOAT, (steps, BATCH, SIZE))],
        [
            make_tensor_value_info(name, onnx.TensorProto.FLOAT, (*before, directions, BATCH, HIDDEN))
            for name, before in (("y", (steps,)), ("h", ()), ("c", ()))
        ],
        [onnx.numpy_helper.from_array(stored[place], str(place)) for place in (1, 2, *given)],
    )
    return make_model(graph, opset_imports=[make_operatorsetid("", opset)], ir_version=8)


def _run(model: onnx.ModelProto) -> list[Any]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    shape = session.get_inputs()[0].shape
    return list(session.run(None, {"x": np.random.default_rng(7).normal(size=shape).astype(np.float32)}))


def _kinds(model: onnx.ModelProto) -> set[str]:
    return {node.op_type for node in model.graph.node}


@pytest.mark.parametrize("given", [(), (BIAS,), (BIAS, STATE, CELL), (CELL,), (STATE,)])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("steps", [1, 3])
def test_what_is_written_out_computes_the_same(direction: str, steps: int, given: tuple[int, ...]) -> None:
    model = _lstm(direction, steps, given)
    expected = _run(model)
    unroll_lstms(model)
    onnx.checker.check_model(model, full_check=True)
    assert "LSTM" not in _kinds(model)
    for got, output in zip(_run(model), expected, strict=True):
        # Sums in another order.
        np.testing.assert_allclose(got, output, rtol=0, atol=1e-6)


def test_steps_are_counted_over_directions() -> None:
    model = _lstm("bidirectional", STEPS // 2)
    unroll_lstms(model)
    assert "LSTM" not in _kinds(model)


@pytest.mark.parametrize(
    "left",
    [
        _lstm(steps=STEPS + 1),
        _lstm("bidirectional", STEPS // 2 + 1),
        _lstm(given=(LENGTHS,)),
        _lstm(given=(PEEPHOLES,)),
        _lstm(activations=["Sigmoid", "Relu", "Tanh"]),
        _lstm(clip=1.0),
        _lstm(input_forget=1),
        _lstm(layout=1),
        _lstm(opset=12),
    ],
    ids=["long", "both ways", "lengths", "peepholes", "activations", "clip", "coupled", "layout", "old"],
)
def test_other_lstms_are_left_alone(left: onnx.ModelProto) -> None:
    before = left.SerializeToString(deterministic=True)
    unroll_lstms(left)
    assert left.SerializeToString(deterministic=True) == before


def test_an_lstm_that_stays_is_refused_by_name(tmp_path: Path) -> None:
    onnx.save(_lstm(given=(PEEPHOLES,)), str(tmp_path / "left.onnx"))
    with pytest.raises(
        ConversionError, match=r"does not convert LSTM; use torch\.nn\.LSTM of a fixed length"
    ):
        run_onnx2tf(tmp_path / "left.onnx", tmp_path / "out", tflite_backend="flatbuffer_direct")


class Recurrent(nn.Module):
    """Two layers both ways, of which the last step, the states and the cells count."""

    def __init__(self) -> None:
        super().__init__()
        self.steps = nn.LSTM(SIZE, HIDDEN, num_layers=2, bidirectional=True, batch_first=True)
        self.last = nn.Linear(2 * HIDDEN, 2)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        made, states = self.steps(x)
        return self.last(made[:, -1]), *states


def test_pytorch_s_lstm_reaches_tflite(tmp_path: Path) -> None:
    _convert(Recurrent, Input((1, 4, SIZE)), tmp_path)


class Warped(nn.Module):
    """Samples a picture by a grid that a convolution makes."""

    def __init__(self, mode: str) -> None:
        super().__init__()
        self.mode, self.grid = mode, nn.Conv2d(3, 2, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        grid = torch.tanh(self.grid(x)).permute(0, 2, 3, 1)
        return F.grid_sample(x, grid, mode=self.mode, align_corners=False)


class Deformed(nn.Module):
    """A convolution whose offsets another one makes."""

    def __init__(self) -> None:
        super().__init__()
        self.offsets = nn.Conv2d(3, 18, 3, padding=1)
        self.weight = nn.Parameter(torch.ones(4, 3, 3, 3))

    def forward(self, x: Tensor) -> Tensor:
        return torch.as_tensor(torchvision.ops.deform_conv2d(x, self.offsets(x), self.weight, padding=(1, 1)))


class Filtered(nn.Module):
    """A convolution whose weights the picture decides."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.Linear(3, 12)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weights(x.mean((0, 2, 3))).view(4, 3, 1, 1))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (partial(Warped, "bilinear"), "does not convert grid_sample, bilinear; use a resize"),
        (Deformed, "does not convert torchvision::deform_conv2d; use a convolution"),
        (Filtered, "does not convert ONNX_CONV; use a convolution whose weights are stored"),
    ],
)
def test_what_is_not_converted_is_named(tmp_path: Path, make: Callable[[], nn.Module], said: str) -> None:
    with pytest.raises(ConversionError, match=said):
        _convert(make, Input((1, 16, 16, 3)), tmp_path)


def test_a_sampling_that_does_not_interpolate_is_converted(tmp_path: Path) -> None:
    _convert(partial(Warped, "nearest"), Input((1, 16, 16, 3)), tmp_path)


def _convert(make: Callable[[], nn.Module], given: Input, folder: Path) -> None:
    networks = {"one": Network(make, {"x": given})}
    one = component_of("one", networks)
    convert_float(flatbuffer_direct.convert, one, None, samples_of(one, 2, 1000, networks), folder)
