"""What products of a graph read: the windows that are listed give, times the weights, what LiteRT makes."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from mien.export.component import Component
from mien.export.tflite.graph_moments import read_by, round_graph
from mien.export.tflite.interpreter import Runner
from mien.export.tflite.passes.gptq_weights import unrounded, with_rounded
from mien.export.tflite.products import products
from mien.export.weights.gptq import Rounded, find_rounded, read_roundings, write_roundings
from mien.mobile_reference.tflite.flatbuffer import parse, serialise

from .graphs import GraphBuilder

SAME, VALID = schema.Padding.SAME, schema.Padding.VALID


def drawn(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


def options_of(kind: Any, padding: int, stride: int, dilation: int = 1) -> Any:
    options = kind()
    options.padding, options.strideH, options.strideW = padding, stride, stride
    if dilation > 1 or kind is not schema.TransposeConvOptionsT:
        options.dilationHFactor = options.dilationWFactor = dilation
    return options


def convolution(padding: int, stride: int, dilation: int, groups: int = 1) -> bytes:
    build = GraphBuilder()
    x = build.given("x", (1, 9, 11, 4))
    weight = build.constant("w", drawn(6, 3, 3, 4 // groups))
    bias = build.constant("b", drawn(6))
    reach = 2 * dilation
    size = [-(-n // stride) if padding == SAME else -(-(n - reach) // stride) for n in (9, 11)]
    y = build.tensor("y", (1, *size, 6))
    options = options_of(schema.Conv2DOptionsT, padding, stride, dilation)
    return build.build(build.add("CONV_2D", [x, weight, bias], y, options))


def depthwise(padding: int, stride: int, dilation: int) -> bytes:
    build = GraphBuilder()
    x = build.given("x", (1, 9, 11, 4))
    weight, bias = build.constant("w", drawn(1, 3, 3, 8)), build.constant("b", drawn(8))
    size = [-(-n // stride) for n in (9, 11)]
    y = build.tensor("y", (1, *size, 8))
    options = options_of(schema.DepthwiseConv2DOptionsT, padding, stride, dilation)
    options.depthMultiplier = 2
    return build.build(build.add("DEPTHWISE_CONV_2D", [x, weight, bias], y, options))


def transposed(padding: int, stride: int, kernel: int) -> bytes:
    build = GraphBuilder()
    x = build.given("x", (1, 5, 6, 4))
    size = [n * stride if padding == SAME else (n - 1) * stride + kernel for n in (5, 6)]
    shape = build.constant("shape", np.array([1, *size, 3], np.int32))
    weight, bias = build.constant("w", drawn(3, kernel, kernel, 4)), build.constant("b", drawn(3))
    y = build.tensor("y", (1, *size, 3))
    options = options_of(schema.TransposeConvOptionsT, padding, stride)
    return build.build(build.add("TRANSPOSE_CONV", [shape, weight, x, bias], y, options, version=3))


def fully_connected() -> bytes:
    build = GraphBuilder()
    x = build.given("x", (5, 7))
    weight, bias = build.constant("w", drawn(3, 7)), build.constant("b", drawn(3))
    y = build.tensor("y", (5, 3))
    return build.build(build.add("FULLY_CONNECTED", [x, weight, bias], y, schema.FullyConnectedOptionsT()))


def matrix_product(*, turned: bool) -> bytes:
    build = GraphBuilder()
    x = build.given("x", (1, 5, 7))
    weight = build.constant("w", drawn(3, 7) if turned else drawn(7, 3))
    y = build.tensor("y", (1, 5, 3))
    options = schema.BatchMatMulOptionsT()
    options.adjY = turned
    return build.build(build.add("BATCH_MATMUL", [x, weight], y, options))


GRAPHS = {
    "dense": convolution(SAME, 1, 1),
    "dense, stride 2, padded on one side": convolution(SAME, 2, 1),
    "dilated": convolution(SAME, 1, 2),
    "dilated, without padding": convolution(VALID, 1, 2),
    "grouped": convolution(VALID, 2, 1, groups=2),
    "depthwise, two a channel": depthwise(SAME, 2, 1),
    "depthwise, dilated": depthwise(SAME, 1, 2),
    "transposed": transposed(VALID, 2, 3),
    "transposed, cut at the borders": transposed(SAME, 2, 4),
    "transposed, kernel 3, cut on one side": transposed(SAME, 2, 3),
    "fully connected": fully_connected(),
    "matrix product": matrix_product(turned=False),
    "matrix product, weights turned": matrix_product(turned=True),
}


@pytest.mark.parametrize("model", GRAPHS.values(), ids=GRAPHS.keys())
def test_what_is_read_times_the_weights_is_what_is_made(model: bytes) -> None:
    (product,) = products(parse(model))
    x = drawn(*product.shapes[0])
    (made,) = Runner(model).run([x])
    values = read_by(product, x)
    weight = product.weight.reshape(len(product.weight), -1)
    parts = zip(np.split(weight, product.groups), np.split(values, product.groups), strict=True)
    found = np.concatenate([part @ seen for part, seen in parts])
    bias = 0 if product.bias is None else product.bias[:, None]
    expected = made.reshape(-1, made.shape[-1]).T
    np.testing.assert_allclose(found + bias, expected, rtol=1e-4, atol=1e-4)


def of_graph(model: bytes) -> Component:
    return Component("tested", torch.nn.Identity(), ("x",), ("y",), quantise=True, tensors={})


@pytest.mark.parametrize("model", GRAPHS.values(), ids=GRAPHS.keys())
def test_every_kind_is_rounded_to_whole_steps_and_errs_less_than_by_the_nearest(
    model: bytes, tmp_path: Path
) -> None:
    (product,) = products(parse(model))
    generator = np.random.default_rng(0)
    mix = generator.normal(size=(product.shapes[0][-1],) * 2).astype(np.float32)
    samples = [
        {"x": np.abs(generator.normal(size=product.shapes[0])).astype(np.float32) @ mix} for _ in range(6)
    ]
    write_roundings(round_graph(of_graph(model), model, samples), tmp_path / "r.safetensors")
    rounded = read_roundings(tmp_path / "r.safetensors")
    assert not unrounded(model, ["y"], rounded)
    weight = product.weight.reshape(len(product.weight), -1)
    steps = np.abs(weight).max(axis=1, keepdims=True) / 127
    changed = with_rounded(model, ["y"], rounded)
    (after,) = products(parse(changed))
    levels = after.weight.reshape(weight.shape) / steps
    np.testing.assert_allclose(levels, np.rint(levels), atol=1e-3)
    nearest = (np.rint(weight / steps) * steps).astype(np.float32).reshape(product.weight.shape)
    parsed = parse(model)
    bias = np.zeros(len(weight), np.float32) if product.bias is None else product.bias
    next(products(parsed)).store(parsed, nearest, bias)
    others = {"nearest": serialise(parsed), "rounded": changed}
    errors = {
        name: sum(
            float(np.square(Runner(other).run([s["x"]])[0] - Runner(model).run([s["x"]])[0]).sum())
            for s in samples
        )
        for name, other in others.items()
    }
    assert errors["rounded"] < errors["nearest"]


def test_weights_are_found_by_what_they_were_rounded_from() -> None:
    weight, bias = drawn(4, 3, 3, 3), drawn(4)
    one = Rounded(weight + 1, bias, weight, bias)
    same_weights = Rounded(weight + 2, bias + 9, weight, bias + 9)
    found = {"anything": one, "else": same_weights}
    # Folded by another program, and laid out as a matrix.
    folded = (weight * np.float32(1 + 1e-6)).reshape(4, -1)
    assert find_rounded(found, folded, bias) is one
    assert find_rounded(found, folded, bias + 9) is same_weights
    assert find_rounded(found, weight * np.float32(1.01), bias) is None
    assert find_rounded(found, np.ascontiguousarray(weight[:, ::-1]), bias) is None
    assert find_rounded(found, weight[:3], bias[:3]) is None
