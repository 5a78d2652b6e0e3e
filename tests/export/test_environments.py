"""Environments of converters: whole, of the pinned versions, and closed to what their user has."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from multiprocessing import forkserver
from pathlib import Path

import onnx
import pytest
from onnx.helper import make_graph, make_model, make_node, make_operatorsetid, make_tensor_value_info

from mien.export import exporter
from mien.export.environments import TFLITE
from mien.export.errors import ConversionError, ExportError
from mien.export.exporter import ExportRequest, make_bundle
from mien.export.running.isolation import Limits, run_isolated, where
from mien.export.tflite.converters.onnx2tf_program import run_onnx2tf
from mien.mobile_reference.files import default_cache
from tests.export.running.test_isolation import ends

PINS = {"onnx2tf": "2.6.9", "ai-edge-litert": "2.1.2", "numpy": "2.2.6"}
REMEDY = r"delete .*/tflite-[0-9a-f]{12} and run mien setup tflite"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A graph of one operation."""
    kind = onnx.TensorProto.FLOAT
    ends = [[make_tensor_value_info(name, kind, (1, 3, 4, 4))] for name in ("x", "y")]
    graph = make_graph([make_node("Relu", ["x"], ["y"])], "graph", *ends)
    model = make_model(graph, opset_imports=[make_operatorsetid("", 17)], ir_version=8)
    onnx.save(model, str(tmp_path / "one.onnx"))
    return tmp_path / "one.onnx"


@pytest.fixture
def pretended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder in which the environment seems whole; its interpreter is still to be written."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    python = TFLITE.python(default_cache())
    python.parent.mkdir(parents=True)
    python.touch()
    (TFLITE.folder(default_cache()) / "ready").write_text(TFLITE._wanted())
    return python


def _says(python: Path, script: str) -> None:
    python.write_text(f"#!/bin/sh\n{script}\n")
    python.chmod(0o755)


def test_the_main_environment_has_no_onnx2tf() -> None:
    assert find_spec("onnx2tf") is None
    assert find_spec("onnxsim") is None


def test_it_has_the_pinned_versions_whatever_its_user_has() -> None:
    found = {package.name: package.version for package in TFLITE.packages(default_cache())}
    assert PINS.items() <= found.items()
    assert {name: TFLITE.version(name) for name in PINS} == PINS
    assert "torch" not in found


