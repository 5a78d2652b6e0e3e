"""A float graph made ready for int8 computes the same, and int8 made of it errs less."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from mien.export.component import Component
from mien.export.tflite.channels import made_ready, with_scaled_inputs
from mien.export.tflite.graph_moments import round_graph
from mien.export.tflite.interpreter import Runner
from mien.export.tflite.precision import ALL_INT8, HALF, REST
from mien.export.tflite.products import KINDS
from mien.export.tflite.quantise import left_to_the_nearest, quantise
from mien.export.tflite.ranges import histograms
from mien.mobile_reference.tflite.flatbuffer import operation_names

from .test_int8_regions import Net, drawn, of_graph, samples_of

COMPONENT = of_graph("y")


def net(reach: NDArray[np.float32]) -> bytes:
    """A layer that reads roots, which stay float, of channels of some ``reach``, and one behind it."""
    build = Net()
    x = build.given("x", (1, 6, 6, 4))
    square = build.add("MUL", [x, x], build.tensor("square", (1, 6, 6, 4)), schema.MulOptionsT())
    root = build.apply("SQRT", square, "root")
    factor = build.constant("factor", reach)
    fed = build.add("MUL", [root, factor], build.tensor("fed", (1, 6, 6, 4)), schema.MulOptionsT())
    # Every channel counts as much, however little it reaches.
    first = build.convolve(fed, "first", drawn(8, 4) / reach, drawn(8))
    return build.build(build.convolve(first, "y", drawn(3, 8, seed=1), drawn(3)))


EVEN, UNEVEN = np.float32([1, 0.9, 1.1, 0.8]), np.float32([8, 1, 0.02, 0.3])


def error(model: bytes, folder: Path) -> float:
    """Return the root mean square error of int8 on inputs that gave no ranges."""
    file = folder / "ready.tflite"
    file.write_bytes(model)
    found = histograms(COMPONENT, model, samples_of())
    made = Runner(quantise(file, ALL_INT8, found, round_graph(COMPONENT, model, samples_of())))
    exact, others = Runner(model), samples_of(12)[6:]
    return float(np.std([made.run([one["x"]])[0] - exact.run([one["x"]])[0] for one in others]))


def test_int8_of_uneven_inputs_errs_less_and_float_stays_the_same(tmp_path: Path) -> None:
    before = net(UNEVEN)
    after = with_scaled_inputs(COMPONENT, before, ALL_INT8, samples_of())
    assert list(operation_names(after)).count("MUL") == list(operation_names(before)).count("MUL") + 1
    for sample in samples_of():
        np.testing.assert_array_equal(Runner(before).run([sample["x"]]), Runner(after).run([sample["x"]]))
    assert error(after, tmp_path) < 0.3 * error(before, tmp_path)


@pytest.mark.parametrize(
    ("reach", "assignment"),
    [(EVEN, ALL_INT8), (UNEVEN, {REST: HALF}), (UNEVEN, {"first": HALF, "y": ALL_INT8[REST]})],
)
def test_even_inputs_and_those_of_float_blocks_stay(reach: NDArray[np.float32], assignment: object) -> None:
    before = net(reach)
    after = with_scaled_inputs(COMPONENT, before, assignment, samples_of())  # type: ignore[arg-type]
    assert list(operation_names(after)) == list(operation_names(before))


def test_weights_that_scaling_changed_are_rounded_anew(tmp_path: Path) -> None:
    file, before = tmp_path / "net.tflite", net(UNEVEN)
    file.write_bytes(before)
    known = round_graph(COMPONENT, before, samples_of())
    ready, rounded = made_ready(COMPONENT, file, ALL_INT8, known, samples_of())
    assert file.read_bytes() == before != ready.read_bytes()
    (warning,) = left_to_the_nearest(ready, ALL_INT8, known, KINDS)
    assert "of first are rounded to the nearest" in warning
    assert not left_to_the_nearest(ready, ALL_INT8, rounded, KINDS)
    assert all(rounded[name] is known[name] for name in known.keys() - {"first"})


def test_float16_of_what_was_not_scaled_can_be_given_the_ranges_of_what_was(tmp_path: Path) -> None:
    file = tmp_path / "net.tflite"
    file.write_bytes(net(UNEVEN))
    ready, _ = made_ready(COMPONENT, file, ALL_INT8, {}, samples_of())
    found = histograms(COMPONENT, ready.read_bytes(), samples_of())
    assert quantise(file, {}, found, {}) == quantise(
        file, {}, histograms(COMPONENT, net(UNEVEN), samples_of()), {}
    )


@pytest.mark.parametrize(
    ("model", "component"), [(net(EVEN), COMPONENT), (net(UNEVEN), replace(COMPONENT, quantise=False))]
)
def test_what_is_not_scaled_keeps_its_roundings(tmp_path: Path, model: bytes, component: Component) -> None:
    file = tmp_path / "net.tflite"
    file.write_bytes(model)
    ready, rounded = made_ready(component, file, ALL_INT8, {}, samples_of())
    assert list(operation_names(ready.read_bytes())) == list(operation_names(model))
    assert rounded == {}
