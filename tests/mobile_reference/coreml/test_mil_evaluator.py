"""What the evaluator promises beyond single operations."""

import subprocess
import sys
from types import FunctionType

import numpy as np
import pytest

import mien.mobile_reference.coreml as mil
import tests.mobile_reference.coreml.mil_packages as build
from mien.mobile_reference.coreml import (
    FLOAT32,
    IDEAL,
    Evaluator,
    NumpyArithmetic,
    load_package,
    policy_named,
)
from mien.mobile_reference.coreml.check import check_function
from mien.mobile_reference.coreml.ops.activation import relu
from mien.mobile_reference.coreml.registry import OPERATIONS, OPSETS, Rounding, register
from mien.mobile_reference.errors import EvaluationError, UsageError

TINY = np.arange(6, dtype=np.float32).reshape(2, 3)
ONE = build.tensor_type("float32", ())
INT = build.tensor_type("int32", ())
BOOL = build.tensor_type("bool", ())


def load(tmp_path, **changes):
    return load_package(build.write(tmp_path, build.add_one(**changes)))


def run(tmp_path, given, **changes):
    return Evaluator(load(tmp_path, **changes))(**given)


def test_every_public_name_exists_and_is_documented():
    for name in mil.__all__:
        public = getattr(mil, name)
        if isinstance(public, type | FunctionType):
            assert public.__doc__, name


def test_an_operation_cannot_be_registered_twice():
    with pytest.raises(ValueError, match="registered twice"):
        register("relu", relu, Rounding.ONCE)


def test_the_table_covers_every_operation_and_parameter_of_coremltools():
    pytest.importorskip("torch")  # before coremltools: the other order can crash
    pytest.importorskip("coremltools")
    from coremltools.converters.mil.mil.ops.registry import SSAOpRegistry

    # "const" is not a row of the table; symbolic constants and the blocks of control flow are no
    # parameters of a saved program.
    ours = {(name, opset): set(spec.parameters) for (name, opset), spec in OPERATIONS.items()}
    for name, versions in SSAOpRegistry.core_ops.items():
        for target, operation in versions.items():
            opset = f"CoreML{int(target) - 1}"
            if opset in OPSETS and name not in ("const", "_const_symbolic"):
                theirs = {p for p in operation.input_spec.input_types if not p.startswith("_")}
                assert theirs <= ours[name, opset], (name, opset)
    assert len(SSAOpRegistry.core_ops) == 168


def test_reading_needs_neither_torch_nor_coremltools(tmp_path):
    package = build.write(tmp_path, build.add_one())
    script = (
        "import sys\n"
        "sys.modules['torch'] = None\n"
        "import numpy as np\n"
        "from mien.mobile_reference.coreml import Evaluator, load_package\n"
        "x = np.zeros((2, 3), dtype=np.float32)\n"
        "assert Evaluator(load_package(sys.argv[1]))(x=x)['y'].sum() == 6\n"
        "assert not {'coremltools', 'google.protobuf'} & sys.modules.keys()\n"
    )
    subprocess.run([sys.executable, "-c", script, str(package)], check=True)


def test_the_observer_sees_every_result_by_name(tmp_path):
    operations = [
        build.const("one", np.float32(1)),
        build.operation("add", {"x": "x", "y": "one"}, [("a", build.F32)]),
        build.operation("square", {"x": "a"}, [("y", build.F32)]),
    ]
    seen = {}
    program = load(tmp_path, operations=operations)
    Evaluator(program, observer=seen.__setitem__)(x=TINY)
    assert list(seen) == ["a", "y"]
    np.testing.assert_array_equal(seen["a"], TINY + 1)


def test_what_follows_from_constants_is_computed_once(tmp_path):
    operations = [
        build.const("one", np.float32(1)),
        build.operation("exp", {"x": "one"}, [("e", ONE)]),
        build.operation("mul", {"x": "x", "y": "e"}, [("y", build.F32)]),
    ]
    seen = {}
    evaluator = Evaluator(load(tmp_path, operations=operations), observer=seen.__setitem__)
    evaluator(x=TINY)
    assert list(seen) == ["y"]
    assert evaluator.constants.keys() == {"e"}