def test_no_module_of_its_user_reaches_it(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Modules of the user's that would end it at once, on every path that Python takes from outside."""
    made = run_onnx2tf(file, tmp_path / "before", tflite_backend="flatbuffer_direct").read_bytes()
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    for name in ("numpy", "torch", "onnx", "onnx2tf", "sitecustomize"):
        (theirs / f"{name}.py").write_text("raise SystemExit('of the user')")
    for name in ("PYTHONPATH", "PYTHONUSERBASE", "PYTHONHOME", "PYTHONSTARTUP"):
        monkeypatch.setenv(name, str(theirs))
    monkeypatch.chdir(theirs)
    # The name of the file is in the model.
    (tmp_path / "again").mkdir()
    again = run_onnx2tf(file, tmp_path / "again" / "before", tflite_backend="flatbuffer_direct")
    assert again.read_bytes() == made


def test_of_other_packages_or_another_python_it_is_another(monkeypatch: pytest.MonkeyPatch) -> None:
    assert TFLITE.is_ready(default_cache())
    others = replace(TFLITE, lock="litert_torch.lock")
    with pytest.raises(ExportError, match=r"tflite of these packages .* is not set up; mien setup tflite$"):
        others.checked(default_cache())
    monkeypatch.setattr(sys, "version", "3.13.99")
    assert not TFLITE.is_ready(default_cache())


def test_an_interrupted_set_up_does_not_count(pretended: Path) -> None:
    ready = TFLITE.folder(default_cache()) / "ready"
    assert TFLITE.is_ready(default_cache())
    ready.write_text("of an older version")
    assert not TFLITE.is_ready(default_cache())
    ready.unlink()
    assert not TFLITE.is_ready(default_cache())


def test_an_environment_whose_python_went_away_does_not_count(pretended: Path) -> None:
    pretended.unlink()
    assert not TFLITE.is_ready(default_cache())


def test_an_export_without_it_is_refused_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(exporter, "open_pipeline", lambda _: pytest.fail("the pipeline was opened"))
    with pytest.raises(ExportError, match=r"mien setup tflite$"):
        make_bundle(ExportRequest(None, (), tmp_path / "bundle"), lambda *_: None)
    assert not (tmp_path / "bundle").exists()


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("exit 3", f"the environment tflite is broken \\(exit 3\\); {REMEDY}"),
        ("kill -SEGV $$", "onnx2tf was ended by signal 11"),
        ("kill -XCPU $$", "processor time; allow more with --converter-cpu"),
        (
            """echo '{"error": "ModuleNotFoundError: No module named onnx2tf"}' > "$5"; exit 1""",
            f"onnx2tf cannot be used: ModuleNotFoundError: No module named onnx2tf; {REMEDY}",
        ),
        (
            """echo '{"error": "ValueError: two\\\\nlines"}' > "$5"; exit 1""",
            r"onnx2tf failed: ValueError: two \| lines",
        ),
    ],
)
def test_a_broken_one_is_told_in_one_line(file: Path, pretended: Path, script: str, said: str) -> None:
    _says(pretended, script)
    with pytest.raises(ConversionError, match=said) as raised:
        run_onnx2tf(file, file.parent / "made", tflite_backend="flatbuffer_direct")
    assert "\n" not in str(raised.value)


def test_a_reply_of_an_earlier_run_is_not_taken(file: Path, pretended: Path) -> None:
    (file.parent / "made.reply.json").write_text(json.dumps({"made": str(file)}))
    _says(pretended, "exit 1")
    with pytest.raises(ConversionError, match="is broken"):
        run_onnx2tf(file, file.parent / "made")


def _convert(cache: str, file: Path) -> None:
    os.environ["XDG_CACHE_HOME"] = cache  # the process was forked from a server with another
    run_onnx2tf(file, file.parent / "made")


def test_the_program_says_where_it_is_when_its_time_is_over(tmp_path: Path) -> None:
    program = f"""import os, pathlib, signal, sys
sys.path.append({str(Path(exporter.__file__).parent / "tflite")!r})
from onnx_to_tflite import __main__ as program
def spin(): os.kill(os.getpid(), signal.SIGXCPU)
program.TASKS = {{"spin": spin}}
program.main(pathlib.Path("reply.json"), "spin", "{{}}")
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == -signal.SIGXCPU
    assert where(done.stderr) == "; it was in <string>:4 spin"


def test_it_keeps_to_the_limits_of_a_conversion_and_ends_with_it(file: Path, pretended: Path) -> None:
    _says(pretended, f"echo $$ > {file.parent}/pid; while true; do :; done")
    task = partial(_convert, os.environ["XDG_CACHE_HOME"], file)
    with pytest.raises(ConversionError, match=r"processor time; allow more with --converter-cpu"):
        run_isolated(task, file.parent / "log", Limits(seconds=4), "tflite x")
    assert ends(int((file.parent / "pid").read_text()))


def _tell(file: Path) -> None:
    file.write_text(os.environ.get("XDG_CACHE_HOME", ""))


def test_a_conversion_has_the_environment_of_when_it_is_asked_for(
    tmp_path: Path, pretended: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The server that conversions are forked from is started here, with what is pretended.
    forkserver._forkserver._stop()
    for place in (os.environ["XDG_CACHE_HOME"], str(tmp_path / "another")):
        monkeypatch.setenv("XDG_CACHE_HOME", place)
        run_isolated(partial(_tell, tmp_path / "told"), tmp_path / "log", Limits(), "tell")
        assert (tmp_path / "told").read_text() == place
