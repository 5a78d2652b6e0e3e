"""`mien coreml check`: what is wrong fails without being looked for, and what is right passes."""

import json
from itertools import chain

import numpy as np
import pytest
from click.testing import CliRunner

import tests.mobile_reference.coreml.mil_packages as build
from mien.mobile_reference.commands.coreml import coreml
from mien.mobile_reference.coreml.parity import difference
from mien.mobile_reference.coreml.probes import PROBES

torch = pytest.importorskip("torch")
functional = torch.nn.functional
TYPES = {"float32": torch.float32, "int32": torch.int32, "int64": torch.int64, "uint8": torch.uint8}


class Call(torch.nn.Module):
    """A module of one expression."""

    def __init__(self, call):
        super().__init__()
        self.call = call

    def forward(self, *inputs):
        return self.call(*inputs)


def real(*shape):
    return build.tensor_type("float32", shape)


def half(*shape):
    return build.tensor_type("float16", shape)


def whole(*shape):
    return build.tensor_type("int32", shape)


def op(kind, name, form, **inputs):
    """The operation giving ``name``; inputs are names, or arrays and texts (bytes) that become constants."""
    constants, names = [], {}
    for parameter, given in inputs.items():
        names[parameter] = given if isinstance(given, str) else f"{name}_{parameter}"
        if not isinstance(given, str):
            constants.append(
                build.const(names[parameter], given.decode() if isinstance(given, bytes) else given)
            )
    return [*constants, build.operation(kind, names, [(name, form)])]


@pytest.fixture
def check(tmp_path):
    """Check a package of ``operations`` giving y against an expression, on default inputs or given ones.

    ``takes`` are type and shape of the expression's inputs.
    """

    def run(operations, inputs, call, takes, given=()):
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        model = build.model([*chain(*operations)], ["y"], list(inputs.items()), opset="CoreML7")
        package = build.write(folder, model)
        example = tuple(torch.ones(shape, dtype=TYPES[kind]) for kind, shape in takes)
        torch.export.save(torch.export.export(Call(call).eval(), example), folder / "net.pt2")
        arguments = ["check", str(package), "--against", str(folder / "net.pt2"), "--json"]
        for name, array in dict(given).items():
            np.save(folder / f"{name}.npy", array)
            arguments += ["--input", f"{name}={folder / name}.npy"]
        result = CliRunner().invoke(coreml, arguments)
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        report = json.loads(result.stdout)
        assert result.exit_code == (1 if report["verdict"] == "failed" else 0)
        return report

    return run


def test_a_lost_negative_slope_fails(check):
    package = [op("relu", "y", real(1, 12), x="x")]
    takes = [("float32", (1, 12))]
    inputs = {"x": real(1, 12)}
    assert check(package, inputs, lambda x: functional.leaky_relu(x, 0.2), takes)["verdict"] == "failed"
    assert check(package, inputs, functional.relu, takes)["verdict"] == "passed"


def test_a_lost_threshold_of_softplus_fails(check):
    package = [
        op("mul", "a", real(1, 50), x="x", y=np.float32(2)),
        op("softplus", "b", real(1, 50), x="a"),
        op("mul", "y", real(1, 50), x="b", y=np.float32(0.5)),
    ]

    def softplus(x):
        return functional.softplus(x, beta=2, threshold=5)

    assert check(package, {"x": real(1, 50)}, softplus, [("float32", (1, 50))])["verdict"] == "failed"


def _norm(epsilon):
    """x / sqrt(mean(x**2) + epsilon), where epsilon is a name or a number."""
    return [
        op("square", "s", real(1, 4, 64), x="x"),
        op("reduce_mean", "m", real(1, 4, 1), x="s", axes=np.array([-1], np.int32), keep_dims=np.bool_(1)),
        op("add", "e", real(1, 4, 1), x="m", y=epsilon),
        op("rsqrt", "r", real(1, 4, 1), x="e", epsilon=np.float32(1e-12)),
        op("mul", "y", real(1, 4, 64), x="x", y="r"),
    ]


def test_an_epsilon_that_grows_with_the_largest_value_fails(check):
    axes = {"axes": np.array([0, 1, 2], np.int32), "keep_dims": np.bool_(1)}
    grown = [
        op("abs", "a", real(1, 4, 64), x="x"),
        op("reduce_max", "l", real(1, 1, 1), x="a", **axes),
        op("square", "q", real(1, 1, 1), x="l"),
        op("mul", "grown", real(1, 1, 1), x="q", y=np.float32(1e-5)),
    ]
    takes, inputs = [("float32", (1, 4, 64))], {"x": real(1, 4, 64)}

    def rms_norm(x):
        return functional.rms_norm(x, (64,), eps=1e-5)

    assert check(grown + _norm("grown"), inputs, rms_norm, takes)["verdict"] == "failed"
    right = check(_norm(np.float32(1e-5)), inputs, rms_norm, takes)
    assert right["verdict"] == "passed"
    assert right["inputs"] == ", ".join(PROBES)


