"""Damaged or hostile packages: one typed error of one line each, and no large allocation."""

import resource
import struct

import numpy as np
import pytest
from click.testing import CliRunner

import tests.mobile_reference.coreml.mil_packages as build
from mien.mobile_reference.commands.coreml import coreml
from mien.mobile_reference.coreml import Evaluator, load_package
from mien.mobile_reference.errors import EvaluationError, MienError, PackageError, UnsupportedError

TINY = np.arange(6, dtype=np.float32).reshape(2, 3)


def with_blob(offset, dtype="float32", shape=(2, 3), file="@model_path/weights/weight.bin"):
    kind = build.tensor_type(dtype, shape)
    constant = build.const("w", build.blob_value(dtype, shape, offset, file), kind)
    add = build.operation("add", {"x": "x", "y": "w"}, [("y", build.F32)])
    return build.add_one(operations=[constant, add])


def refused(package, error, *words):
    with pytest.raises(error) as caught:
        Evaluator(load_package(package))
    text = str(caught.value)
    assert "\n" not in text
    for word in words:
        assert word in text


def test_a_sound_package_of_the_builder_runs(tmp_path):
    data, (offset,) = build.weights(TINY)
    package = build.write(tmp_path, with_blob(offset), data)
    result = Evaluator(load_package(package))(x=TINY)
    np.testing.assert_array_equal(result["y"], TINY * 2)


def test_truncated_blob(tmp_path):
    data, (offset,) = build.weights(TINY)
    refused(build.write(tmp_path, with_blob(offset), data[:-1]), PackageError, "cut short")


def test_blob_shorter_than_its_header(tmp_path):
    refused(build.write(tmp_path, with_blob(64), b"\0" * 10), PackageError, "10 bytes")


def test_blob_of_another_version(tmp_path):
    data, (offset,) = build.weights(TINY)
    other = struct.pack("<II", 1, 3) + data[8:]
    refused(build.write(tmp_path, with_blob(offset), other), PackageError, "version 3")


@pytest.mark.parametrize("offset", [0, 1, 65, 128, 2**62])
def test_offset_of_no_record(tmp_path, offset):
    data, _ = build.weights(TINY)
    refused(build.write(tmp_path, with_blob(offset), data), PackageError, f"offset {offset}")


def test_record_without_its_mark(tmp_path):
    data, (offset,) = build.weights(TINY)
    broken = data[:offset] + b"\0\0\0\0" + data[offset + 4 :]
    refused(build.write(tmp_path, with_blob(offset), broken), PackageError, "mark is missing")


def test_record_that_points_at_itself(tmp_path):
    data, (offset,) = build.weights(TINY)
    broken = data[: offset + 16] + struct.pack("<Q", 0) + data[offset + 24 :]
    refused(build.write(tmp_path, with_blob(offset), broken), PackageError, "names bytes 0")


def test_record_of_another_type(tmp_path):
    data, (offset,) = build.weights(TINY.astype(np.float16))
    refused(build.write(tmp_path, with_blob(offset), data), PackageError, "declares fp32")


def test_record_of_another_size(tmp_path):
    data, (offset,) = build.weights(TINY[:1])
    refused(build.write(tmp_path, with_blob(offset), data), PackageError, "12 bytes", "24")


def test_missing_weight_file(tmp_path):
    refused(build.write(tmp_path, with_blob(64)), PackageError, "missing")


@pytest.mark.parametrize("file", ["@model_path/../../../../etc/hostname", "/etc/hostname"])
def test_weight_file_outside_the_package(tmp_path, file):
    (tmp_path / "outside.bin").write_bytes(b"\0" * 64)
    refused(build.write(tmp_path, with_blob(64, file=file)), PackageError)


def test_weight_file_that_is_a_link_to_the_outside(tmp_path):
    data, (offset,) = build.weights(TINY)
    package = build.write(tmp_path, with_blob(offset))
    outside = tmp_path / "outside.bin"
    outside.write_bytes(data)
    (package / "Data/com.apple.CoreML/weights/weight.bin").symlink_to(outside)
    refused(package, PackageError, "leaves the package")


@pytest.mark.parametrize("path", ["../../other.mlmodel", "/etc/hostname", "a/../../../x"])
def test_manifest_that_leaves_the_package(tmp_path, path):
    (tmp_path / "other.mlmodel").write_bytes(build.add_one())
    manifest = {"itemInfoEntries": {"a": {"path": path}}, "rootModelIdentifier": "a"}
    package = build.write(tmp_path, build.add_one(), manifest=manifest)
    refused(package, PackageError, "leaves the package")