@pytest.mark.parametrize("arithmetic", [None, NumpyArithmetic()])
def test_a_linear_layer_may_have_weights_of_another_type(tmp_path, arithmetic):
    weight, bias = np.array([[1, 2, 3], [4, 5, 6]], np.float16), np.array([0.5, -0.5], np.float16)
    operations = [
        build.const("weight", weight),
        build.const("bias", bias),
        build.operation(
            "linear",
            {"x": "x", "weight": "weight", "bias": "bias"},
            [("y", build.tensor_type("float32", (2, 2)))],
        ),
    ]
    program = load(tmp_path, operations=operations, opset="CoreML7")
    found = Evaluator(program, arithmetic=arithmetic)(x=TINY)["y"]
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, TINY @ weight.T.astype(np.float32) + bias)


def branch(result):
    add = build.operation("add", {"x": "big", "y": result}, [(f"sum_{result}", build.F32)])
    return build.block([add], [f"sum_{result}"])


def test_values_that_only_nested_blocks_use_stay_alive(tmp_path):
    operations = [
        build.const("zero", np.float32(0)),
        build.const("limit", np.float32(3)),
        build.operation("square", {"x": "x"}, [("big", build.F32)]),
        build.operation("relu", {"x": "big"}, [("other", build.F32)]),
        build.operation("reduce_max", {"x": "other"}, [("most", ONE)]),
        build.operation("greater", {"x": "most", "y": "limit"}, [("test", BOOL)]),
        build.operation("cond", {"pred": "test"}, [("y", build.F32)], [branch("x"), branch("zero")]),
    ]
    result = run(tmp_path, {"x": TINY}, operations=operations)
    np.testing.assert_array_equal(result["y"], TINY**2 + TINY)
    small = run(tmp_path / "2", {"x": TINY * 0.1}, operations=operations)
    np.testing.assert_allclose(small["y"], (TINY * 0.1) ** 2, rtol=1e-6)


def loop(body_operations):
    check = build.operation("less", {"x": "i_c", "y": "five"}, [("more", BOOL)])
    return [
        build.const("five", np.int32(5)),
        build.const("step", np.int32(1)),
        build.const("start", np.int32(0)),
        build.operation(
            "while_loop",
            {"loop_vars": ["start", "x"]},
            [("count", INT), ("y", build.F32)],
            [
                build.block([check], ["more"], [("i_c", INT), ("v_c", build.F32)]),
                build.block(body_operations, ["i_n", "v_n"], [("i_b", INT), ("v_b", build.F32)]),
            ],
        ),
    ]


def test_loops_and_captured_values(tmp_path):
    body = [
        build.operation("add", {"x": "i_b", "y": "step"}, [("i_n", INT)]),
        build.operation("add", {"x": "v_b", "y": "x"}, [("v_n", build.F32)]),
    ]
    result = run(tmp_path, {"x": TINY}, operations=loop(body), outputs=["count", "y"])
    assert result["count"] == 5
    np.testing.assert_array_equal(result["y"], TINY * 6)


def test_a_loop_without_end_is_an_error(tmp_path, monkeypatch):
    from mien.mobile_reference.coreml.ops import control

    monkeypatch.setattr(control, "MAX_TURNS", 100)
    body = [
        build.operation("identity", {"x": "i_b"}, [("i_n", INT)]),
        build.operation("identity", {"x": "v_b"}, [("v_n", build.F32)]),
    ]
    with pytest.raises(EvaluationError, match="did not end after 100"):
        run(tmp_path, {"x": TINY}, operations=loop(body), outputs=["y"])


def image_description(colour, width=4, height=2):
    kind = build.message((1, width), (2, height), (3, colour))
    feature = build.message((1, "face"), (3, build.message((4, kind))))
    output = build.message((1, "y"), (3, build.message((4, kind))))
    return build.message((1, feature), (10, output))