@pytest.mark.parametrize(("last", "verdict"), [(9, "passed"), (8, "failed")])
@pytest.mark.parametrize("kind", ["int32", "int64"])
def test_indices_reach_every_row_that_there_is(check, last, verdict, kind):
    # Of ten rows the last alone is wrong; how many there are is found.
    table = np.arange(40, dtype=np.float32).reshape(10, 4)
    rows = table[[*range(9), last]]
    package = [op("gather", "y", real(3, 4), x=rows, indices="x", axis=np.int32(0))]

    def look_up(index):
        return functional.embedding(index, torch.from_numpy(table))

    assert check(package, {"x": whole(3)}, look_up, [(kind, (3,))])["verdict"] == verdict


def _floor_division(a, b):
    return torch.div(a, b, rounding_mode="floor")


TWO = {"a": whole(4), "b": whole(4)}
TWO_INT32 = [("int32", (4,)), ("int32", (4,))]
AS_REALS = [
    op("cast", "p", real(4), x="a", dtype=b"fp32"),
    op("cast", "q", real(4), x="b", dtype=b"fp32"),
    op("floor_div", "f", real(4), x="p", y="q"),
]


def test_whole_numbers_that_became_real_fail(check):
    package = [*AS_REALS, op("identity", "y", real(4), x="f")]
    given = {
        "a": np.array([10, -10, 16777217, 33554433], np.int32),
        "b": np.array([3, 3, 1, 1], np.int32),
    }
    report = check(package, TWO, _floor_division, TWO_INT32, given)
    assert report["outputs"]["y"]["fault"] == "type float32, the source model has int32"


def test_whole_numbers_are_compared_exactly(check):
    through_reals = [*AS_REALS, op("cast", "y", whole(4), x="f", dtype=b"int32")]
    given = {"a": np.array([16777217, 1, 2, 3], np.int32), "b": np.ones(4, np.int32)}
    report = check(through_reals, TWO, _floor_division, TWO_INT32, given)
    assert report["outputs"]["y"]["fault"] == "1 of 4 whole numbers differ"
    right = [op("floor_div", "y", whole(4), x="a", y="b")]
    assert check(right, TWO, _floor_division, TWO_INT32)["verdict"] == "passed"


def test_whole_numbers_beyond_int16_are_tried(check):
    package = [
        op("cast", "n", build.tensor_type("int16", (4,)), x="x", dtype=b"int16"),
        op("cast", "y", whole(4), x="n", dtype=b"int32"),
    ]
    assert check(package, {"x": whole(4)}, lambda x: x + 0, [("int32", (4,))])["verdict"] == "failed"


def test_nan_fails_even_where_nothing_else_is_judged(check):
    # float16 has no number as low as the mask, and 0 times its infinity is NaN.
    lowest = torch.finfo(torch.float32).min
    package = [
        op("cast", "h", half(1, 4), x="x", dtype=b"fp16"),
        op("mul", "m", half(1, 4), x="h", y=np.float16(-np.inf)),
        op("cast", "y", real(1, 4), x="m", dtype=b"fp32"),
    ]
    given = {"x": np.array([[1, 0, 0, 1]], np.float32)}
    inputs, takes = {"x": real(1, 4)}, [("float32", (1, 4))]
    report = check(package, inputs, lambda x: x * lowest, takes, given)
    assert report["verdict"] == "failed"
    assert report["tolerance"] is None
    assert report["outputs"]["y"]["fault"] == "NaN at 2 of 4 places"


def test_a_float16_package_without_a_fault_is_not_judged(check):
    package = [
        op("cast", "h", half(1, 4), x="x", dtype=b"fp16"),
        op("cast", "y", real(1, 4), x="h", dtype=b"fp32"),
    ]
    report = check(package, {"x": real(1, 4)}, lambda x: x + 0, [("float32", (1, 4))])
    assert report["verdict"] == "not judged"


def test_another_shape_of_as_many_values_fails(check):
    package = [op("reshape", "y", real(3, 4), x="x", shape=np.array([3, 4], np.int32))]
    report = check(package, {"x": real(1, 12)}, lambda x: x.reshape(2, 6), [("float32", (1, 12))])
    assert report["outputs"]["y"]["fault"] == "shape (3, 4), the source model has (2, 6)"


def test_infinity_at_the_same_places_passes(check):
    package = [
        op("sub", "a", real(1, 8), x="x", y=np.float32(0.5)),
        op("relu", "b", real(1, 8), x="a"),
        op("log", "y", real(1, 8), x="b", epsilon=np.float32(1e-45)),
    ]

    def log(x):
        return torch.log(functional.relu(x - 0.5))

    assert check(package, {"x": real(1, 8)}, log, [("float32", (1, 8))])["verdict"] == "passed"


