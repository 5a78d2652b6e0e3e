"""int8 regions of any graph: what belongs to them, what stays at their borders, and what they store."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from mien.export.component import Component
from mien.export.errors import ConversionError
from mien.export.tflite.blocks import find_blocks
from mien.export.tflite.check_parameters import check_parameters
from mien.export.tflite.graph_moments import round_graph
from mien.export.tflite.holding import holding_assignment
from mien.export.tflite.interpreter import Runner
from mien.export.tflite.precision import HALF, REST, WHOLE, Choice, Precision, choices
from mien.export.tflite.quantise import quantise
from mien.export.tflite.ranges import histograms
from mien.mobile_reference.tflite.flatbuffer import operation_names, parse, serialise
from mien.mobile_reference.tflite.model_file import read_tflite

from .graphs import GraphBuilder

EIGHT = {REST: Choice(Precision.INT8)}


def drawn(*shape: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def convolution_options() -> Any:
    options = schema.Conv2DOptionsT()
    options.padding, options.strideH, options.strideW = schema.Padding.VALID, 1, 1
    options.dilationHFactor = options.dilationWFactor = 1
    return options


class Net(GraphBuilder):
    """A graph whose layers have names."""

    def convolve(self, source: int, name: str, weight: NDArray[np.float32], bias: NDArray[np.float32]) -> int:
        """Add a convolution of 1x1."""
        size = self.graph.tensors[source].shape[1:3]
        kernel = self.constant(f"{name}_conv_filter", weight[:, None, None, :])
        inputs = [source, kernel, self.constant(f"{name}_conv_bias", bias)]
        made = self.tensor(name, (1, *size, len(weight)))
        return self.add("CONV_2D", inputs, made, convolution_options())

    def apply(self, kind: str, source: int, name: str, options: Any = None) -> int:
        """Add an operation that keeps the shape."""
        return self.add(kind, [source], self.tensor(name, tuple(self.graph.tensors[source].shape)), options)


def gated(*, weight: float = 1.0, last: str = "") -> bytes:
    """A gate of RELU_0_TO_1, HARD_SWISH and a product, between two convolutions."""
    net = Net()
    x = net.given("x", (1, 6, 6, 4))
    first = drawn(8, 4)
    first[0] *= weight
    y = net.convolve(x, "first", first, np.linspace(-1, 1, 8, dtype=np.float32))
    gate = net.apply("RELU_0_TO_1", y, "gate")
    swish = net.apply("HARD_SWISH", y, "swish")
    z = net.add("MUL", [gate, swish], net.tensor("product", (1, 6, 6, 8)), schema.MulOptionsT())
    end = net.convolve(z, "last", drawn(3, 8, seed=1), drawn(3))
    return net.build(net.apply(last, end, "y") if last else end)


def samples_of(count: int = 6) -> list[dict[str, NDArray[np.float32]]]:
    return [{"x": drawn(1, 6, 6, 4, seed=10 + n)} for n in range(count)]


def of_graph(*outputs: str) -> Component:
    return Component("tested", torch.nn.Identity(), ("x",), outputs, quantise=True, tensors={})


def quantised(model: bytes, folder: Path, assignment: Any = None) -> tuple[Path, bytes]:
    """Write a float model and what it is in int8."""
    file, made = folder / "float.tflite", folder / "int8.tflite"
    file.write_bytes(model)
    one, samples = of_graph("y"), samples_of()
    found = histograms(one, model, samples)
    made.write_bytes(quantise(file, assignment or EIGHT, found, round_graph(one, model, samples)))
    return made, model


def largest_difference(made: Path, model: bytes) -> float:
    pairs = [[Runner(one).run([s["x"]])[0] for one in (made, model)] for s in samples_of()]
    span = np.ptp(np.concatenate([exact.ravel() for _, exact in pairs]))
    return float(max(np.abs(other - exact).max() for other, exact in pairs) / span)


def test_an_int8_net_is_int8_from_border_to_border(tmp_path: Path) -> None:
    made, model = quantised(gated(), tmp_path)
    names = list(operation_names(made.read_bytes()))
    assert [names[0], names[-1]] == ["QUANTIZE", "DEQUANTIZE"]
    assert names.count("QUANTIZE") == names.count("DEQUANTIZE") == 1
    read = read_tflite(made)
    assert read.integer_macs == read.macs.total() > 0
    assert largest_difference(made, model) < 0.05


@pytest.mark.parametrize("last", ["", "LOGISTIC", "HARD_SWISH"])
def test_a_file_keeps_the_types_of_its_contract_whatever_makes_its_outputs(tmp_path: Path, last: str) -> None:
    made, _ = quantised(gated(last=last), tmp_path)
    assert Runner(made).signature()[1] == [((1, 6, 6, 3), "float32")]


def test_what_has_no_name_of_a_module_has_a_precision(tmp_path: Path) -> None:
    file = tmp_path / "float.tflite"
    file.write_bytes(gated())
    half = quantise(file, {}, {}, {})
    kinds = {tensor.name: tensor.type for tensor in parse(half).subgraphs[0].tensors}
    assert kinds[b"first_conv_filter"] == kinds[b"last_conv_filter"] == schema.TensorType.FLOAT16
    assert {block.name for block in find_blocks(gated()) if block.weights} == {"first", "last"}


def test_operations_without_weights_follow_what_they_read() -> None:
    blocks = find_blocks(gated())
    found = choices(blocks, EIGHT)
    assert all(one.ranged for one in found.values())
    assert found.keys() == {"first", "gate", "swish", "product", "last"}
    found = choices(blocks, {**EIGHT, "first": HALF})
    assert [found[name] for name in ("gate", "swish", "product")] == [WHOLE] * 3
    # An assignment says that what it does not name is float.
    found = choices(blocks, {"first": EIGHT[REST], REST: HALF})
    assert {name for name, one in found.items() if one.ranged} == {"first"}


def test_a_division_and_a_square_are_in_no_int8_region() -> None:
    net = Net()
    x = net.given("x", (1, 6, 6, 4))
    y = net.convolve(x, "first", drawn(8, 4), drawn(8))
    shape = (1, 6, 6, 8)
    square = net.add("MUL", [y, y], net.tensor("square", shape), schema.MulOptionsT())
    share = net.add("DIV", [y, y], net.tensor("share", shape), schema.DivOptionsT())
    model = net.build(net.add("ADD", [square, share], net.tensor("y", shape), schema.AddOptionsT()))
    assert [block.name for block in find_blocks(model)] == ["first"]


@pytest.mark.parametrize("scale", [1.0, 1e-6, 1e-7, 1e-9, 0.0])
def test_a_bias_is_stored_as_it_is_however_small_its_weights_are(tmp_path: Path, scale: float) -> None:
    made, model = quantised(gated(weight=scale), tmp_path)
    (graph,) = (parsed := parse(made.read_bytes())).subgraphs
    (bias,) = (tensor for tensor in graph.tensors if tensor.name == b"first_conv_bias")
    steps = np.frombuffer(bytes(parsed.buffers[bias.buffer].data), np.int32)
    stored = steps * np.asarray(bias.quantization.scale, np.float64)
    rounded = round_graph(of_graph("y"), model, samples_of())["first"].bias
    np.testing.assert_allclose(stored, rounded, atol=2e-3)
    assert largest_difference(made, model) < 0.05


def damaged(made: bytes, name: bytes, change: Any) -> bytes:
    parsed = parse(made)
    (tensor,) = (one for one in parsed.subgraphs[0].tensors if one.name == name)
    tensor.quantization = copy.copy(tensor.quantization)
    change(parsed, tensor)
    return serialise(parsed)


def another_scale(parsed: Any, tensor: Any) -> None:
    tensor.quantization.scale = np.asarray(tensor.quantization.scale) * 1.5


def another_zero(parsed: Any, tensor: Any) -> None:
    tensor.quantization.zeroPoint = np.asarray(tensor.quantization.zeroPoint) + 300


def greatest_integer(parsed: Any, tensor: Any) -> None:
    buffer = parsed.buffers[tensor.buffer]
    values = np.frombuffer(bytes(buffer.data), np.int32).copy()
    values[0] = -(2**31)
    buffer.data = np.frombuffer(values.tobytes(), np.uint8)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        (b"first_conv_bias", another_scale, "scale of its input times that of its weights"),
        (b"first_conv_filter", another_scale, "scale of its input times that of its weights"),
        (b"first_conv_bias", greatest_integer, "bias 0 of first is"),
        (b"swish", another_zero, "zero point"),
    ],
)
def test_parameters_that_are_not_what_they_must_be_are_refused(
    tmp_path: Path, name: bytes, change: Any, message: str
) -> None:
    model = gated()
    file = tmp_path / "float.tflite"
    file.write_bytes(model)
    made = quantise(file, EIGHT, histograms(of_graph("y"), model, samples_of()), {})
    check_parameters(made, model)
    with pytest.raises(ConversionError, match=message):
        check_parameters(damaged(made, name, change), model)


def test_a_nearly_constant_tensor_has_a_histogram() -> None:
    net = Net()
    x = net.given("x", (1, 6, 6, 4))
    still = np.zeros((8, 4), np.float32)
    still[0, 0] = 1e-7
    model = net.build(net.convolve(x, "y", still, np.full(8, 0.7, np.float32)))
    found = histograms(of_graph("y"), model, samples_of())["y"]
    assert 0 < found.high - found.low < 1e-5
    assert found.counts.sum() == pytest.approx(1)


def test_what_does_not_hold_in_int8_stays_float_and_is_named(tmp_path: Path) -> None:
    net = Net()
    x = net.given("x", (1, 6, 6, 4))
    y = net.convolve(x, "first", drawn(8, 4), drawn(8))
    # All that it gives lies within a five-hundredth of its offset: fewer than one step of eight bits.
    model = net.build(net.convolve(y, "last", drawn(3, 8, seed=1) * 1e-4, np.full(3, 5, np.float32)))
    file = tmp_path / "float.tflite"
    file.write_bytes(model)
    one, samples = of_graph("last"), samples_of()
    for sample in samples:
        (sample["last"],) = Runner(model).run([sample["x"]])
    rounded = round_graph(one, model, samples)
    assignment, notes = holding_assignment(one, file, rounded, samples, samples)
    found = choices(find_blocks(model), assignment)
    assert found["first"].ranged
    assert found["last"] == HALF
    assert notes == ["last stays float: in int8 it costs the outputs too much"]


def test_inputs_that_reach_beyond_the_ranges_of_others_are_not_judged_by_their_own(tmp_path: Path) -> None:
    net = Net()
    x = net.given("x", (1, 6, 6, 4))
    model = net.build(
        net.convolve(net.convolve(x, "first", drawn(8, 4), drawn(8)), "y", drawn(3, 8), drawn(3))
    )
    file = tmp_path / "float.tflite"
    file.write_bytes(model)
    one, alike = of_graph("y"), samples_of(8)
    # Rounding costs as little with ranges four times as wide; being cut off at those of the others does not.
    uneven = [*alike[:-1], {"x": 4 * alike[-1]["x"]}]
    for samples, expected in ((alike, True), (uneven, False)):
        for sample in samples:
            (sample["y"],) = Runner(model).run([sample["x"]])
        assignment, notes = holding_assignment(one, file, round_graph(one, model, samples), samples, samples)
        assert all(one.ranged for one in choices(find_blocks(model), assignment).values()) is expected
        assert bool(notes) is not expected
        assert all(note.endswith("so more calibration inputs may help") for note in notes)


def residual() -> bytes:
    """Two modules of one convolution each, the second of which is added to what it reads."""
    net = Net()
    x = net.given("x", (1, 6, 6, 4))
    first = net.convolve(x, "/net/part/a/Conv", drawn(8, 4), drawn(8))
    second = net.convolve(first, "/net/part/b/Conv", drawn(8, 8, seed=1), drawn(8))
    total = net.add("ADD", [first, second], net.tensor("total", (1, 6, 6, 8)), schema.AddOptionsT())
    return net.build(net.convolve(total, "/net/part/c/Conv", drawn(3, 8, seed=2), drawn(3)))


def test_a_sum_that_a_module_goes_into_is_a_block_of_its_own(tmp_path: Path) -> None:
    blocks = {block.name: block for block in find_blocks(residual())}
    assert list(blocks) == ["part/a", "part/b", "part/b/sum", "part/c"]
    assert (blocks["part/b/sum"].outputs, blocks["part/b/sum"].weights) == (("total",), 0)
    whole, _ = quantised(residual(), tmp_path)
    assert list(operation_names(whole.read_bytes())).count("DEQUANTIZE") == 1
    apart, _ = quantised(residual(), tmp_path, {**EIGHT, "part/b/sum": WHOLE})
    (graph,) = parse(apart.read_bytes()).subgraphs
    kinds = {tensor.name: tensor.type for tensor in graph.tensors}
    assert kinds[b"total"] == schema.TensorType.FLOAT32
    read = read_tflite(apart)
    assert read.integer_macs == read.macs.total()
