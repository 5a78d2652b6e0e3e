"""``mien doctor``: what is there, what is missing, and the line that installs it."""

import json
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest
from click.testing import CliRunner

from mien.mobile_reference.commands import doctor as command


def _said(*arguments: str) -> str:
    done = CliRunner(env={"COLUMNS": "200"}).invoke(command.doctor, arguments, catch_exceptions=False)
    assert done.exit_code == 0
    return done.output


def _found() -> dict[str, str | None]:
    return {part["name"]: part["found"] for part in json.loads(_said("--json"))["parts"]}


def test_it_tells_the_versions_that_are_installed() -> None:
    assert _found()["LiteRT"] == version("ai-edge-litert")


def test_what_is_missing_comes_with_the_line_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(package: str) -> str:
        raise PackageNotFoundError(package)

    monkeypatch.setattr(command, "version", none)
    monkeypatch.setattr(command.shutil, "which", lambda _: None)
    assert _found()["PyTorch"] is None
    said = _said()
    for extra in ("export", "page", "serve"):
        assert f"missing: pip install '.[{extra}]'" in said
    assert "missing: apt-get install adb" in said


def test_a_full_disk_is_missing_space(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: Path) -> object:
        return type("Usage", (), {"free": 1e9})

    monkeypatch.setattr(command.shutil, "disk_usage", full)
    assert _found()["disk"] is None


def test_the_cache_is_measured_without_being_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert _found()["cache"] == f"{tmp_path / 'mien'}, 0 MB"
    assert not (tmp_path / "mien").exists()
    (tmp_path / "mien").mkdir()
    (tmp_path / "mien" / "kept").write_bytes(bytes(3_000_000))
    assert _found()["cache"] == f"{tmp_path / 'mien'}, 3 MB"
