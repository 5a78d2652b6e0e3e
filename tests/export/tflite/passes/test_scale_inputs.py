"""Channels are brought to one reach where int8 gains by it and float stays the same; anything else stays."""

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from mien.export.tflite.interpreter import Runner
from mien.export.tflite.passes.scale_inputs import dense_inputs, scale_inputs
from mien.mobile_reference.tflite.flatbuffer import operation_names
from tests.export.tflite.graphs import GraphBuilder


def drawn(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(len(shape) + sum(shape)).normal(size=shape).astype(np.float32)


def convolved(build: GraphBuilder, source: int, name: str, weight: int, made: int) -> int:
    options = schema.Conv2DOptionsT()
    options.strideH = options.strideW = options.dilationHFactor = options.dilationWFactor = 1
    channels = build.graph.tensors[weight].shape[0]
    bias = build.constant(f"{name}_bias", drawn(channels) / 10)
    return build.add("CONV_2D", [source, weight, bias], made, options)


def two_runs(reader: str = "") -> bytes:
    """A layer of 4 inputs that runs twice, and a ``reader`` of its input beside it, if any."""
    build = GraphBuilder()
    weight = build.constant("w", drawn(3, 1, 1, 4))
    made = []
    for run in range(2):
        x = build.given(f"x{run}", (1, 5, 5, 4))
        made.append(convolved(build, x, "c", weight, build.tensor(f"y{run}", (1, 5, 5, 3))))
    if reader:
        made.append(build.add(reader, [build.graph.inputs[0]], build.tensor("z", (1, 5, 5, 4))))
    return build.build(*made)


def outputs(model: bytes, *inputs: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    return Runner(model).run(list(inputs))


@pytest.mark.parametrize("reader", ["", "TANH"])
def test_uneven_inputs_of_a_dense_layer_are_scaled_to_the_last_bit(reader: str) -> None:
    before = two_runs(reader)
    assert dense_inputs(before, {"x0", "x1", "y0"}) == {"x0", "x1"}
    reaches = {"x0": np.array([4.0, 0.5, 0.01, 0.0]), "x1": np.array([1.0, 0.7, 0.02, 0.0])}
    after = scale_inputs(before, reaches)
    assert list(operation_names(after)).count("MUL") == 2
    x = [drawn(1, 5, 5, 4) * reaches["x0"].astype(np.float32), drawn(1, 5, 5, 4)]
    for one, other in zip(outputs(before, *x), outputs(after, *x), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("reach", [[1.0, 0.5, 0.3, 0.9], [0.0, 0.0, 0.0, 0.0], [1.0, 1.0, 1.0, 0.0]])
def test_inputs_that_are_even_stay(reach: list[float]) -> None:
    before = two_runs()
    after = scale_inputs(before, {"x0": np.array(reach), "x1": np.array(reach)})
    assert list(operation_names(after)) == list(operation_names(before))
    x = [drawn(1, 5, 5, 4)] * 2
    for one, other in zip(outputs(before, *x), outputs(after, *x), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_layer_of_which_one_run_is_not_to_be_scaled_stays() -> None:
    after = scale_inputs(two_runs(), {"x0": np.array([4.0, 0.5, 0.01, 1.0])})
    assert "MUL" not in operation_names(after)
