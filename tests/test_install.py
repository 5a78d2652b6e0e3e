"""The light install: a wheel in an environment of its own, which must rate, verify and time without torch."""

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.commands import PROGRAMS, ROOT

UV = PROGRAMS / "uv"
LITERT = "ai-edge-litert"


def _run(*command: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False, cwd=cwd)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    _run(UV, "build", "--quiet", "--wheel", "--python", sys.executable, "--out-dir", folder, ROOT)
    (built,) = folder.glob("mien-*.whl")
    return built


@pytest.fixture(scope="module")
def light(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment that holds the wheel and what it depends on, nothing else."""
    return _installed(wheel, ROOT / "requirements.lock", tmp_path_factory.mktemp("light"))


def _installed(wheel: Path | str, lock: Path, folder: Path, python: str = sys.executable) -> Path:
    _run(UV, "venv", "--quiet", "--python", python, folder / "env")
    _run(UV, "pip", "install", "--quiet", "--python", folder / "env/bin/python", "-c", lock, wheel)
    return folder / "env" / "bin"


def test_has_neither_torch_nor_converters(light: Path) -> None:
    listed = _run(UV, "pip", "list", "--python", light / "python", "--format", "json").stdout
    names = {package["name"] for package in json.loads(listed)}
    assert LITERT in names
    assert not names & {"torch", "onnx", "onnx2tf", "coremltools", "tensorflow", "safetensors"}


def test_rates_verifies_and_times(light: Path, exported: Path, sample_folder: Path, tmp_path: Path) -> None:
    photo = sample_folder / "nobody-01.jpg"
    record = json.loads(_run(light / "mien", "appraise", "--json", "--bundle", exported, photo).stdout)
    assert record["error"] is None
    assert 0 <= record["score"] <= 100
    # Palettes, and activations of int8. All variants are judged in tests/export/test_bundle.py.
    chosen = ("--variant", "tflite-int8", "--variant", "coreml-w8a8", "--variant", "coreml-pal6")
    _run(light / "mien", "verify", exported, *chosen)
    _run(
        light / "mien", "bench", exported, "--runs", 2, "--variant", "tflite-int8", "-o", tmp_path / "b.json"
    )
    assert (tmp_path / "b.json").is_file()


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


@pytest.mark.parametrize("version", ["3.12", "3.13", "3.14"])
def test_every_python_that_is_allowed_gives_the_same_score(
    light: Path, wheel: Path, sample_folder: Path, tmp_path: Path, version: str
) -> None:
    """Where this machine has it, on PATH or under pyenv; .ci/check-python brings what it has not."""
    python = _python(version)
    if python is None or version == f"{sys.version_info.major}.{sys.version_info.minor}":
        pytest.skip(f"the other tests run on it, or no CPython {version} is here; .ci/check-python {version}")
    programs = _installed(wheel, ROOT / "requirements.lock", tmp_path, python)
    photo = sample_folder / "nobody-12-cleft.jpg"
    one, other = (
        json.loads(_run(folder / "mien", "appraise", "--json", photo).stdout)["score"]
        for folder in (light, programs)
    )
    assert one == pytest.approx(other, abs=1e-3)
    assert "tflite-fp16" in _run(programs / "mien", "verify").stdout


def _python(version: str) -> str | None:
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    places = [*(str(one.parent) for one in sorted(pyenv.glob(f"{version}*/bin/python"))), os.environ["PATH"]]
    found = subprocess.run(
        [UV, "python", "find", "--offline", "--no-project", version],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PATH": os.pathsep.join(places)},
    )
    return found.stdout.strip() or None


def test_the_least_litert_that_is_allowed_gives_the_same_score(
    light: Path, wheel: Path, sample_folder: Path, tmp_path: Path
) -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    (allowed,) = (one for one in declared if one.startswith(LITERT))
    least = allowed.split(">=")[1].split(",")[0]
    locked = (ROOT / "requirements.lock").read_text().splitlines()
    lock = [f"{LITERT}=={least}" if line.startswith(f"{LITERT}==") else line for line in locked]
    assert lock != locked
    (tmp_path / "least.lock").write_text("\n".join(lock))
    programs = _installed(wheel, tmp_path / "least.lock", tmp_path)
    assert f"{LITERT}=={least}" in _run(UV, "pip", "freeze", "--python", programs / "python").stdout
    photo = sample_folder / "nobody-12-cleft.jpg"
    one, other = (
        json.loads(_run(folder / "mien", "appraise", "--json", photo, cwd=tmp_path).stdout)["score"]
        for folder in (light, programs)
    )
    assert one == pytest.approx(other, abs=1e-3)
    assert "tflite-fp16" in _run(programs / "mien", "verify").stdout


def test_the_wheel_has_at_most_15_megabytes(wheel: Path) -> None:
    assert wheel.stat().st_size < 15e6


@pytest.mark.parametrize(
    ("command", "extra"),
    [
        ("appraise x.jpg --checkpoint y", "export"),
        ("export -o bundle", "export"),
        ("train faces -o checkpoint", "export"),
        ("verify --page x.html", "page"),
        ("bench --page x.html", "page"),
        ("compare old new --page x.html", "page"),
        ("serve", "serve"),
    ],
)
def test_says_what_brings_the_rest(light: Path, command: str, extra: str, tmp_path: Path) -> None:
    program = [str(light / "mien"), *command.split()]
    done = subprocess.run(program, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 2
    assert f"pip install '.[{extra}]'" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not done.stdout
    assert not list(tmp_path.iterdir())


def test_the_extra_page_brings_charts(wheel: Path, tmp_path: Path) -> None:
    programs = _installed(f"{wheel}[page]", ROOT / "requirements.lock", tmp_path)
    _run(programs / "mien", "verify", "--page", tmp_path / "seen.html")
    assert "<svg" in (tmp_path / "seen.html").read_text()


def test_a_page_without_charts_needs_no_more(light: Path, sample_folder: Path, tmp_path: Path) -> None:
    _run(light / "mien", "appraise", sample_folder / "nobody-01.jpg", "--page", tmp_path / "sheet.html")
    assert "<img" in (tmp_path / "sheet.html").read_text()


def test_every_command_explains_itself(light: Path) -> None:
    listed = _run(light / "mien", "--help").stdout
    for command in ("appraise", "verify", "bench", "train", "export"):
        assert command in listed
        assert "Usage: mien" in _run(light / "mien", command, "--help").stdout
