"""Instructions of single models: real counts, and the bridge by which export asks for them."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from mien.benchmarks.emulation.sysroot import Sysroot
from mien.export.compare.instructions import count_instructions
from tests.benchmarks.targets.test_bench_arm64 import needs_emulator
from tests.benchmarks.tinymodels import Maker, heatmap

SETUP = "run 'mien setup arm64'"


def scaled(file: Path, dtype: str = "float32") -> Path:
    """One multiplication of 64 x 64 x 8 values by a float, or by an integer that is not uint8."""
    maker = Maker()
    source = maker.tensor("x", [1, 64, 64, 8], dtype)
    factor = maker.constant("factor", np.array([3], dtype))
    options = schema.MulOptionsT()
    target = maker.tensor("y", [1, 64, 64, 8], dtype)
    operator = schema.BuiltinOperator
    maker.add(operator.MUL, [source, factor], target, schema.BuiltinOptions.MulOptions, options)
    return maker.write(file, [source], [target])


def divided(file: Path) -> Path:
    """A division by zero of integers, at which LiteRT stops."""
    maker = Maker()
    source = maker.tensor("x", [4], "int32")
    zero = maker.constant("zero", np.zeros(4, np.int32))
    options = schema.DivOptionsT()
    operator = schema.BuiltinOperator
    target = maker.tensor("y", [4], "int32")
    maker.add(operator.DIV, [source, zero], target, schema.BuiltinOptions.DivOptions, options)
    return maker.write(file, [source], [target])


def count(*arguments: object, expect: int = 0) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mien.benchmarks.emulation.count", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == expect, done.stderr
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture
def user_cache(sysroot: Sysroot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let the set-up emulation lie where a user's does."""
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache/mien").symlink_to(sysroot.folder.parent)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache/mien"


@needs_emulator
def test_a_model_that_crashes_costs_itself_alone(sysroot: Sysroot, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.tflite"
    damaged.write_bytes(heatmap(tmp_path / "whole.tflite").read_bytes()[:700])
    models = [scaled(tmp_path / "a.tflite"), divided(tmp_path / "b.tflite"), damaged]
    models.append(heatmap(tmp_path / "c.tflite"))
    done = count(*models, "--cache", sysroot.folder.parent, "--json", expect=1)
    found = json.loads(done.stdout)
    assert [one["model"] for one in found] == [str(model) for model in models]
    assert [one["instructions"] is None for one in found] == [False, True, True, False]
    # Four products in each NEON instruction at best; the rest is how it is called.
    assert 64 * 64 * 8 / 4 < found[0]["instructions"] < 10_000_000
    # 128 x 128 outputs of 27 x 8 products, four in each instruction at best.
    assert found[3]["instructions"] > 128 * 128 * 27 * 8 / 4 > found[0]["instructions"]
    assert "b.tflite ended with" in found[1]["reason"]
    assert found[1]["reason"] in done.stderr


@needs_emulator
def test_a_face_of_bytes_is_given_to_models_of_bytes_and_of_floats(user_cache: Path, tmp_path: Path) -> None:
    face = tmp_path / "x.npy"
    np.save(face, np.full((1, 64, 64, 8), 7, np.uint8))
    models = {"float32": scaled(tmp_path / "float.tflite")}
    models["int8"] = scaled(tmp_path / "int8.tflite", "int8")
    models["none"] = divided(tmp_path / "divided.tflite")
    found = count_instructions(models, face)
    assert list(found) == list(models)
    counted = found["float32"]
    assert counted.count is not None
    assert counted.count > 64 * 64 * 8 / 4
    assert counted.reason == ""
    # What could lose values is not done silently.
    assert found["int8"].count is None
    assert "Cannot cast" in found["int8"].reason
    assert found["none"].count is None


@needs_emulator
def test_the_table_has_the_count(sysroot: Sysroot, tmp_path: Path) -> None:
    out = count(scaled(tmp_path / "good.tflite"), "--cache", sysroot.folder.parent).stdout
    assert "no time" in out
    (row,) = (line for line in out.splitlines() if "good.tflite" in line)
    assert int(row.replace("\u2502", " ").split()[1].replace(",", "")) > 64 * 64 * 8 / 4


def test_without_the_emulation_the_bridge_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    np.save(tmp_path / "x.npy", np.zeros(1, np.uint8))
    model = scaled(tmp_path / "model.tflite")
    (found,) = count_instructions({"one": model}, tmp_path / "x.npy").values()
    assert found.count is None
    assert SETUP in found.reason
    assert not found.reason.startswith("mien:")
    assert count_instructions({}, tmp_path / "x.npy") == {}


def test_wrong_use_is_told_in_one_line(tmp_path: Path) -> None:
    model = scaled(tmp_path / "model.tflite")
    assert SETUP in count(model, "--cache", tmp_path, expect=2).stderr
    (tmp_path / "x.npy").write_bytes(b"no array")
    assert "give a .npy file" in count(model, "--input", tmp_path / "x.npy", expect=2).stderr
    np.save(tmp_path / "x.npy", np.array([{}], dtype=object))
    assert "give a .npy file" in count(model, "--input", tmp_path / "x.npy", expect=2).stderr
    assert "does not exist" in count(tmp_path / "none.tflite", expect=2).stderr
