"""What the quantiser is asked for and what is refused before and after, on graphs of a few operations."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from torch import nn

from mien.export.component import Component
from mien.export.errors import ConversionError
from mien.export.tflite.blocks import find_blocks
from mien.export.tflite.precision import ALL_DYNAMIC, ALL_INT8, HALF, REST, WHOLE
from mien.export.tflite.quantise import (
    FLOAT_TOLERANCE,
    check_contract,
    check_float,
    quantise,
    quantised,
    rounding_lost,
)
from mien.export.tflite.ranges import Histogram, histograms
from mien.export.weights.gptq import Rounded
from mien.mobile_reference.contract import TensorSpec
from mien.mobile_reference.tflite.litert import LiteRTModel
from mien.mobile_reference.tflite.model_file import read_tflite

from .graphs import GraphBuilder

WEIGHT = np.array([[1.0, -2.0, 0.51], [0.25, 4.0, 1.0]], np.float32)
FULL_SCALE = 10.0


def component(*inputs: str) -> Component:
    """The contract of ``product``, or of one that takes more than it uses."""
    tensors: dict[str, TensorSpec] = {name: TensorSpec(name, (1, 3), "float32", 1.0, "") for name in inputs}
    tensors["y"] = TensorSpec("y", (1, 2), "float32", FULL_SCALE, "")
    return Component("one", nn.Identity(), inputs, ("y",), quantise=True, tensors=tensors)


ONE = component("x")


def product(folder: Path, weight: Any = WEIGHT) -> Path:
    """A fully connected layer of 3 inputs and 2 outputs, as a file."""
    build = GraphBuilder()
    x = build.given("x", (1, 3))
    constants = build.constant("w", weight), build.constant("b", np.zeros(2, np.float32))
    y = build.tensor("y", (1, 2))
    made = build.build(build.add("FULLY_CONNECTED", [x, *constants], y, schema.FullyConnectedOptionsT()))
    (file := folder / "one.tflite").write_bytes(made)
    return file


def sample(off: float = 0.0) -> dict[str, Any]:
    x = np.array([[1.0, 0.5, -1.0]], np.float32)
    return {"x": x, "y": x @ WEIGHT.T + np.array([[0.0, off]], np.float32)}


def test_a_model_with_the_tensors_of_its_contract_is_taken(tmp_path: Path) -> None:
    check_contract(ONE, product(tmp_path))


def test_a_model_that_dropped_an_input_names_all_of_them(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match=r"one: 1 of the 2 inputs x, z are left in the converted model"):
        check_contract(component("x", "z"), product(tmp_path))


def test_a_model_of_other_shapes_is_refused(tmp_path: Path) -> None:
    wider = replace(ONE, tensors=ONE.tensors | {"y": TensorSpec("y", (1, 4), "float32", 1.0, "")})
    with pytest.raises(ConversionError, match=r"the converter made tensors .*, expected .*\(1, 4\)"):
        check_contract(wider, product(tmp_path))


@pytest.mark.parametrize("share", [0.0, 0.9, -0.9])
def test_what_rounding_explains_is_taken(tmp_path: Path, share: float) -> None:
    check_float(ONE, product(tmp_path), [sample(), sample(share * FLOAT_TOLERANCE * FULL_SCALE)])


@pytest.mark.parametrize("share", [1.2, -1.2, 1000])
def test_what_rounding_cannot_explain_is_refused(tmp_path: Path, share: float) -> None:
    with pytest.raises(ConversionError, match=r"output y of the converted model is off by .* changed it"):
        check_float(ONE, product(tmp_path), [sample(), sample(share * FLOAT_TOLERANCE * FULL_SCALE)])


def test_a_quantiser_gives_bytes_and_says_nothing() -> None:
    asked: dict[str, Any] = {}

    def quantize(statistics: Any, **words: Any) -> SimpleNamespace:
        asked.update(words, statistics=statistics)
        return SimpleNamespace(quantized_model=bytearray(b"model"))

    assert quantised(SimpleNamespace(quantize=quantize), {"x": 1}) == b"model"
    assert asked == {"statistics": {"x": 1}, "enable_progress_bar": False, "enable_progress_report": False}


@pytest.mark.parametrize(
    ("assignment", "stored", "step"),
    [
        ({REST: WHOLE}, {"FLOAT32"}, 0.0),
        ({REST: HALF}, {"FLOAT16", "FLOAT32"}, 2.0**-11),
        (ALL_DYNAMIC, {"INT8", "FLOAT32"}, 1 / 127),
        (ALL_INT8, {"INT8", "INT32", "FLOAT32"}, 2 / 127),
    ],
)
def test_every_precision_is_stored_by_its_name(
    tmp_path: Path, assignment: Any, stored: set[str], step: float
) -> None:
    file, given = product(tmp_path), sample()
    found = histograms(ONE, file.read_bytes(), [given])
    made = tmp_path / "made.tflite"
    made.write_bytes(quantise(file, assignment, found, {}))
    operators = read_tflite(made).operators
    assert {tensor.dtype for one in operators for tensor in (*one.inputs, *one.outputs)} == stored
    (output,) = LiteRTModel(made).run([given["x"]])
    np.testing.assert_allclose(output, given["y"], rtol=0, atol=step * 4)


def test_tensors_are_watched_by_name_over_all_samples(tmp_path: Path) -> None:
    given = [sample(), {"x": np.array([[2.0, 0.0, 0.0]], np.float32)}]
    found = histograms(ONE, product(tmp_path).read_bytes(), given)
    assert set(found) == {"x", "y"}
    assert (found["x"].low, found["x"].high) == (-1.0, 2.0)
    assert set(histograms(ONE, product(tmp_path).read_bytes(), given, {"y"})) == {"y"}


def test_a_histogram_reaches_further_and_counts_nothing_there() -> None:
    seen = Histogram(0.0, 4.0, np.array([1.0, 0.0, 0.0, 3.0])).reaching(-4.0, 2.0)
    assert (seen.low, seen.high) == (-4.0, 4.0)
    # Bins of its own width: the mean is that of the centres, 0.5 once and 3.5 thrice.
    assert np.average(seen.centres, weights=seen.counts) == pytest.approx(2.75, abs=8 / len(seen.counts))
    assert seen.counts[seen.centres < 0].sum() == 0


@pytest.mark.parametrize(
    ("ends", "cut"), [((-1.0, 1.0), (-1.0, 1.0)), ((-9.0, 9.0), (-2.0, 2.0)), ((1.0, 9.0), (1.0, 2.0))]
)
def test_a_histogram_is_cut_at_both_ends(ends: tuple[float, float], cut: tuple[float, float]) -> None:
    seen = Histogram(-2.0, 2.0, np.array([1.0, 1.0, 1.0, 1.0])).within(*ends)
    assert (seen.low, seen.high) == cut


def test_a_rounding_is_lost_where_weights_changed(tmp_path: Path) -> None:
    bias = np.zeros(2, np.float32)
    known = {"any": Rounded(WEIGHT, bias, WEIGHT, bias)}
    before, after = (product(tmp_path, weight).read_bytes() for weight in (WEIGHT, WEIGHT + 1))
    assert rounding_lost(before, after, ALL_INT8, known) == {"y"}
    assert rounding_lost(after, before, ALL_INT8, known) == set()
    assert rounding_lost(before, before, ALL_INT8, known) == set()


def blocks_of(*kinds: str) -> list[str]:
    """Name the blocks of two modules' products, which operations of ``kinds`` join, each with the second."""
    build = GraphBuilder()
    x = build.given("x", (1, 3))
    made = []
    for module in ("first", "second"):
        weight = build.constant(f"/{module}/Conv_conv_filter", np.ones((3, 3), np.float32))
        bias = build.constant(f"{module} bias", np.zeros(3, np.float32))
        y = build.tensor(f"{module} made", (1, 3))
        made.append(build.add("FULLY_CONNECTED", [x, weight, bias], y, schema.FullyConnectedOptionsT()))
    last = made[0]
    for number, kind in enumerate(kinds):
        options = {"ADD": schema.AddOptionsT, "MUL": schema.MulOptionsT}[kind]()
        last = build.add(kind, [last, made[1]], build.tensor(f"joined {number}", (1, 3)), options)
    return [block.name for block in find_blocks(build.build(last))]


def test_what_adds_modules_is_a_block_of_its_own_and_what_multiplies_them_is_not() -> None:
    assert blocks_of("MUL") == ["first", "second"]
    assert blocks_of("ADD") == ["first", "second", "second/sum"]
    assert blocks_of("ADD", "ADD") == ["first", "second", "second/sum"]