@pytest.mark.parametrize(
    "manifest",
    [
        [],
        {},
        {"itemInfoEntries": {}, "rootModelIdentifier": "a"},
        {"itemInfoEntries": {"a": {"path": 3}}, "rootModelIdentifier": "a"},
        {"itemInfoEntries": {"a": 3}, "rootModelIdentifier": "a"},
    ],
)
def test_manifest_without_a_model(tmp_path, manifest):
    refused(build.write(tmp_path, build.add_one(), manifest=manifest), PackageError, "Manifest")


def test_manifest_that_is_no_json(tmp_path):
    package = build.write(tmp_path, build.add_one())
    (package / "Manifest.json").write_bytes(b'{"itemInfo')
    refused(package, PackageError, "not JSON")


def test_manifest_too_large(tmp_path):
    package = build.write(tmp_path, build.add_one())
    (package / "Manifest.json").write_bytes(b" " * (2**20 + 1))
    refused(package, PackageError, "bytes")


def test_no_folder(tmp_path):
    refused(tmp_path / "absent.mlpackage", PackageError, "not a folder")


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_truncated_model(tmp_path, cut):
    whole = build.add_one()
    refused(build.write(tmp_path, whole[:-cut]), PackageError)


@pytest.mark.parametrize("junk", [b"\xff" * 64, b"\x00\x01", b"PK\x03\x04zip", b"\x0b\x0b"])
def test_model_that_is_no_protobuf(tmp_path, junk):
    refused(build.write(tmp_path, junk), PackageError)


def test_empty_model(tmp_path):
    refused(build.write(tmp_path, b""), PackageError, "0 bytes")


def test_neural_network_of_the_old_format(tmp_path):
    old = build.message((1, 4), (500, build.message((1, b""))))
    refused(build.write(tmp_path, old), PackageError, "NeuralNetwork", "mlprogram")


def test_unknown_data_type(tmp_path):
    strange = build.tensor_type(99, (2, 3))
    package = build.write(tmp_path, build.add_one(inputs=[("x", strange)]))
    refused(package, PackageError, "data type 99")


@pytest.mark.parametrize("shape", [(2**40,), (2**20, 2**20), (2**63,), (2**31, 2**31, 2**31)])
def test_absurd_shape(tmp_path, shape):
    huge = build.tensor_type("float32", shape)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    package = build.write(tmp_path, build.add_one(inputs=[("x", huge)]))
    refused(package, PackageError, "elements")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024  # KiB


def test_absurd_rank(tmp_path):
    deep = build.tensor_type("float32", (1,) * 40)
    refused(build.write(tmp_path, build.add_one(inputs=[("x", deep)])), PackageError, "rank 40")


def test_absurd_shape_at_run_time(tmp_path):
    unknown = build.tensor_type("float32", (None, None))
    operations = [
        build.const("reps", np.array([2**20, 2**20], dtype=np.int32)),
        build.operation("tile", {"x": "x", "reps": "reps"}, [("y", unknown)]),
    ]
    evaluator = Evaluator(load_package(build.write(tmp_path, build.add_one(operations=operations))))
    with pytest.raises(EvaluationError, match="is asked for"):
        evaluator(x=TINY)


def test_constant_with_too_few_elements(tmp_path):
    short = build.message(
        (2, build.F32), (3, build.message((1, build.message((1, build.message((1, b"\0" * 4)))))))
    )
    operations = [build.const("one", short, build.F32)]
    package = build.write(tmp_path, build.add_one(operations=operations, outputs=["one"]))
    refused(package, PackageError, "1 elements")


def test_constant_of_another_type_than_declared(tmp_path):
    operations = [build.const("one", np.float32(1), build.tensor_type("int32", ()))]
    package = build.write(tmp_path, build.add_one(operations=operations, outputs=["one"]))
    refused(package, EvaluationError, "'one' has type float32")


def test_constant_without_a_value(tmp_path):
    empty = build.message((1, "const"), (3, build.named_type("one", build.F32)))
    package = build.write(tmp_path, build.add_one(operations=[empty], outputs=["one"]))
    refused(package, PackageError, "'one' has no value")


def test_a_name_that_would_break_a_message(tmp_path):
    operations = [build.operation("relu", {"x": "x"}, [("y\n\x1b[2J", build.F32)])]
    package = build.write(tmp_path, build.add_one(operations=operations))
    refused(package, PackageError, "cannot be printed")


@pytest.mark.parametrize("seed", range(300))
def test_random_faults_in_the_bytes_are_refused_or_harmless(tmp_path, seed):
    generator = np.random.default_rng(seed)
    raw = bytearray(build.add_one())
    for _ in range(generator.integers(1, 4)):
        raw[generator.integers(len(raw))] = generator.integers(256)
    try:
        Evaluator(load_package(build.write(tmp_path, bytes(raw))))(x=TINY)
    except MienError as error:
        assert "\n" not in str(error)  # noqa: PT017  harmless faults raise nothing


