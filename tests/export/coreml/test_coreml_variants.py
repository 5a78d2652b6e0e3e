"""Core ML in fewer bits: palettes, int8 activations, what stays float, and which variant is chosen."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import tests.mobile_reference.coreml.mil_packages as build
from mien.export.coreml.activations import (
    WeightsRange,
    quantise_activations,
    ranges_of_products,
    scale_and_zero,
    weights_ranges,
)
from mien.export.coreml.convert import FP16, FP32, INT8, INT8_WEIGHTS
from mien.export.coreml.weights import palette
from mien.export.packing.variant_selection import Judgement, choose
from mien.export.tflite.ranges import joined_ranges
from mien.export.weights.fold_batch_norm import fold_batch_norm
from mien.mobile_reference.bundle.reader import Bundle, open_bundle, size_of
from mien.mobile_reference.coreml import FLOAT32, Evaluator, load_package
from mien.mobile_reference.coreml.products import products
from mien.mobile_reference.coreml.program import BlobValue, Constant, Operation, Reference
from mien.models.appraisal.checkpoint import Checkpoint

VARIANTS = (FP32, FP16, INT8_WEIGHTS, INT8)


@pytest.mark.parametrize("bits", [4, 6])
def test_a_palette_keeps_weights_that_fit_it(bits: int) -> None:
    values = np.linspace(-1, 3, 2**bits, dtype=np.float16)
    weight = np.random.default_rng(0).permutation(np.repeat(values, 5)).reshape(-1, 5, 1, 1)
    found, places = palette(weight, 2**bits)
    np.testing.assert_array_equal(found[places].reshape(weight.shape), weight)


def test_a_larger_palette_errs_less_and_none_more_than_even_steps() -> None:
    weight = np.random.default_rng(1).normal(size=4000)
    errors = []
    for size in (16, 64):
        found, places = palette(weight, size)
        assert found.shape == (size,)
        assert np.all(np.diff(found) >= 0)
        errors.append(float(np.square(found[places] - weight).mean()))
        # Even steps over the whole span have an error of a twelfth of their square.
        assert errors[-1] < (np.ptp(weight) / (size - 1)) ** 2 / 12
    assert errors[1] < errors[0] / 8


@pytest.mark.parametrize("reach", [(0.0, 6.0), (-1.5, 0.25), (0.5, 2.0), (-3.0, -1.0), (0.0, 0.0)])
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_a_scale_holds_zero_exactly_and_cuts_no_end(reach: tuple[float, float], dtype: type) -> None:
    scale, zero = scale_and_zero(reach, dtype)
    assert scale.dtype == dtype
    assert zero.dtype == np.uint8
    for end in (*reach, 0.0):
        stored = np.clip(np.rint(end / float(scale)) + int(zero), 0, 255)
        restored = float(scale) * (stored - int(zero))
        # Half a step is rounding, more would be an end that was cut.
        assert abs(restored - end) <= float(scale) * 0.51
    assert float(scale) * (int(zero) - int(zero)) == 0.0


def test_folding_computes_the_same_and_leaves_the_module_alone() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.BatchNorm2d(4))
    net(torch.rand(4, 3, 8, 8))  # statistics that are not those of birth
    x = torch.rand(1, 3, 8, 8)
    folded = fold_batch_norm(net.eval(), [x])
    # float32 products in another order.
    torch.testing.assert_close(folded(x), net(x), atol=1e-6, rtol=1e-5)
    assert [type(m) for m in net] == [nn.Conv2d, nn.BatchNorm2d, nn.ReLU, nn.BatchNorm2d]
    # What does not follow a convolution stays.
    assert [type(m) for m in folded.children()] == [nn.Conv2d, nn.Identity, nn.ReLU, nn.BatchNorm2d]


def _judgement(name: str, size: int, points: float) -> Judgement:
    return Judgement(name, tolerance=0.5, bytes=size, points=points)


def test_the_smallest_that_passes_is_chosen_by_platform() -> None:
    judged = [
        _judgement("coreml-a", 300, 0.1),
        _judgement("coreml-b", 200, 0.16),
        _judgement("coreml-c", 100, 0.17),
        _judgement("coreml-d", 50, math.nan),
        _judgement("tflite-a", 10, math.nan),
    ]
    assert choose(judged) == {"coreml": "coreml-b"}


MAP = build.tensor_type("float32", (1, 2, 4, 4))


def _convolution(folder: Path) -> Path:
    """y = conv(relu(x)) and z = relu(x), by a package of our own."""
    weight = np.random.default_rng(2).normal(size=(2, 2, 1, 1)).astype(np.float32)
    operations = [
        build.const("w", weight),
        build.const("pad_type", "valid"),
        build.operation("relu", {"x": "x"}, [("r", MAP)]),
        build.operation("conv", {"x": "r", "weight": "w", "pad_type": "pad_type"}, [("y", MAP)]),
        build.operation("square", {"x": "r"}, [("z", MAP)]),
    ]
    return build.write(folder, build.model(operations, ["y", "z"], [("x", MAP)], opset="CoreML7"))


def test_a_convolution_reads_uint8_and_others_what_was_there(tmp_path: Path) -> None:
    package = _convolution(tmp_path)
    x = np.random.default_rng(3).uniform(-1, 2, (1, 2, 4, 4)).astype(np.float32)
    before = Evaluator(load_package(package), FLOAT32).tensors({"x": x})
    largest_input = float(x.max())
    assert quantise_activations(package, {"y": (0.0, largest_input)}) == {"r": (0.0, largest_input)}
    program = load_package(package)
    kinds = [o.type for o in program.functions["main"].body.operations if o.type != "const"]
    assert kinds == ["relu", "quantize", "dequantize", "conv", "square"]
    after = Evaluator(program, FLOAT32).tensors({"x": x})
    np.testing.assert_array_equal(after["z"], before["z"])
    step = largest_input / 255
    (weight,) = (o.arguments["val"][0].load() for o in program.functions["main"].body.operations[:1])
    largest = np.abs(weight).sum(axis=1).max() * step * 0.51
    assert 0 < np.abs(after["y"] - before["y"]).max() <= largest


def test_ranges_are_found_by_weights(tmp_path: Path) -> None:
    function = load_package(_convolution(tmp_path)).functions["main"]
    (one,) = products(function)
    weight = one.weight()
    assert weight is not None
    flat = weight.reshape(2, 2)
    # Folded by another program, and read again in another run.
    known = [
        WeightsRange(flat * np.float32(1.0001), (0.0, 1.0)),
        WeightsRange(flat, (-1.0, 0.5)),
        WeightsRange(flat[:, ::-1], (0.0, 9.0)),
    ]
    assert ranges_of_products([one], known) == {"y": (-1.0, 1.0)}
    assert ranges_of_products([one], known[2:]) == {}


@pytest.fixture(scope="module")
def bundle(exported: Path) -> Bundle:
    return open_bundle(exported)


def _operations(bundle: Bundle, variant: str, graph: str = "appraisal") -> tuple[Operation, ...]:
    program = load_package(bundle.variant(variant).files[graph])
    return program.functions[program.default_function].body.operations


def _weight_types(bundle: Bundle, variant: str, part: str, graph: str = "appraisal") -> set[str]:
    return {
        o.outputs[0].type.kind.name
        for o in _operations(bundle, variant, graph)
        if o.type == "const" and o.name.startswith(f"module_net_{part}") and _is_stored(o)
    }


def _is_stored(operation: Operation) -> bool:
    (argument,) = operation.arguments["val"]
    return isinstance(argument, Constant) and isinstance(argument.value, BlobValue)


@pytest.mark.parametrize("part", ["teacher_stem", "teacher_stages_1", "student_stages_0", "head_refine"])
@pytest.mark.parametrize("graph", ["appraisal", "heatmap"])
def test_what_decides_the_score_stays_float32(bundle: Bundle, part: str, graph: str) -> None:
    for variant in ("coreml-fp16", "coreml-int8w", "coreml-w8a8"):
        assert _weight_types(bundle, variant, part, graph) == {"fp32"}


def test_int8_weights_are_dense_ones_and_spare_what_decides(bundle: Bundle) -> None:
    operations = _operations(bundle, "coreml-int8w")
    packed = {o.outputs[0].name for o in operations if o.type.startswith("constexpr")}
    for part in ("student_stages_2_0", "inpainter_coarse_down_0", "inpainter_refine_to_rgb"):
        assert any(name.startswith(f"module_net_{part}") for name in packed), part
    spared = ("teacher", "head", "student_stages_0", "student_stages_1", "spatial")
    assert not any(part in name for name in packed for part in spared)


def test_int8_weights_are_the_rounded_ones(bundle: Bundle, checkpoint: Checkpoint) -> None:
    # Whatever faces they were rounded for, rounding to the nearest step gives others.
    folded = fold_batch_norm(checkpoint.appraisal, [torch.rand(1, 3, 256, 256)])
    convolution = folded.student.stages[2][1].layers[0]
    weight = convolution.weight.detach().numpy()[:, :, 0, 0]
    steps = np.abs(weight).max(axis=1, keepdims=True) / 127
    (stored,) = (
        o
        for o in _operations(bundle, "coreml-int8w")
        if o.type.startswith("constexpr") and "student_stages_2_1_layers_0" in o.outputs[0].name
    )
    levels = stored.arguments["quantized_data"][0].load()[:, :, 0, 0].astype(np.int32)
    moved = levels - np.rint(weight / steps)
    assert np.mean(moved != 0) > 0.1
    assert np.abs(moved).max() < 10
    np.testing.assert_array_equal(np.abs(levels).max(axis=1), 127)


@pytest.mark.parametrize("variant", ["coreml-fp16", "coreml-int8w", "coreml-w8a8"])
def test_maps_of_one_channel_are_computed_in_float32(bundle: Bundle, variant: str) -> None:
    made = [o.outputs[0] for o in _operations(bundle, variant) if o.type not in ("const", "cast")]
    maps = [one.type for one in made if tuple(one.type.shape[:2]) == (1, 1)]
    # Heat, distances at three scales twice over, mask, final map and what lies between.
    assert len(maps) > 30
    assert {one.kind.name for one in maps} == {"fp32"}


@pytest.mark.parametrize("part", ["inpainter_coarse", "student_stages_2", "teacher_stages_4_2"])
def test_the_rest_is_float16(bundle: Bundle, part: str) -> None:
    assert _weight_types(bundle, "coreml-fp16", part) == {"fp16"}
    assert _weight_types(bundle, "coreml-fp32", part) == {"fp32"}


def test_every_step_of_compression_is_smaller(bundle: Bundle) -> None:
    sizes = [size_of(bundle.variant(name).files["appraisal"]) for name in VARIANTS[:3]]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] > 1.3 * sizes[1]


def test_int8_convolutions_read_int8_and_spare_what_decides(bundle: Bundle) -> None:
    operations = _operations(bundle, "coreml-w8a8")
    makers = {output.name: o for o in operations for output in o.outputs}
    int8 = [o for o in operations if o.type == "conv" and _maker(makers, o, "weight").startswith("constexpr")]
    assert len(int8) > 50
    assert all(_maker(makers, o, "x") == "dequantize" for o in int8)
    names = {argument.name for o in int8 for argument in o.arguments["weight"]}
    assert any("teacher_stages_4_1" in name for name in names)
    assert not any("stem" in name or "head_project" in name for name in names)
    others = [o for o in operations if o.type == "conv" and o not in int8]
    assert not any(_maker(makers, o, "x") == "dequantize" for o in others)


def _maker(makers: dict, operation: Operation, parameter: str) -> str:
    (argument,) = operation.arguments[parameter]
    assert isinstance(argument, Reference)
    return makers[argument.name].type if argument.name in makers else "input"


def test_nothing_is_quantised_in_front_of_its_activation_function(bundle: Bundle) -> None:
    operations = _operations(bundle, "coreml-w8a8")
    makers = {output.name: o for o in operations for output in o.outputs}
    sources = {_maker(makers, o, "input") for o in operations if o.type == "quantize"}
    assert "conv" in sources  # the linear ends of blocks, which have no activation function
    for operation in operations:
        if operation.type in ("clip", "relu", "sigmoid"):
            assert _maker(makers, operation, "x") != "dequantize"


def test_ranges_are_stored_and_are_those_in_the_package(bundle: Bundle) -> None:
    stored = json.loads((bundle.path / "ranges" / "appraisal.coreml.json").read_text())
    quantised = {
        o.arguments["input"][0].name for o in _operations(bundle, "coreml-w8a8") if o.type == "quantize"
    }
    assert stored.keys() == quantised
    # One set for both platforms; a convolution that runs again has one range for all runs.
    tflite = json.loads((bundle.path / "ranges" / "appraisal.json").read_text())
    graph = bundle.variant("tflite-fp32").files["appraisal"].read_bytes()
    assert {tuple(ends) for ends in stored.values()} <= set(
        joined_ranges((one.weight.tobytes(), one.reach) for one in weights_ranges(graph, tflite)).values()
    )


def test_int8_activations_need_a_later_system_and_the_manifest_says_so(bundle: Bundle) -> None:
    entries = {entry["name"]: entry for entry in bundle.manifest["variants"]}
    versions = {
        name: load_package(bundle.variant(name).files["appraisal"]).specification_version for name in VARIANTS
    }
    assert entries["coreml-w8a8"]["minimum"] == "iOS17"
    assert entries["coreml-fp16"]["minimum"] == "iOS16"
    assert versions == dict.fromkeys(VARIANTS, 7) | {"coreml-w8a8": 8}


def test_the_manifest_chooses_the_smallest_that_passes(bundle: Bundle) -> None:
    for platform in ("tflite", "coreml"):
        entries = [v for v in bundle.manifest["variants"] if v["platform"] == platform]
        passing = [v for v in entries if v["measured"]["points"] <= bundle.variant(v["name"]).tolerance / 3]
        smallest = min(passing, key=lambda v: v["measured"]["bytes"])
        assert bundle.manifest["choice"][platform] == smallest["name"]
        assert smallest["measured"]["bytes"] == size_of(bundle.variant(smallest["name"]).files["appraisal"])


def test_a_palette_is_packed_only_where_it_passes(bundle: Bundle) -> None:
    packed = {v["name"]: v for v in bundle.manifest["variants"]}
    left_out = {v["name"]: v for v in bundle.manifest["left_out"]}
    assert "coreml-pal6" in packed.keys() | left_out.keys()
    assert packed.keys().isdisjoint(left_out)
    assert all(v["measured"]["points"] > v["tolerance"] / 3 for v in left_out.values())
