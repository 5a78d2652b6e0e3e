"""``mien setup``: what can be set up, what is, and each of it once."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from mien.mobile_reference.commands import setup as command
from mien.mobile_reference.errors import UsageError
from mien.mobile_reference.setups import Progress, Setup


def _said(*arguments: str) -> str:
    done = CliRunner(env={"COLUMNS": "120"}).invoke(command.setup, arguments, catch_exceptions=False)
    assert done.exit_code == 0
    return done.stdout


def _touch(cache: Path, progress: Progress) -> None:
    progress("touching")
    (cache / "one").touch()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    one = Setup("one", "count", "1 MB", lambda cache: (cache / "one").exists(), _touch)
    other = Setup("other", "sing", "2 MB", lambda _: False, lambda cache, progress: progress("singing"))
    monkeypatch.setattr(command, "setups", lambda: iter((one, other)))
    return tmp_path


def test_without_a_name_it_lists_and_changes_nothing(cache: Path) -> None:
    said = _said("--cache", str(cache))
    assert "mien setup one" in said
    assert "2 MB" in said
    assert list(cache.iterdir()) == []


def test_a_name_is_set_up_and_alone(cache: Path) -> None:
    rows = json.loads(_said("one", "--cache", str(cache), "--json"))["setups"]
    assert rows == [{"name": "one", "ready": True, "serves": "count", "size": "1 MB"}]
    assert [path.name for path in cache.iterdir()] == ["one"]


def test_a_terminal_sees_which_of_how_many_is_made_and_a_log_nothing(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for compatible, shown in (("1", True), ("0", False)):
        monkeypatch.setenv("TTY_COMPATIBLE", compatible)
        monkeypatch.setenv("COLUMNS", "120")
        done = CliRunner().invoke(command.setup, ["other", "one", "--cache", str(cache)])
        for text in ("setting up 1 of 2: singing", "setting up 2 of 2: touching", "0:00:0"):
            assert (text in done.stderr) == shown


def test_an_unknown_name_is_refused_before_anything_is_made(cache: Path) -> None:
    with pytest.raises(UsageError, match="no set-up 'two'; choose from one, other"):
        CliRunner().invoke(command.setup, ["one", "two", "--cache", str(cache)], catch_exceptions=False)
    assert list(cache.iterdir()) == []


def test_the_rooms_offer_theirs_without_pytorch(tmp_path: Path) -> None:
    code = f"""
import sys
from pathlib import Path
from mien.mobile_reference.setups import setups
print([(one.name, one.is_ready(Path({str(tmp_path)!r}))) for one in setups()], "torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    names = ("android", "arm64", "coreai", "gpu", "gpu-half", "litert-torch", "tensorflow", "tflite")
    assert done.stdout.strip() == f"{[(name, False) for name in names]} False"
