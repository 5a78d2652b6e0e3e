"""`mien coreml check` and `run`: against ONNX Runtime, against PyTorch, and what they report."""

import ctypes
import json
import re
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import tests.mobile_reference.coreml.mil_packages as build
from mien.mobile_reference.commands.coreml import coreml
from mien.mobile_reference.coreml import FLOAT32, NOT_VALIDATED, Evaluator, load_package, sources
from mien.mobile_reference.coreml.parity import difference
from mien.mobile_reference.coreml.sources import SourceModel
from mien.mobile_reference.errors import PhotographError
from tests.commands import run_mien
from tests.schemas import schema


def invoke(*arguments):
    return CliRunner().invoke(coreml, [str(a) for a in arguments])


def test_three_opinions_agree(small):
    pytest.importorskip("onnxruntime")
    (ours,) = Evaluator(load_package(small.single), FLOAT32)(x=small.x).values()
    (onnx,) = SourceModel(small.onnx)({"x": small.x})
    (exported,) = SourceModel(small.exported)({"x": small.x})
    for reference in (onnx, exported, small.expected):
        # float32 sums in three orders
        assert difference("y", ours, reference).relative <= 1e-5


@pytest.mark.parametrize("source", ["onnx", "exported"])
def test_a_float32_package_is_judged(small, source):
    result = invoke("check", small.single, "--against", getattr(small, source), "--json")
    report = json.loads(result.stdout)
    assert result.exit_code == 0
    assert report["verdict"] == "passed"
    assert report["note"] == NOT_VALIDATED
    assert schema("coreml-check").problems(report) == []
    assert 0 < report["outputs"]["y"]["relative"] <= 1e-5


def test_a_float16_package_is_shown_and_judged_only_on_demand(small):
    free = invoke("check", small.half, "--against", small.onnx, "--json")
    assert json.loads(free.stdout)["verdict"] == "not judged"
    strict = invoke("check", small.half, "--against", small.onnx, "--tolerance", "1e-6", "--json")
    assert json.loads(strict.stdout)["verdict"] == "failed"
    assert strict.exit_code == 1


def test_policies_differ_and_bracket(small):
    program = load_package(small.half)
    relative = {}
    for policy in ("float32", "float16-storage", "float16-accumulation", "ideal"):
        result = invoke("check", small.half, "--against", small.onnx, "--policy", policy, "--json")
        relative[policy] = json.loads(result.stdout)["outputs"]["y"]["relative"]
    assert program.functions["main"].opset == "CoreML6"
    assert relative["ideal"] == pytest.approx(relative["float32"], rel=0.05)
    assert relative["float16-storage"] != relative["float32"]
    assert len(set(relative.values())) == 4
    assert max(relative.values()) < 1e-2


