"""Ranges are cut where what reads a tensor gives the same beyond, and nowhere else."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from mien.export.tflite.blocks import find_blocks
from mien.export.tflite.graph_moments import round_graph
from mien.export.tflite.interpreter import Runner
from mien.export.tflite.needed import needed_ranges, within_needed
from mien.export.tflite.quantise import quantise
from mien.export.tflite.ranges import Histogram, histograms
from mien.mobile_reference.tflite import flatbuffer

from .test_int8_regions import EIGHT, Net, drawn, largest_difference, of_graph, samples_of


def gated(kind: str, *, beside: str = "", last: bool = False) -> bytes:
    """A convolution of which one channel is wide, what ``kind`` makes of it, and a convolution behind it.

    Something ``beside`` may read the values too; the gate may be the ``last`` operation.
    """
    net = Net()
    x = net.given("x", (1, 6, 6, 4))
    weight = drawn(8, 4)
    weight[0] *= 20
    values = net.convolve(x, "values", weight, drawn(8))
    gate = net.apply(kind, values, "gate")
    if last:
        return net.build(gate)
    if beside:
        other = net.apply(beside, values, "other")
        gate = net.add("MUL", [gate, other], net.tensor("product", (1, 6, 6, 8)), schema.MulOptionsT())
    return net.build(net.convolve(gate, "y", drawn(3, 8, seed=1), drawn(3)))


def levels(values: NDArray[np.float64], scale: float, zero: int) -> NDArray[np.float64]:
    return np.rint(values / scale + zero).clip(-128, 127)


@pytest.mark.parametrize(
    ("kind", "function", "scale", "zero"),
    [("LOGISTIC", lambda x: 1 / (1 + np.exp(-x)), 1 / 256, -128), ("TANH", np.tanh, 1 / 128, 0)],
)
def test_no_level_of_a_saturating_operation_is_lost(kind, function, scale, zero) -> None:
    low, high = needed_ranges(gated(kind))["values"]
    x = np.linspace(-50, 50, 100_001)
    exact = levels(function(x), scale, zero)
    np.testing.assert_array_equal(levels(function(x.clip(low, high)), scale, zero), exact)
    # And not much more than is needed: a twentieth less would lose one.
    assert (levels(function(x.clip(low * 0.95, high * 0.95)), scale, zero) != exact).any()


@pytest.mark.parametrize("kind", ["RELU6", "RELU_0_TO_1", "RELU_N1_TO_1"])
def test_what_a_clamp_cuts_is_not_needed(kind: str) -> None:
    low, high = needed_ranges(gated(kind))["values"]
    model = gated(kind, last=True)
    found = Runner(model).run([100 * samples_of(1)[0]["x"]])[0]
    assert (low, high) == (found.min(), found.max())


@pytest.mark.parametrize(
    "model", [gated("LOGISTIC", beside="HARD_SWISH"), gated("LOGISTIC", last=True), gated("HARD_SWISH")]
)
def test_what_something_else_reads_or_a_file_gives_is_needed_whole(model: bytes) -> None:
    assert needed_ranges(model) == {}
    found = {"values": Histogram(-40.0, 40.0, np.ones(4))}
    assert within_needed(found, model) == found


def test_two_that_saturate_need_what_either_does() -> None:
    low, high = needed_ranges(gated("LOGISTIC", beside="TANH"))["values"]
    assert needed_ranges(gated("LOGISTIC"))["values"] == (low, high)
    assert needed_ranges(gated("RELU6", beside="TANH"))["values"] == pytest.approx((-3.18, 6.0), abs=0.01)


def test_a_histogram_is_cut_with_its_values_at_the_ends() -> None:
    cut = Histogram(-1.0, 3.0, np.full(4, 0.25)).within(0.0, 2.0)
    assert (cut.low, cut.high, cut.counts.sum()) == (0.0, 2.0, 1.0)
    assert cut.counts[0] == cut.counts[-1] == 0.25
    beyond = Histogram(7.0, 9.0, np.full(4, 0.25)).within(0.0, 6.0)
    assert (beyond.low, beyond.high, beyond.counts.sum()) == (6.0, 6.0, 1.0)


@pytest.mark.parametrize("kind", ["LOGISTIC", "TANH"])
def test_a_wide_gate_errs_less_in_int8(kind: str, tmp_path: Path) -> None:
    model, one, samples = gated(kind), of_graph("y"), samples_of()
    file = tmp_path / "float.tflite"
    file.write_bytes(model)
    found, rounded = histograms(one, model, samples), round_graph(one, model, samples)
    errors = []
    for chosen in (found, within_needed(found, model)):
        made = tmp_path / "int8.tflite"
        made.write_bytes(quantise(file, EIGHT, chosen, rounded))
        errors.append(largest_difference(made, model))
    assert errors[1] < errors[0] / 2


def test_a_graph_is_parsed_once_for_all_who_look_into_it(monkeypatch: pytest.MonkeyPatch) -> None:
    model, parse, parsed = gated("LOGISTIC"), flatbuffer.parse, list[bytes]()

    def counted(one: bytes) -> Any:
        parsed.append(one)
        return parse(one)

    monkeypatch.setattr(flatbuffer, "parse", counted)
    flatbuffer.looked_into.cache_clear()
    find_blocks.cache_clear()
    assert find_blocks(model)
    assert flatbuffer.activation_ranks(model).keys() == flatbuffer.activation_sizes(model).keys()
    assert needed_ranges(model)
    assert parsed == [model]