def test_dangling_name(tmp_path):
    add = build.operation("add", {"x": "x", "y": "ghost"}, [("y", build.F32)])
    package = build.write(tmp_path, build.add_one(operations=[add]))
    refused(package, PackageError, "'ghost'", "nothing before it defines")


def test_cycle(tmp_path):
    operations = [
        build.operation("add", {"x": "x", "y": "b"}, [("a", build.F32)]),
        build.operation("add", {"x": "x", "y": "a"}, [("b", build.F32)]),
    ]
    package = build.write(tmp_path, build.add_one(operations=operations, outputs=["b"]))
    refused(package, PackageError, "'b'", "nothing before it defines")


def test_name_defined_twice(tmp_path):
    relu = build.operation("relu", {"x": "x"}, [("y", build.F32)])
    package = build.write(tmp_path, build.add_one(operations=[relu, relu]))
    refused(package, PackageError, "defined 2 times")


def test_output_that_nothing_defines(tmp_path):
    refused(build.write(tmp_path, build.add_one(outputs=["z"])), PackageError, "'z'")


def test_all_that_is_missing_is_listed_before_anything_runs(tmp_path):
    operations = [
        build.operation("frobnicate", {"x": "x"}, [("a", build.F32)]),
        build.operation("relu", {"x": "a", "slope": "x"}, [("b", build.F32)]),
        build.operation("conv", {"x": "b"}, [("c", build.F32)]),
        build.operation("unheard_of", {}, [("y", build.F32)]),
    ]
    package = build.write(tmp_path, build.add_one(operations=operations))
    words = ("'frobnicate'", "'slope' of 'relu'", "parameter 'weight'", "'unheard_of'")
    refused(package, UnsupportedError, *words, "nothing was executed")


def test_unknown_opset(tmp_path):
    package = build.write(tmp_path, build.add_one(opset="CoreML99"))
    refused(package, UnsupportedError, "CoreML99")


def test_function_without_a_body_for_its_opset(tmp_path):
    function = build.message((2, "CoreML6"), build.entry(3, "CoreML5", b""))
    program = build.message((1, 1), build.entry(2, "main", function))
    package = build.write(tmp_path, build.message((1, 6), (502, program)))
    refused(package, PackageError, "no body")


@pytest.mark.parametrize(
    ("kind", "word"),
    [(build.tensor_type("float32", (3, 2)), "shape"), (build.tensor_type("int32", (2, 3)), "type")],
)
def test_result_other_than_declared(tmp_path, kind, word):
    operations = [build.operation("relu", {"x": "x"}, [("y", kind)])]
    package = build.write(tmp_path, build.add_one(operations=operations))
    with pytest.raises(EvaluationError, match=word):
        Evaluator(load_package(package))(x=TINY)


def test_operation_that_cannot_take_its_inputs(tmp_path):
    operations = [
        build.const("w", np.zeros((5, 7), dtype=np.float32)),
        build.operation("matmul", {"x": "x", "y": "w"}, [("y", build.F32)]),
    ]
    package = build.write(tmp_path, build.add_one(operations=operations))
    with pytest.raises(EvaluationError, match="'matmul' giving 'y'") as caught:
        Evaluator(load_package(package))(x=TINY)
    assert "\n" not in str(caught.value)


def test_deep_nesting(tmp_path):
    kind = build.F32
    for _ in range(200):
        kind = build.message((5, build.message((1, kind))))
    package = build.write(tmp_path, build.add_one(inputs=[("x", kind)]))
    refused(package, PackageError, "deeper")


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({}, "missing"),
        ({"x": TINY, "z": TINY}, "no input"),
        ({"x": TINY.T}, "shape"),
        ({"x": TINY.astype(np.int32)}, "type int32"),
    ],
)
def test_wrong_inputs(tmp_path, inputs, words):
    evaluator = Evaluator(load_package(build.write(tmp_path, build.add_one())))
    with pytest.raises(EvaluationError, match=words):
        evaluator(**inputs)


def test_the_command_line_gives_one_line_and_exit_code_two(tmp_path, monkeypatch):
    from mien.mobile_reference.commands import console

    data, (offset,) = build.weights(TINY)
    package = build.write(tmp_path, with_blob(offset), data[:-1])
    monkeypatch.setattr("sys.argv", ["mien"])
    with pytest.raises(SystemExit) as stopped:
        console.main(["coreml", "run", str(package), "--input", "x.npy"])
    assert stopped.value.code == 2


def test_the_command_line_refuses_a_pickle(tmp_path):
    package = build.write(tmp_path, build.add_one())
    np.save(tmp_path / "x.npy", np.array([{}], dtype=object), allow_pickle=True)
    result = CliRunner().invoke(
        coreml, ["run", str(package), "--input", str(tmp_path / "x.npy"), "-o", str(tmp_path / "o")]
    )
    assert "not an array" in str(result.exception)
    assert not (tmp_path / "o").exists()
