"""A float RELU_0_TO_1 becomes RELU and MINIMUM with the same bits; anything else stays."""

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from mien.export.tflite.interpreter import Runner
from mien.export.tflite.passes.split_clamps import split_clamps
from mien.mobile_reference.tflite.flatbuffer import operation_names, parse, serialise
from tests.export.tflite.graphs import GraphBuilder


def activated(*kinds: str) -> bytes:
    """Return a graph of activations, one behind the other."""
    build = GraphBuilder()
    last = build.given("x", (1, 2, 3, 4))
    for place, kind in enumerate(kinds):
        last = build.add(kind, [last], build.tensor(f"y{place}", (1, 2, 3, 4)))
    return build.build(last)


def in_int8(model: bytes) -> bytes:
    """Return a float graph with all of its tensors in int8."""
    parsed = parse(model)
    for tensor in parsed.subgraphs[0].tensors:
        tensor.type = schema.TensorType.INT8
        tensor.quantization = schema.QuantizationParametersT()
        tensor.quantization.scale, tensor.quantization.zeroPoint = [1 / 128], [0]
    return serialise(parsed)


@pytest.mark.parametrize(
    "kinds", [("RELU_0_TO_1",), ("RELU_0_TO_1", "TANH", "RELU_0_TO_1"), ("RELU_0_TO_1", "RELU")]
)
def test_a_clamp_is_split_and_gives_the_same_bits(kinds: tuple[str, ...]) -> None:
    before = activated(*kinds)
    after = split_clamps(before)
    expected = [
        name for kind in kinds for name in (("RELU", "MINIMUM") if kind == "RELU_0_TO_1" else (kind,))
    ]
    assert list(operation_names(after)) == expected
    edges = [
        -np.inf,
        -1,
        -0.0,
        0.0,
        1e-37,
        0.5,
        np.nextafter(np.float32(1), 0),
        1,
        1 + 1e-6,
        2,
        np.inf,
    ]
    x = np.resize(np.array(edges, np.float32), (1, 2, 3, 4))
    for one, other in zip(Runner(before).run([x]), Runner(after).run([x]), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    "model", [activated("RELU", "RELU6", "RELU_N1_TO_1", "TANH"), in_int8(activated("RELU_0_TO_1"))]
)
def test_what_is_no_float_clamp_stays(model: bytes) -> None:
    assert list(operation_names(split_clamps(model))) == list(operation_names(model))


def test_a_second_pass_changes_nothing() -> None:
    once = split_clamps(activated("RELU_0_TO_1"))
    assert split_clamps(once) == once