def image_package(tmp_path, colour, channels):
    tensor = build.tensor_type("float32", (1, channels, 2, 4))
    operations = [
        build.const("half", np.float32(0.5)),
        build.operation("mul", {"x": "face", "y": "half"}, [("y", tensor)]),
    ]
    return build.write(
        tmp_path,
        build.add_one(
            operations=operations,
            inputs=[("face", tensor)],
            description=image_description(colour),
        ),
    )


@pytest.mark.parametrize(("colour", "order"), [(20, [0, 1, 2]), (30, [2, 1, 0])])
def test_pictures_go_in_and_out_in_rgb(tmp_path, colour, order):
    pixels = np.random.default_rng(0).integers(0, 256, (2, 4, 3), dtype=np.uint8)
    seen = {}
    program = load_package(image_package(tmp_path, colour, 3))
    evaluator = Evaluator(program, observer=seen.__setitem__)
    result = evaluator(face=pixels)["y"]
    np.testing.assert_array_equal(seen["y"][0].transpose(1, 2, 0), pixels[..., order] * 0.5)
    assert result.dtype == np.uint8
    np.testing.assert_array_equal(result, np.rint(pixels * 0.5))


def test_grey_pictures(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (2, 4), dtype=np.uint8)
    result = Evaluator(load_package(image_package(tmp_path, 10, 1)))(face=pixels)["y"]
    np.testing.assert_array_equal(result, np.rint(pixels * 0.5))


@pytest.mark.parametrize(
    ("picture", "words"),
    [
        (np.zeros((2, 4), np.uint8), "shape"),
        (np.zeros((2, 4, 3), np.float32), "uint8"),
        (np.zeros((4, 2, 3), np.uint8), "height and width"),
    ],
)
def test_pictures_of_another_form_are_refused(tmp_path, picture, words):
    with pytest.raises(EvaluationError, match=words):
        Evaluator(load_package(image_package(tmp_path, 20, 3)))(face=picture)


def flexible_description(flexibility):
    kind = build.message((1, build.varint(2) + build.varint(3)), (2, 65568), flexibility)
    return build.message((1, build.message((1, "x"), (3, build.message((5, kind))))))


ENUMERATED = (21, build.message((1, build.message((1, build.varint(4) + build.varint(3))))))
RANGES = (
    31,
    build.message((1, build.message((1, 1), (2, 4))), (1, build.message((1, 3), (2, 2**64 - 1)))),
)


@pytest.mark.parametrize(
    ("flexibility", "good", "bad"),
    [
        (ENUMERATED, [(2, 3), (4, 3)], [(3, 3), (4, 2)]),
        (RANGES, [(1, 3), (4, 99)], [(5, 3), (2, 2)]),
    ],
)
def test_flexible_shapes(tmp_path, flexibility, good, bad):
    unknown = build.tensor_type("float32", (None, None))
    program = load(
        tmp_path,
        inputs=[("x", unknown)],
        operations=[build.operation("relu", {"x": "x"}, [("y", unknown)])],
        description=flexible_description(flexibility),
    )
    evaluator = Evaluator(program)
    for shape in good:
        assert evaluator(x=np.ones(shape, np.float32))["y"].shape == shape
    for shape in bad:
        with pytest.raises(EvaluationError, match="allowed"):
            evaluator(x=np.ones(shape, np.float32))


def test_several_functions(tmp_path):
    def function(number):
        operations = [
            build.const("n", np.float32(number)),
            build.operation("add", {"x": "x", "y": "n"}, [("y", build.F32)]),
        ]
        body = build.block(operations, ["y"])
        return build.message(
            (1, build.named_type("x", build.F32)), (2, "CoreML8"), build.entry(3, "CoreML8", body)
        )

    program = build.message((1, 1), build.entry(2, "one", function(1)), build.entry(2, "two", function(2)))
    package = build.write(tmp_path, build.message((1, 9), (2, build.message((21, "two"))), (502, program)))
    loaded = load_package(package)
    assert Evaluator(loaded)(x=TINY)["y"][0, 0] == 2
    assert Evaluator(loaded, function="one")(x=TINY)["y"][0, 0] == 1
    with pytest.raises(UsageError, match="one, two"):
        Evaluator(loaded, function="three")


