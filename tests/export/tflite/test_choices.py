"""What is chosen for the blocks of a graph before any quantiser runs: precisions, ranges, warnings, files."""

from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from mien.export.errors import ExportError
from mien.export.tflite.blocks import Block, find_blocks
from mien.export.tflite.precision import (
    ALL_INT8,
    HALF,
    REST,
    WHOLE,
    Choice,
    Precision,
    choices,
    read_choice,
    stored_assignment,
    tensor_ranges,
    unmatched_blocks,
    write_assignments,
)
from mien.export.tflite.quantise import (
    as_statistics,
    chosen_ranges,
    int8_range_warnings,
    left_to_the_nearest,
    read_by_products,
)
from mien.export.tflite.ranges import (
    Histogram,
    Method,
    joined_ranges,
    read_histograms,
    read_ranges,
    widened,
    write_histograms,
    write_ranges,
)

from .graphs import GraphBuilder

EIGHT, SIXTEEN = Choice(Precision.INT8), Choice(Precision.INT16, Method.MSE)


def block(name: str, inputs: str, outputs: str, weights: int = 5) -> Block:
    return Block(name, frozenset(inputs), tuple(outputs), weights, macs=0, dense=0)


def product() -> bytes:
    """A fully connected layer of 3 inputs and 2 outputs."""
    build = GraphBuilder()
    x = build.given("x", (1, 3))
    weight = build.constant("w", np.arange(6, dtype=np.float32).reshape(2, 3))
    bias = build.constant("b", np.zeros(2, np.float32))
    y = build.tensor("y", (1, 2))
    return build.build(build.add("FULLY_CONNECTED", [x, weight, bias], y, schema.FullyConnectedOptionsT()))


def two_products() -> bytes:
    """Two fully connected layers of 3 by 3 in a row."""
    build = GraphBuilder()
    read = build.given("x", (1, 3))
    for name in ("first", "second"):
        weight = build.constant(name, np.ones((3, 3), np.float32))
        bias = build.constant(f"{name} bias", np.zeros(3, np.float32))
        made = build.tensor(f"{name} made", (1, 3))
        read = build.add("FULLY_CONNECTED", [read, weight, bias], made, schema.FullyConnectedOptionsT())
    return build.build(read)


def histogram(low: float, high: float, *counts: float) -> Histogram:
    return Histogram(low, high, np.array(counts or (1.0,)))


@pytest.mark.parametrize("precision", list(Precision))
@pytest.mark.parametrize("method", list(Method))
def test_a_choice_is_read_as_it_is_written(precision: Precision, method: Method) -> None:
    choice = Choice(precision, method)
    ranged = precision in (Precision.INT8, Precision.INT16)
    assert choice.ranged is ranged
    assert str(choice) == (f"{precision} {method}" if ranged else str(precision))
    assert read_choice(str(choice)) == (choice if ranged else Choice(precision))


@pytest.mark.parametrize("text", ["", "int7", "int8 most", "int8  mse"])
def test_other_texts_name_no_choice(text: str) -> None:
    with pytest.raises(ValueError, match="not a valid"):
        read_choice(text)


def test_blocks_are_named_by_their_weights_in_the_order_in_which_they_run() -> None:
    assert find_blocks(two_products()) == (
        Block("first", frozenset({"x"}), ("first made",), weights=9, macs=9, dense=9),
        Block("second", frozenset({"first made"}), ("second made",), weights=9, macs=9, dense=9),
    )


def test_blocks_with_weights_are_named_or_the_rest_or_half() -> None:
    blocks = [block("a", "x", "p"), block("b", "p", "q")]
    assert choices(blocks, {}) == {"a": HALF, "b": HALF}
    assert choices(blocks, {"a": EIGHT}) == {"a": EIGHT, "b": HALF}
    assert choices(blocks, {"a": WHOLE, REST: SIXTEEN}) == {"a": WHOLE, "b": SIXTEEN}


def test_a_block_without_weights_follows_what_it_reads() -> None:
    blocks = [block("a", "x", "p"), block("b", "x", "q"), block("c", "pq", "r", weights=0)]
    assert choices(blocks, {"a": EIGHT, "b": EIGHT})["c"] == EIGHT
    assert choices(blocks, {"a": EIGHT, "b": HALF})["c"] == WHOLE
    assert choices(blocks, {"a": SIXTEEN, "b": SIXTEEN})["c"] == WHOLE
    assert choices(blocks, {"a": EIGHT, "b": EIGHT, "c": SIXTEEN})["c"] == SIXTEEN
    assert choices(blocks, {"a": EIGHT, "b": EIGHT, REST: HALF})["c"] == WHOLE
    assert choices(blocks, ALL_INT8)["c"] == EIGHT
    # What the graph is given is float.
    assert choices([block("c", "x", "r", weights=0)], ALL_INT8)["c"] == WHOLE
    assert choices([block("c", "", "r", weights=0)], ALL_INT8)["c"] == WHOLE


