"""What the half-float variant rewrites: each pass changes what it is for, and keeps values."""

from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from mien.export.tflite.half import out_of_half
from mien.export.tflite.interpreter import Runner
from mien.export.tflite.passes.ask_for_half import ask_for_half
from mien.export.tflite.passes.centre_depthwise import centre_depthwise
from mien.export.tflite.passes.shift_first import shift_first
from mien.mobile_reference.run.models import on_cpu
from mien.mobile_reference.tflite.flatbuffer import operation_names, parse, serialise
from mien.mobile_reference.tflite.half import HalfModel, arithmetic, computes_in_half
from mien.mobile_reference.tflite.half_words import REDUCED_PRECISION
from mien.mobile_reference.tflite.model_file import asks_for_half
from tests.export.tflite.graphs import GraphBuilder

_SHAPE = (1, 5, 6, 3)
Values = NDArray[np.float32]


@pytest.fixture
def half_kernels() -> None:
    if not computes_in_half():
        pytest.skip("XNNPACK has no half-float kernels on this processor")


def normalised(scale: Values, shift: Values, activation: int = schema.ActivationFunctionType.NONE) -> bytes:
    """Return a graph that makes x * scale - shift."""
    build = GraphBuilder()
    scaled, made = (build.tensor(name, _SHAPE) for name in ("scaled", "made"))
    given, options = build.given("x", _SHAPE), schema.SubOptionsT()
    build.add("MUL", [given, build.constant("scale", scale)], scaled, schema.MulOptionsT())
    options.fusedActivationFunction = activation
    build.add("SUB", [scaled, build.constant("shift", shift)], made, options)
    return build.build(made)


def filtered(padding: int, level: float = 0.0) -> bytes:
    """Return a graph of a depthwise convolution of two outputs a channel, near 0.5 for an even ``level``."""
    weights = np.random.default_rng(3).normal(size=(1, 3, 3, 6)).astype(np.float32)
    build, options = GraphBuilder(), schema.DepthwiseConv2DOptionsT()
    options.padding, options.strideH, options.strideW, options.depthMultiplier = padding, 2, 2, 2
    options.dilationHFactor = options.dilationWFactor = 1
    rows, columns = (2, 2) if padding == schema.Padding.VALID else (3, 3)
    stored = build.constant("b", (0.5 - level * weights.sum(axis=(0, 1, 2))).astype(np.float32))
    made = build.tensor("made", (1, rows, columns, 6))
    build.add(
        "DEPTHWISE_CONV_2D", [build.given("x", _SHAPE), build.constant("w", weights), stored], made, options
    )
    return build.build(made)


def run(model: bytes, x: Values) -> Values:
    (made,) = Runner(model).run([x])
    return np.asarray(made)


@pytest.mark.parametrize("shape", [(1,), (3,)])
def test_a_shift_goes_in_front_of_the_scale(shape: tuple[int, ...]) -> None:
    before = normalised(np.full(shape, 1 / 58.5, np.float32), np.full(shape, 127.5 / 58.5, np.float32))
    after = shift_first(before)
    assert list(operation_names(after)) == ["ADD", "MUL"]
    pixels = np.arange(90, dtype=np.float32).reshape(_SHAPE) * 2.5
    np.testing.assert_allclose(run(after, pixels), run(before, pixels), atol=1e-6)
    (shift,) = [b.data for b in parse(after).buffers if b.data is not None and _is(b.data, -127.5)]
    assert shift.size == 4 * shape[0]


def _is(data: NDArray[np.uint8], value: float) -> bool:
    return bool((np.frombuffer(bytes(data), np.float32) == value).all())


@pytest.mark.parametrize(
    ("scale", "shift", "activation"),
    [
        (1e-4, 1.0, schema.ActivationFunctionType.NONE),  # 10,000 is no half float to a half
        (0.0, 1.0, schema.ActivationFunctionType.NONE),
    ],
)
def test_a_shift_that_cannot_go_first_stays(scale: float, shift: float, activation: int) -> None:
    model = normalised(np.array([scale], np.float32), np.array([shift], np.float32), activation)
    assert list(operation_names(shift_first(model))) == ["MUL", "SUB"]


def test_an_activation_ends_what_is_shifted_first() -> None:
    numbers = np.array([0.5], np.float32)
    model = normalised(numbers, numbers, schema.ActivationFunctionType.RELU)
    assert list(operation_names(shift_first(model))) == ["MUL", "SUB"]


