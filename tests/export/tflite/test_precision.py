"""Blocks of the real graph, and models in which each has the precision that it was given."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ai_edge_litert import schema_py_generated as schema

from mien.export.errors import ExportError
from mien.export.tflite.blocks import Block, find_blocks
from mien.export.tflite.interpreter import Runner
from mien.export.tflite.passes.deduplicate_buffers import deduplicate_buffers
from mien.export.tflite.passes.gptq_weights import with_rounded
from mien.export.tflite.precision import (
    HALF,
    REST,
    Choice,
    Precision,
    read_choice,
    stored_assignment,
    tensor_ranges,
    unmatched_blocks,
    write_assignments,
)
from mien.export.tflite.quantise import left_to_the_nearest, quantise, read_by_products, seen_by_converted
from mien.export.tflite.ranges import Histogram, Method, histograms
from mien.export.weights.gptq import Roundings, round_convolutions
from mien.mobile_reference.tflite.flatbuffer import constant_data, operation_name, parse, serialise
from mien.models.appraisal.checkpoint import Checkpoint
from mien.models.appraisal.pipeline import PRECISION
from tests.export.components import shipped

EIGHT = Choice(Precision.INT8)
WHOLE = Choice(Precision.FLOAT32)
WEIGHTS = Choice(Precision.WEIGHTS)


@pytest.fixture(scope="module")
def graph(exported: Path) -> Path:
    return exported / "models" / "tflite-fp32" / "appraisal.tflite"


def test_blocks_are_the_modules_of_the_networks(graph: Path) -> None:
    blocks = {block.name: block for block in find_blocks(graph.read_bytes())}
    assert {"teacher/stem", "teacher/stages.4.2", "student/taps.0", "head/refine.0.0"} <= blocks.keys()
    assert {"inpainter/coarse/context.5", "inpainter/refine/to_rgb"} <= blocks.keys()
    # 24 to 144 channels, 5x5 on them, and 144 to 40.
    assert blocks["teacher/stages.2.0"].weights == 24 * 144 + 25 * 144 + 144 * 40
    # All three runs of the teacher, at 64 x 64 and then at 32 x 32.
    assert blocks["teacher/stages.2.0"].macs == 3 * (64**2 * 24 * 144 + 32**2 * (25 * 144 + 144 * 40))


def test_sums_and_divisions_belong_to_no_block(graph: Path) -> None:
    names = {name for block in find_blocks(graph.read_bytes()) for name in block.outputs}
    parsed = parse(graph.read_bytes())
    (one,) = parsed.subgraphs
    loose = [op for op in one.operators if one.tensors[op.outputs[0]].name.decode() not in names]
    codes = {parsed.operatorCodes[op.opcodeIndex].builtinCode for op in loose}
    operators = schema.BuiltinOperator
    assert {operators.SUM, operators.DIV, operators.SQRT, operators.MEAN} <= codes
    assert operators.DEPTHWISE_CONV_2D not in codes


def test_the_stages_have_the_blocks_of_the_one_graph(exported: Path, graph: Path) -> None:
    def names(file: Path) -> set[str]:
        return {block.name for block in find_blocks(file.read_bytes()) if block.weights}

    names_of_stages = ("heatmap", "mask", "inpaint", "compare", "rate")
    stages = [graph.with_name(f"{stage}.tflite") for stage in names_of_stages]
    stored = stored_assignment("tflite-int8", PRECISION)
    assert names(graph) == {name for name in stored if not name.endswith("/sum")} - {REST}
    # The kernels that smooth are no modules: they are numbered by model.
    smoothing = {"Conv", "Conv_1", "Conv_2", "Conv_3"}
    assert set().union(*map(names, stages)) - smoothing == names(graph) - smoothing


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"tflite-int8": 3}', '{"tflite-int8": {"a": "int8:x"}}'])
def test_what_is_no_file_of_precisions_is_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "precision.json").write_text(text)
    for file in (tmp_path / "precision.json", tmp_path / "nowhere", Path("/dev/zero")):
        with pytest.raises(ExportError, match="gives no precision for tflite-int8"):
            stored_assignment("tflite-int8", file)


def weights(model: bytes, end: str) -> dict[str, tuple[int, int]]:
    """Return the types and buffers of stored filters by name."""
    parsed = parse(model)
    return {
        tensor.name.decode(): (tensor.type, tensor.buffer)
        for one in parsed.subgraphs
        for tensor in one.tensors
        if end in tensor.name.decode() and constant_data(parsed, tensor) is not None
    }


def ends(exported: Path, graph: str) -> dict[str, Histogram]:
    stored = json.loads((exported / "ranges" / f"{graph}.json").read_text())
    flat = np.full(8, 1 / 8)
    return {name: Histogram(low, high, flat) for name, (low, high) in stored.items()}


BLOCK = "inpainter.coarse.to_rgb"
ASSIGNMENT = {
    "inpainter/coarse/context.0": EIGHT,
    "inpainter/coarse/context.1": WHOLE,
    "inpainter/coarse/context.2": WEIGHTS,
}


@pytest.fixture(scope="module")
def roundings(checkpoint: Checkpoint) -> Roundings:
    face = torch.randint(0, 256, (1, 3, 256, 256), generator=torch.manual_seed(0), dtype=torch.uint8)
    return round_convolutions(checkpoint.appraisal, [[face]])


def test_ranges_also_hold_what_comes_from_converted_blocks(graph: Path, roundings: Roundings) -> None:
    face = np.random.default_rng(1).integers(0, 256, (1, 256, 256, 3), np.uint8)
    blocks = find_blocks(graph.read_bytes())
    assignment = {block.name: WHOLE for block in blocks} | {"student/stages.1.1": EIGHT}
    appraisal, samples = shipped("appraisal"), [{"face": face}]
    read = read_by_products(graph.read_bytes())
    first, second = (
        seen_by_converted(appraisal, graph, assignment, roundings, samples, samples, read) for _ in range(2)
    )
    assert read < first.keys()
    exact = histograms(appraisal, graph.read_bytes(), samples, first)
    assert exact.keys() == first.keys()
    wider = {
        name for name, one in exact.items() if (one.low, one.high) != (first[name].low, first[name].high)
    }
    assert all(first[name].low <= one.low and one.high <= first[name].high for name, one in exact.items())
    made = {block.name: set(block.outputs) for block in blocks}
    # What is made behind the int8 block has moved, what is made before it or beside it has not.
    downstream = [
        block for block in made if block.startswith(("student/stages.1.2", "student/stages.2", "head/"))
    ]
    assert wider & set().union(*(made[block] for block in downstream))
    assert not wider & (made["student/stages.1.0"] | made["teacher/stages.0.0"])
    assert {name: (s.low, s.high) for name, s in first.items()} == {
        n: (s.low, s.high) for n, s in second.items()
    }


def test_ranges_also_hold_what_the_converted_stages_before_give(graph: Path, roundings: Roundings) -> None:
    dark, bright = (np.full((1, 256, 256, 3), level, np.uint8) for level in (30, 220))
    appraisal, samples = shipped("appraisal"), [{"face": dark}]
    assignment = {block.name: WHOLE for block in find_blocks(graph.read_bytes())}
    alone, both = (
        seen_by_converted(
            appraisal,
            graph,
            assignment,
            roundings,
            samples,
            [{"face": downstream}],
            read_by_products(graph.read_bytes()),
        )
        for downstream in (dark, bright)
    )
    there = histograms(appraisal, graph.read_bytes(), [{"face": bright}])
    assert any(there[name].high > one.high for name, one in alone.items())
    for name, one in both.items():
        assert one.low == min(alone[name].low, there[name].low)
        assert one.high == max(alone[name].high, there[name].high)


def context_types(model: bytes, end: str) -> dict[str, int]:
    found = {name: kind for name, (kind, _) in weights(model, end).items() if "/coarse/context" in name}
    return {name.split("/")[-3]: kind for name, kind in found.items()}


def test_every_block_gets_its_precision(exported: Path, graph: Path, roundings: Roundings) -> None:
    stage = graph.with_name("inpaint.tflite")
    model = quantise(stage, ASSIGNMENT, ends(exported, "inpaint"), roundings)
    kinds = schema.TensorType
    rest = {f"context.{n}": kinds.FLOAT16 for n in range(3, 6)}
    assert context_types(model, "/feature/Conv_conv_filter") == {
        "context.0": kinds.INT8,
        "context.1": kinds.FLOAT32,
        "context.2": kinds.INT8,
        **rest,
    }
    assert context_types(model, "/spatial/Conv_depthwise_filter") == {
        "context.0": kinds.INT8,
        "context.1": kinds.FLOAT32,
        "context.2": kinds.FLOAT16,
        **rest,
    }
    Runner(model)


def test_int16_can_stand_beside_int8(exported: Path, graph: Path, roundings: Roundings) -> None:
    stage = graph.with_name("inpaint.tflite")
    kinds = {"inpainter/coarse/context.0": EIGHT, "inpainter/coarse/context.1": Choice(Precision.INT16)}
    found = ends(exported, "inpaint")
    model = quantise(stage, {**dict.fromkeys(_names(stage), WHOLE), **kinds}, found, roundings)
    assert context_types(model, "/feature/Conv_conv_filter") == {
        **{f"context.{n}": schema.TensorType.INT8 for n in range(2)},
        **{f"context.{n}": schema.TensorType.FLOAT32 for n in range(2, 6)},
    }
    parsed = parse(model)
    (inside,) = parsed.subgraphs
    steps = [op for op in inside.operators if operation_name(parsed, op) == "QUANTIZE"]
    types = {tuple(inside.tensors[i].type for i in (op.inputs[0], op.outputs[0])) for op in steps}
    assert (schema.TensorType.FLOAT32, schema.TensorType.INT16) in types
    assert (schema.TensorType.INT8, schema.TensorType.INT16) not in types
    face = np.load(exported / "golden" / "nobody-01" / "face.npy")
    inputs = [face, np.ones((1, 256, 256, 1), np.float32)]
    (exact,), (painted,) = (Runner(one).run(inputs) for one in (stage.read_bytes(), model))
    # Of 255; two of six blocks of the coarse phase have eight bits somewhere.
    assert 0 < np.abs(painted - exact).mean() < 0.5


def _names(model: Path) -> list[str]:
    return [block.name for block in find_blocks(model.read_bytes())]


def test_int8_weights_are_the_rounded_ones(exported: Path, graph: Path, roundings: Roundings) -> None:
    model = quantise(graph.with_name("inpaint.tflite"), ASSIGNMENT, ends(exported, "inpaint"), roundings)
    parsed = parse(model)
    for block in ("context.0", "context.2"):
        rounded = roundings[f"inpainter.coarse.{block}.feature"].weight[:, :, 0, 0]
        (stored,) = (
            tensor
            for tensor in parsed.subgraphs[0].tensors
            if f"/coarse/{block}/feature/Conv_conv_filter" in tensor.name.decode()
            and constant_data(parsed, tensor) is not None
        )
        levels = np.frombuffer(bytes(constant_data(parsed, stored)), np.int8).reshape(rounded.shape)
        scales = np.abs(rounded).max(axis=1) / 127
        np.testing.assert_allclose(stored.quantization.scale, scales, rtol=1e-5)
        np.testing.assert_array_equal(levels, np.rint(rounded / scales[:, None]))


def test_int8_weights_alone_leave_no_operation_to_slow_kernels(
    exported: Path, graph: Path, roundings: Roundings
) -> None:
    stage = graph.with_name("inpaint.tflite")
    plain = quantise(stage, dict.fromkeys(stored_assignment("tflite-int8", PRECISION), WHOLE), {}, {})
    stored = quantise(stage, {"inpainter/coarse/context.2": WEIGHTS}, ends(exported, "inpaint"), roundings)
    assert Runner(stored).undelegated() == Runner(plain).undelegated()


def test_weights_of_no_rounding_stay_as_they_are_and_are_named(graph: Path, roundings: Roundings) -> None:
    stage = graph.with_name("inpaint.tflite")
    content = stage.read_bytes()
    (block,) = (b for b in find_blocks(content) if b.name == "inpainter/coarse/to_rgb")
    one = roundings[BLOCK]
    others = {BLOCK: replace(one, source=one.source * np.float32(1.01))}
    assert with_rounded(content, block.outputs, others) == with_rounded(content, block.outputs, {})
    assert with_rounded(content, block.outputs, roundings) != with_rounded(content, block.outputs, {})
    (warning,) = left_to_the_nearest(stage, {block.name: EIGHT}, others, {"CONV_2D"})
    assert "nearest step" in warning
    assert not left_to_the_nearest(stage, {block.name: EIGHT}, roundings, {"CONV_2D"})


def test_every_dense_convolution_of_a_block_has_rounded_weights(graph: Path, roundings: Roundings) -> None:
    content = graph.read_bytes()
    outputs = [output for block in find_blocks(content) for output in block.outputs]
    assert with_rounded(content, outputs, roundings) != content


def test_what_belongs_to_no_block_stays_as_it_is(exported: Path) -> None:
    mask = exported / "models" / "tflite-fp32" / "mask.tflite"
    # Its convolutions smooth by fixed kernels, which are stored as float32.
    assert quantise(mask, stored_assignment("tflite-int8", PRECISION), {}, {}) == mask.read_bytes()


# These have dead channels, whose int8 steps are widened by the scale of each run's own input.
WIDENED = ("stages.3.1/layers/layers.0_", "stages.3.2/layers/layers.0_", "stages.4.2/layers/layers.0_")


def test_a_network_that_is_called_twice_is_stored_once(graph: Path) -> None:
    for variant, apart in (("tflite-fp32", ()), ("tflite-fp16", ()), ("tflite-int8", WIDENED)):
        model = graph.parent.with_name(variant) / "appraisal.tflite"
        # The biases of int8 follow the scale of each run's own input.
        found = weights(model.read_bytes(), "_filter")
        twice = [name for name in found if "/teacher/" in name and "_1/Conv" in name]
        assert len(twice) > 30
        for name in (one for one in twice if not any(part in one for part in apart)):
            assert found[name][1] == found[name.replace("_1/Conv", "/Conv")][1], name


def test_sharing_changes_nothing_but_the_size(graph: Path) -> None:
    parsed = parse(graph.read_bytes())
    once = deduplicate_buffers(graph.read_bytes())
    assert once == graph.read_bytes()
    taken: set[int] = set()
    for tensor in parsed.subgraphs[0].tensors:
        if tensor.buffer not in taken:
            taken.add(tensor.buffer)
        elif tensor.name.decode().endswith("_filter"):
            own = schema.BufferT()
            own.data = parsed.buffers[tensor.buffer].data
            parsed.buffers.append(own)
            tensor.buffer = len(parsed.buffers) - 1
    apart = serialise(parsed)
    again = deduplicate_buffers(apart)
    assert len(again) < 0.8 * len(apart)
    face = np.random.default_rng(0).integers(0, 256, (1, 256, 256, 3), dtype=np.uint8)
    for one, other in zip(Runner(again).run([face]), Runner(apart).run([face]), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_range_follows_the_block_that_makes_the_tensor_then_the_one_that_reads_it() -> None:
    rare = np.zeros(512)
    rare[0], rare[-1] = 1 - 1e-6, 1e-6
    found = {name: Histogram(0.0, 512.0, rare) for name in "abcd"}
    blocks = (
        Block("first", frozenset("a"), ("b",), 1, 1, 1),
        Block("second", frozenset("b"), ("c",), 1, 1, 1),
        Block("third", frozenset("c"), ("d",), 1, 1, 1),
    )
    cut = Choice(Precision.INT8, Method.PERCENTILE)
    ranges = tensor_ranges(blocks, {"first": EIGHT, "second": cut}, found)
    assert ranges == {"a": (0, 512), "b": (0, 512), "c": (0, 1), "d": (0, 512)}
    assert tensor_ranges(blocks, {"second": cut}, found)["b"] == (0, 1)


def test_assignments_are_read_as_they_were_written(tmp_path: Path) -> None:
    made: dict[str, Any] = {"a": Choice(Precision.INT8, Method.MSE), "b": HALF, "c": WHOLE, "d": WEIGHTS}
    write_assignments({"tflite-int8": made}, tmp_path / "p.json")
    assert stored_assignment("tflite-int8", tmp_path / "p.json") == made
    assert [str(choice) for choice in made.values()] == ["int8 mse", "float16", "float32", "int8w"]
    with pytest.raises(ValueError, match="int9"):
        read_choice("int9")
    with pytest.raises(ExportError, match="gives no precision for tflite-fp16"):
        stored_assignment("tflite-fp16", tmp_path / "p.json")


def test_blocks_that_the_assignment_does_not_know_are_named() -> None:
    blocks = (Block("new", frozenset(), (), 1, 1, 1), Block("known", frozenset(), (), 1, 1, 1))
    first, second = unmatched_blocks(blocks, {"known": HALF, "gone": HALF})
    assert first.startswith("no precision is stored for new: float16 weights")
    assert second.startswith("a precision is stored for gone, not in the graph")


def test_many_blocks_that_are_not_there_are_one_line() -> None:
    known = (Block("known", frozenset(), (), 1, 1, 1),)
    (said,) = unmatched_blocks(known, dict.fromkeys(("known", "c", "a", "b"), HALF))
    assert "stored for a and 2 more, not in the graph" in said


def test_the_stored_assignments_are_of_the_variants_below_float32() -> None:
    stored = json.loads(PRECISION.read_text())
    assert stored.keys() == {"tflite-fp16", "tflite-int8"}
    assert any(choice.ranged for choice in stored_assignment("tflite-int8", PRECISION).values())
    assert set(stored_assignment("tflite-fp16", PRECISION).values()) == {HALF, WHOLE}