def test_assignments_come_back_from_their_file(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "precision.json"
    write_assignments({"tflite-int8": {"a": EIGHT, "b": HALF}, "tflite-fp16": {}}, file)
    assert stored_assignment("tflite-int8", file) == {"a": EIGHT, "b": HALF}
    assert stored_assignment("tflite-fp16", file) == {}


@pytest.mark.parametrize(
    "content", ["", "[]", '{"tflite-int8": 3}', '{"tflite-int8": {"a": "int9"}}', '{"other": {}}']
)
def test_files_of_something_else_are_refused(tmp_path: Path, content: str) -> None:
    file = tmp_path / "precision.json"
    file.write_text(content)
    with pytest.raises(ExportError, match=r"gives no precision for tflite-int8 .*--precision auto"):
        stored_assignment("tflite-int8", file)
    with pytest.raises(ExportError, match="gives no precision"):
        stored_assignment("tflite-int8", tmp_path / "none.json")


def test_blocks_that_an_assignment_does_not_know_are_said_and_those_that_are_gone() -> None:
    blocks = [block("a", "x", "p"), block("b", "p", "q"), block("free", "q", "r", weights=0)]
    assert list(unmatched_blocks(blocks, {"a": EIGHT, "b": HALF})) == []
    assert list(unmatched_blocks(blocks, ALL_INT8)) == []
    (unnamed,) = unmatched_blocks(blocks, {"b": EIGHT})
    assert unnamed.startswith("no precision is stored for a: float16 weights")
    (both,) = unmatched_blocks(blocks, {REST: HALF})
    assert both.startswith("no precision is stored for a and 1 more:")
    (gone,) = unmatched_blocks(blocks, {"a": EIGHT, "b": EIGHT, "z": HALF, "y": HALF})
    assert gone.startswith("a precision is stored for y and 1 more, not in the graph")


def test_a_range_follows_the_block_that_makes_a_tensor_then_the_one_that_reads_it() -> None:
    rare = histogram(0.0, 512.0, *[1.0] * 511, 1e-9)
    found = {"x": rare, "p": rare, "q": rare}
    blocks = [block("a", "x", "p"), block("b", "p", "q")]
    cut = Choice(Precision.INT8, Method.PERCENTILE)
    assert tensor_ranges(blocks, {}, found) == dict.fromkeys("xpq", (0.0, 512.0))
    made = tensor_ranges(blocks, {"a": EIGHT, "b": cut}, found)
    assert (made["x"], made["p"], made["q"]) == ((0.0, 512.0), (0.0, 512.0), (0.0, 511.0))
    read = tensor_ranges(blocks, {"a": HALF, "b": cut}, found)
    assert (read["x"], read["p"], read["q"]) == ((0.0, 512.0), (0.0, 511.0), (0.0, 511.0))


def test_ranges_and_histograms_come_back_from_their_files(tmp_path: Path) -> None:
    ranges = {"b": (-1.5, 2.0), "a": (0.0, 1e-9)}
    write_ranges(ranges, tmp_path / "deep" / "ranges.json")
    assert read_ranges(tmp_path / "deep" / "ranges.json") == ranges
    write_histograms({"x": histogram(-1, 3, 0.25, 0.75)}, tmp_path / "other" / "seen.json")
    (found,) = read_histograms(tmp_path / "other" / "seen.json").values()
    assert (found.low, found.high, found.counts.tolist()) == (-1, 3, [0.25, 0.75])
    assert found.centres.tolist() == [0.0, 2.0]


def test_ranges_of_one_name_are_joined() -> None:
    assert joined_ranges([("x", (0.0, 2.0)), ("y", (1.0, 1.0)), ("x", (-1.0, 1.0))]) == {
        "x": (-1.0, 2.0),
        "y": (1.0, 1.0),
    }


def test_a_histogram_is_widened_by_what_its_tensor_reaches_elsewhere() -> None:
    found = {"x": histogram(0, 1), "y": histogram(0, 1)}
    wide = widened(found, {"x": histogram(-2, 0.5), "z": histogram(9, 9)})
    assert {name: (one.low, one.high) for name, one in wide.items()} == {"x": (-2, 1), "y": (0, 1)}


def test_what_a_graph_is_given_for_its_int8_blocks(tmp_path: Path) -> None:
    model = tmp_path / "m.tflite"
    model.write_bytes(product())
    found = {"x": histogram(-1, 3), "y": histogram(0, 4)}
    assert read_by_products(model.read_bytes()) == {"x"}
    assert chosen_ranges(model, ALL_INT8, found) == {"x": (-1, 3), "y": (0, 4)}
    assert int8_range_warnings(model, ALL_INT8, found) == []
    dead = {"x": histogram(0, 0), "y": histogram(0, 0)}
    assert [line.split()[0] for line in int8_range_warnings(model, ALL_INT8, dead)] == ["x", "y"]
    assert int8_range_warnings(model, {REST: HALF}, dead) == []
    (line,) = left_to_the_nearest(model, ALL_INT8, {}, {"FULLY_CONNECTED"})
    assert line.startswith("int8 weights of y are rounded to the nearest step")
    assert left_to_the_nearest(model, ALL_INT8, {}, {"CONV_2D"}) == []
    assert left_to_the_nearest(model, {REST: HALF}, {}, {"FULLY_CONNECTED"}) == []


def test_statistics_have_the_ranks_of_the_tensors_and_no_others() -> None:
    made = as_statistics(product(), {"x": (-1.0, 3.0), "unknown": (0.0, 1.0)})
    assert made.keys() == {"x"}
    assert made["x"]["min"].tolist() == [[-1.0]]
    assert made["x"]["max"].tolist() == [[3.0]]
    assert made["x"]["min"].dtype == np.float32