def test_run_writes_outputs_and_a_table(small, tmp_path):
    np.save(tmp_path / "x.npy", small.x)
    result = invoke("run", small.single, "--input", tmp_path / "x.npy", "-o", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert NOT_VALIDATED in result.output
    saved = np.load(tmp_path / "out" / "0-y.npy")
    assert difference("y", saved, small.expected).relative <= 1e-5
    report = json.loads(invoke("run", small.single, "--input", tmp_path / "x.npy", "--json").stdout)
    assert schema("coreml-run").problems(report) == []


def test_run_does_not_overwrite(small, tmp_path):
    np.save(tmp_path / "x.npy", small.x)
    result = invoke("run", small.single, "--input", tmp_path / "x.npy", "-o", tmp_path)
    assert "not a folder of outputs as mien wrote it" in str(result.exception)
    for _ in range(2):  # what it wrote itself it replaces
        assert (
            invoke("run", small.single, "--input", tmp_path / "x.npy", "-o", tmp_path / "out").exit_code == 0
        )
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [".mien.json", "0-y.npy"]


@pytest.mark.parametrize(("tolerance", "left"), [("1e-5", 0), ("1e-12", 1)])
def test_check_leaves_the_command_line_with_its_verdict(small, tolerance, left):
    run_mien("coreml", "check", small.single, "--against", small.onnx, "--tolerance", tolerance, expect=left)


def test_a_source_by_which_onnxruntime_dies_is_one_line(small, monkeypatch):
    monkeypatch.setattr(SourceModel, "__init__", lambda *_: ctypes.string_at(0))
    result = invoke("check", small.single, "--against", small.onnx)
    assert f"{small.onnx}: the process was ended by SIGSEGV" in str(result.exception)


def loop(file, steps):
    """Write an .onnx file that adds 1 to x in a loop, to be compared with ``build.add_one``."""
    helper, kinds = pytest.importorskip("onnx").helper, pytest.importorskip("onnx").TensorProto
    x, y, kept, made = (helper.make_tensor_value_info(n, kinds.FLOAT, [2, 3]) for n in ("x", "y", "a", "b"))
    number, go, goes = (
        helper.make_tensor_value_info(name, kind, [])
        for name, kind in (("n", kinds.INT64), ("go", kinds.BOOL), ("goes", kinds.BOOL))
    )
    nodes = [helper.make_node("Identity", ["go"], ["goes"]), helper.make_node("Add", ["a", "one"], ["b"])]
    one = helper.make_tensor("one", kinds.FLOAT, [], [1.0])
    body = helper.make_graph(nodes, "body", [number, go, kept], [goes, made], [one])
    values = (("steps", kinds.INT64, steps), ("t", kinds.BOOL, 1))
    begun = [helper.make_tensor(name, kind, [], [value]) for name, kind, value in values]
    node = helper.make_node("Loop", ["steps", "t", "x"], ["y"], body=body)
    graph = helper.make_graph([node], "net", [x], [y], begun)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    file.write_bytes(model.SerializeToString())
    return file


@pytest.mark.parametrize("given", [False, True])
def test_a_source_that_goes_on_for_ever_is_ended(tmp_path, monkeypatch, given):
    pytest.importorskip("onnxruntime")
    package = build.write(tmp_path, build.add_one())
    np.save(tmp_path / "x.npy", np.ones((2, 3), np.float32))
    words = ["--input", tmp_path / "x.npy"] if given else []
    assert invoke("check", package, "--against", loop(tmp_path / "net.onnx", 1), *words).exit_code == 0
    monkeypatch.setattr(sources, "LEAST_SECONDS", 0.3)
    monkeypatch.setattr(SourceModel.__call__, "__defaults__", (0.3,))
    result = invoke("check", package, "--against", loop(tmp_path / "net.onnx", 1 << 40), *words)
    # With an input the limit is ten times what the package took, or more: that differs from run to run.
    assert re.search(r"'net\.onnx' took more than [\d.e+]+ s of processor time", str(result.exception))


def test_a_source_of_another_kind_is_refused(small, tmp_path):
    (tmp_path / "net.h5").write_bytes(b"")
    result = invoke("check", small.single, "--against", tmp_path / "net.h5")
    assert "neither .onnx nor .pt2" in str(result.exception)


@pytest.mark.parametrize("suffix", ["onnx", "pt2"])
def test_a_damaged_source_is_one_line(small, tmp_path, suffix):
    (tmp_path / f"net.{suffix}").write_bytes(b"not a model")
    result = invoke("check", small.single, "--against", tmp_path / f"net.{suffix}")
    assert re.search(r"cannot be executed|is not a \.pt2 file", str(result.exception))
    assert "\n" not in str(result.exception)


def test_infinities_are_texts_in_json(tmp_path):
    half = build.tensor_type("float16", (2, 3))
    operations = [build.operation("square", {"x": "x"}, [("y", half)])]
    model = build.add_one(operations=operations, inputs=[("x", half)])
    np.save(tmp_path / "x.npy", np.full((2, 3), 1000, np.float32))
    package = build.write(tmp_path, model)
    result = invoke("run", package, "--input", tmp_path / "x.npy", "--json")
    assert json.loads(result.stdout)["outputs"]["y"]["highest"] == "inf"


@pytest.fixture
def reads(tmp_path):
    """Let `run` read a picture into a package of 4 x 2 pixels that halves them."""
    tensor = build.tensor_type("float32", (1, 3, 2, 4))
    kind = build.message((1, 4), (2, 2), (3, 20))
    feature = build.message((1, "face"), (3, build.message((4, kind))))
    package = build.write(
        tmp_path,
        build.add_one(
            operations=[
                build.const("half", np.float32(0.5)),
                build.operation("mul", {"x": "face", "y": "half"}, [("y", tensor)]),
            ],
            inputs=[("face", tensor)],
            description=build.message((1, feature)),
        ),
    )

    def read(path):
        result = invoke("run", package, "--input", path, "-o", tmp_path / f"{path.stem}-seen")
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        (values,) = (tmp_path / f"{path.stem}-seen").glob("*.npy")
        return np.load(values)[0].transpose(1, 2, 0) * 2

    return read


def test_run_reads_pictures_as_appraise_does(reads, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (2, 4, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.fromarray(pixels[::-1, ::-1].copy()).save(tmp_path / "turned.png", exif=exif)
    np.testing.assert_array_equal(reads(tmp_path / "turned.png"), pixels)
    clear = np.dstack([pixels, np.zeros((2, 4), np.uint8)])
    Image.fromarray(clear).save(tmp_path / "clear.png")
    assert (reads(tmp_path / "clear.png") == 255).all()
    deep = np.arange(8, dtype=np.uint16).reshape(2, 4) * 9000
    Image.fromarray(deep).save(tmp_path / "deep.png")
    rounded = (deep.astype(int) + 128) // 257
    np.testing.assert_array_equal(reads(tmp_path / "deep.png"), np.stack([rounded] * 3, axis=2))


def test_run_refuses_a_picture_as_appraise_does(reads, tmp_path):
    (tmp_path / "face.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    with pytest.raises(PhotographError, match="but HEIC; convert it"):
        reads(tmp_path / "face.heic")


class _Trap:
    """Touches a file when unpickled."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return (Path.touch, (self.target,))


def test_a_source_that_holds_a_pickle_is_refused_and_not_executed(small, tmp_path):
    torch = pytest.importorskip("torch")
    sprung, hostile, trap = tmp_path / "sprung", tmp_path / "hostile.pt2", BytesIO()
    torch.save(_Trap(sprung), trap)
    with ZipFile(small.exported) as sound, ZipFile(hostile, "w") as copy:
        for name in sound.namelist():
            content = sound.read(name)
            if name.endswith("data/weights/model_weights_config.json"):
                config = json.loads(content)
                for payload in config["config"].values():
                    payload["use_pickle"] = True
                content = json.dumps(config).encode()
            copy.writestr(name, trap.getvalue() if "/data/weights/weight_" in name else content)
    result = invoke("check", small.single, "--against", hostile)
    assert "holds a pickle of more than tensors" in str(result.exception)
    assert not sprung.exists()
    with suppress(Exception):
        torch.export.load(hostile)
    assert sprung.exists()  # the file is hostile: torch alone springs the trap