VALUES = torch.linspace(-1, 1, 24)
TWO_MAPS, ONE_ROW = VALUES.reshape(2, 2, 3, 2), VALUES[:5].reshape(1, 1, 5)
CONVERTED = {
    "a remainder of 1 became zeros": (
        [op("sub", "y", real(1, 5), x="x", y="x")],
        (1, 5),
        lambda x: x % 1,
        "failed",
    ),
    "a reduction lost its filter": (
        [
            op(
                "upsample_bilinear",
                "y",
                real(1, 1, 4, 4),
                x="x",
                scale_factor_height=np.float32(0.25),
                scale_factor_width=np.float32(0.25),
                align_corners=np.bool_(0),
            )
        ],
        (1, 1, 16, 16),
        lambda x: functional.interpolate(x, size=(4, 4), mode="bilinear", antialias=True),
        "failed",
    ),
    "a kernel of 3 x 2": (
        [
            op(
                "conv",
                "y",
                real(1, 2, 3, 3),
                x="x",
                weight=TWO_MAPS.numpy(),
                strides=np.array([2, 2], np.int32),
                pad_type=b"custom",
                pad=np.array([1, 1, 1, 1], np.int32),
            )
        ],
        (1, 2, 5, 5),
        lambda x: functional.conv2d(x, TWO_MAPS, stride=2, padding=1),
        "passed",
    ),
    "a mean over padding": (
        [
            op(
                "avg_pool",
                "y",
                real(1, 3, 4, 3),
                x="x",
                kernel_sizes=np.array([7, 7], np.int32),
                strides=np.array([4, 4], np.int32),
                pad_type=b"custom",
                pad=np.array([3, 3, 3, 3], np.int32),
            )
        ],
        (1, 3, 16, 12),
        lambda x: functional.avg_pool2d(x, 7, 4, 3),
        "passed",
    ),
    "a transposed row": (
        [
            op(
                "conv_transpose",
                "y",
                real(1, 1, 116),
                x="x",
                weight=ONE_ROW.numpy(),
                strides=np.array([3], np.int32),
                pad_type=b"custom",
                pad=np.array([3, 3], np.int32),
            )
        ],
        (1, 1, 40),
        lambda x: functional.conv_transpose1d(x, ONE_ROW, stride=3, padding=3),
        "passed",
    ),
}


@pytest.mark.parametrize("case", CONVERTED)
def test_what_coremltools_made_of_a_module_is_judged_by_what_the_module_computes(check, case):
    package, shape, call, verdict = CONVERTED[case]
    assert check(package, {"x": real(*shape)}, call, [("float32", shape)])["verdict"] == verdict


def test_a_source_of_bytes_is_given_bytes(check):
    package = [op("mul", "y", real(1, 3, 2, 4), x="x", y=np.float32(0.5))]
    takes = [("uint8", (1, 3, 2, 4))]
    report = check(package, {"x": real(1, 3, 2, 4)}, lambda x: x.float() * 0.5, takes)
    assert report["verdict"] == "passed"
    assert report["outputs"]["y"]["largest"] == 0


def test_default_inputs_of_which_the_source_makes_nan_are_left_out_and_named(check):
    package = [op("sqrt", "y", real(1, 8), x="x")]
    report = check(package, {"x": real(1, 8)}, torch.sqrt, [("float32", (1, 8))])
    assert report["verdict"] == "passed"
    assert report["inputs"].startswith("from 0 to 1, not signed (the source model gives NaN)")


def test_a_source_that_makes_nan_of_everything_is_refused(check):
    package = [op("sqrt", "y", real(1, 8), x="x")]
    with pytest.raises(Exception, match="no default inputs suit the source model; give --input"):
        check(package, {"x": real(1, 8)}, lambda x: torch.sqrt(-1 - x * x), [("float32", (1, 8))])


def test_differences():
    assert difference("y", [1.0, 2.0], [1.0, 2.5]).relative == 0.2
    assert difference("y", [1.0], [1.0]).snr is None
    assert difference("y", [3.0], [0.0]).relative == 3.0
    same = difference("y", [-np.inf, 1.0, np.inf], [-np.inf, 1.0, np.inf])
    assert (same.fault, same.largest) == (None, 0)


@pytest.mark.parametrize(
    ("got", "expected", "fault"),
    [
        ([np.nan], [1.0], "NaN at 1 of 1 places"),
        ([np.nan], [np.nan], "the source model gives NaN at 1 of 1 places"),
        ([np.inf, 1.0], [-np.inf, 1.0], "infinite at 1 of 2 places in one of both only"),
        ([np.inf], [1e5], "infinite at 1 of 1 places in one of both only"),
        ([1, 2], [1, 3], "1 of 2 whole numbers differ"),
        ([[1.0], [2.0]], [1.0, 2.0], "shape (2, 1), the source model has (2,)"),
        ([1], [1.0], "type int64, the source model has float64"),
    ],
)
def test_what_no_tolerance_allows(got, expected, fault):
    found = difference("y", got, expected)
    assert found.fault == fault
    assert not found.passes(np.inf)
    assert not found.passes(None)


def test_a_single_number_is_an_array_of_one_and_truth_a_number():
    assert difference("y", np.ones(1), np.float64(1)).passes(0)
    assert difference("y", np.array([1, 0], np.int32), np.array([True, False])).passes(0)