@pytest.mark.usefixtures("half_kernels")
def test_pixels_that_are_shifted_first_err_less_in_half_floats() -> None:
    model = normalised(np.array([1 / 127.5], np.float32), np.array([1], np.float32))
    pixels = (np.arange(90, dtype=np.float32) + 90).reshape(_SHAPE)
    errors = [
        np.abs(HalfModel(m).run([pixels])[0] - (pixels / 127.5 - 1)).max()
        for m in (model, shift_first(model))
    ]
    assert errors[1] < errors[0] / 2


@pytest.mark.parametrize("padding", [schema.Padding.SAME, schema.Padding.VALID])
def test_a_depthwise_convolution_reads_what_has_no_mean(padding: int) -> None:
    before = filtered(padding)
    after = centre_depthwise(before, {"x": (np.array([3.0, -2.0, 5.0]), np.full(3, 0.1))})
    pads = ["PAD"] if padding == schema.Padding.SAME else []
    assert list(operation_names(after)) == [*pads, "SUB", "DEPTHWISE_CONV_2D"]
    x = np.random.default_rng(5).normal(3, 1, _SHAPE).astype(np.float32)
    np.testing.assert_allclose(run(after, x), run(before, x), atol=2e-5)


@pytest.mark.parametrize("seen", [{}, {"x": (np.full(3, 0.1), np.ones(3))}, {"y": (np.ones(3), np.zeros(3))}])
def test_a_depthwise_convolution_of_small_means_stays(
    seen: dict[str, tuple[NDArray[np.float64], ...]],
) -> None:
    before = filtered(schema.Padding.SAME)
    assert list(operation_names(centre_depthwise(before, seen))) == ["DEPTHWISE_CONV_2D"]  # type: ignore[arg-type]


@pytest.mark.usefixtures("half_kernels")
def test_a_centred_convolution_errs_less_in_half_floats() -> None:
    before = filtered(schema.Padding.VALID, 50)
    x = np.random.default_rng(5).normal(50, 0.5, _SHAPE).astype(np.float16).astype(np.float32)
    after = centre_depthwise(before, {"x": (np.full(3, 50.0), np.full(3, 0.25))})
    exact = run(before, x)
    errors = [np.abs(HalfModel(model).run([x])[0] - exact).max() for model in (before, after)]
    assert errors[1] < errors[0] / 4


def test_a_model_asks_once_whatever_the_converter_wrote(tmp_path: Path) -> None:
    file = tmp_path / "m.tflite"
    parsed = parse(filtered(schema.Padding.SAME))
    for name, said in ((REDUCED_PRECISION, b"fp16accfp32"), (b"other", b"kept")):
        entry, buffer = schema.MetadataT(), schema.BufferT()
        buffer.data = np.frombuffer(said, np.uint8)
        parsed.buffers.append(buffer)
        entry.name, entry.buffer = name, len(parsed.buffers) - 1
        parsed.metadata = [*(parsed.metadata or []), entry]
    file.write_bytes(serialise(parsed))
    assert not asks_for_half(file)
    assert arithmetic(file) is None
    file.write_bytes(ask_for_half(file.read_bytes()))
    assert asks_for_half(file)
    assert arithmetic(file) is not None
    assert sorted(bytes(one.name) for one in parse(file.read_bytes()).metadata) == [
        b"other",
        REDUCED_PRECISION,
    ]


@pytest.mark.usefixtures("half_kernels")
def test_a_model_is_computed_in_half_floats_if_it_asks(tmp_path: Path) -> None:
    file = tmp_path / "m.tflite"
    file.write_bytes(filtered(schema.Padding.SAME))
    assert not isinstance(on_cpu(file, 1), HalfModel)
    file.write_bytes(ask_for_half(file.read_bytes()))
    assert isinstance(on_cpu(file, 1), HalfModel)


def test_tensors_that_half_floats_cannot_hold_are_named() -> None:
    ranges = {"a": (-1.0, 2.0), "b": (-4e4, 1.0), "c": (0.0, 1e-6), "d": (0.0, 0.0), "e": (0.0, float("nan"))}
    said = list(out_of_half(ranges))
    assert {line.split()[0] for line in said} == {"b", "c", "e"}