def test_classifiers(tmp_path):
    texts = [build.value(name) for name in ("cat", "dog", "cow")]
    content = build.message((3, build.message(*((1, text) for text in texts))))
    string = build.tensor_type("string", ())
    list_type = build.message((2, build.message((1, string), (2, build.message((1, b""))))))
    classes = build.message((2, list_type), (3, content))
    row = build.tensor_type("float32", (1, 3))
    scores = build.message((4, build.message((1, string), (2, ONE))))
    operations = [
        build.const("names", classes, list_type),
        build.operation("softmax", {"x": "x"}, [("p", row)]),
        build.operation(
            "classify",
            {"probabilities": "p", "classes": "names"},
            [("label", string), ("scores", scores)],
        ),
    ]
    result = run(
        tmp_path,
        {"x": np.array([[0, 2, 1]], np.float32)},
        operations=operations,
        inputs=[("x", row)],
        outputs=["label", "scores"],
    )
    assert result["label"] == "dog"
    assert list(result["scores"]) == ["cat", "dog", "cow"]
    assert sum(result["scores"].values()) == pytest.approx(1)


def test_states_outlive_a_prediction(tmp_path):
    state = build.message((5, build.message((1, build.F32))))
    operations = [
        build.operation("read_state", {"input": "memory"}, [("old", build.F32)]),
        build.operation("add", {"x": "old", "y": "x"}, [("y", build.F32)]),
        build.operation("write_state", {"input": "memory", "data": "y"}, []),
    ]
    program = load(
        tmp_path,
        operations=operations,
        inputs=[("x", build.F32), ("memory", state)],
        opset="CoreML8",
    )
    evaluator = Evaluator(program)
    memory = evaluator.new_state()
    assert evaluator(state=memory, x=TINY)["y"].sum() == TINY.sum()
    assert evaluator(state=memory, x=TINY)["y"].sum() == 2 * TINY.sum()
    assert evaluator(state=evaluator.new_state(), x=TINY)["y"].sum() == TINY.sum()
    with pytest.raises(EvaluationError, match="takes"):
        evaluator(x=TINY)


def test_policies_store_and_round(tmp_path):
    half = build.tensor_type("float16", (2, 3))
    operations = [
        build.const("third", np.float16(1 / 3)),
        build.operation("mul", {"x": "x", "y": "third"}, [("y", half)]),
    ]
    program = load(tmp_path, operations=operations, inputs=[("x", half)])
    third = np.float16(1 / 3)
    declared = Evaluator(program)(x=TINY)["y"]
    np.testing.assert_array_equal(declared, TINY.astype(np.float16) * third)
    single = Evaluator(program, FLOAT32)(x=TINY)["y"]
    assert single.dtype == np.float32
    np.testing.assert_array_equal(single, TINY * np.float32(third))
    ideal = Evaluator(program, IDEAL, NumpyArithmetic())(x=TINY)["y"]
    np.testing.assert_array_equal(ideal, TINY.astype(np.float64) * np.float64(third))
    with pytest.raises(UsageError, match="float16-storage"):
        policy_named("exact")


def test_float16_overflow_is_infinite(tmp_path):
    half = build.tensor_type("float16", (2, 3))
    operations = [build.operation("square", {"x": "x"}, [("y", half)])]
    program = load(tmp_path, operations=operations, inputs=[("x", half)])
    assert np.isinf(Evaluator(program)(x=TINY * 100)["y"][1, 2])


def test_the_same_inputs_give_the_same_bytes(small):
    program = load_package(small.half)
    runs = [Evaluator(program)(x=small.x)["y"].tobytes() for _ in range(2)]
    assert runs[0] == runs[1]


def test_numpy_alone_gives_the_same_answers(small):
    program = load_package(small.single)
    plain = Evaluator(program, FLOAT32, NumpyArithmetic())(x=small.x)["y"]
    # float32 sums in another order
    np.testing.assert_allclose(plain, Evaluator(program, FLOAT32)(x=small.x)["y"], rtol=1e-5)


def test_check_is_silent_on_a_sound_function(small):
    assert check_function(load_package(small.single).functions["main"]) is None
