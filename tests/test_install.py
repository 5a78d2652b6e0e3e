"""The light install: a wheel in an environment of its own, which must rate, verify and time without torch."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.commands import PROGRAMS, ROOT

UV = PROGRAMS / "uv"


def _run(*command: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False, cwd=cwd)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def light(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment that holds the wheel and what it depends on, nothing else."""
    folder = tmp_path_factory.mktemp("light")
    _run(UV, "build", "--quiet", "--wheel", "--python", sys.executable, "--out-dir", folder, ROOT)
    (wheel,) = folder.glob("mien-*.whl")
    _run(UV, "venv", "--quiet", "--python", sys.executable, folder / "env")
    lock = ROOT / "requirements.lock"
    _run(UV, "pip", "install", "--quiet", "--python", folder / "env/bin/python", "-c", lock, wheel)
    return folder / "env" / "bin"


def test_has_neither_torch_nor_converters(light: Path) -> None:
    listed = _run(UV, "pip", "list", "--python", light / "python", "--format", "json").stdout
    names = {package["name"] for package in json.loads(listed)}
    assert "ai-edge-litert" in names
    assert not names & {"torch", "onnx", "onnx2tf", "coremltools", "tensorflow", "safetensors"}


def test_rates_verifies_and_times(light: Path, exported: Path, sample_folder: Path, tmp_path: Path) -> None:
    photo = sample_folder / "nobody-01.jpg"
    record = json.loads(_run(light / "mien", "appraise", "--json", "--bundle", exported, photo).stdout)
    assert record["error"] is None
    assert 0 <= record["score"] <= 100
    _run(light / "mien", "verify", exported)
    _run(light / "mien", "bench", exported, "--runs", "2", "-o", tmp_path / "bench.json")
    assert (tmp_path / "bench.json").is_file()


def test_the_first_minute_needs_no_bundle_and_no_option(
    light: Path, sample_folder: Path, tmp_path: Path
) -> None:
    """On a portrait that is not among the goldens."""
    photo = sample_folder / "nobody-12-cleft.jpg"
    said, picture = _run(light / "mien", "appraise", photo, cwd=tmp_path).stdout.splitlines()
    assert said.endswith("(0..100, 100 is a typical face)")
    assert picture == "picture: nobody-12-cleft.mien.png"
    assert (tmp_path / "nobody-12-cleft.mien.png").is_file()
    assert "tflite-fp16" in _run(light / "mien", "verify").stdout
    report = json.loads(_run(light / "mien", "bench", "--processes", 1, "--runs", 2, "--json").stdout)
    assert [result["variant"] for result in report["results"]] == ["tflite-fp16"]


def test_the_wheel_has_at_most_15_megabytes(light: Path) -> None:
    (wheel,) = light.parents[1].glob("mien-*.whl")
    assert wheel.stat().st_size < 15e6


@pytest.mark.parametrize(
    "command", ["appraise x.jpg --checkpoint y", "export -o bundle", "train faces -o checkpoint"]
)
def test_says_what_brings_the_rest(light: Path, command: str, tmp_path: Path) -> None:
    program = [str(light / "mien"), *command.split()]
    done = subprocess.run(program, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 2
    assert "pip install 'mien[export]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_every_command_explains_itself(light: Path) -> None:
    listed = _run(light / "mien", "--help").stdout
    for command in ("appraise", "verify", "bench", "train", "export"):
        assert command in listed
        assert "Usage: mien" in _run(light / "mien", command, "--help").stdout
