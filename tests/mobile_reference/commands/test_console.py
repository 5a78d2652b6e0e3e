"""The entry point: which commands there are, and how errors become exit codes."""

from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from typing import Any

import click
import pytest

from mien.mobile_reference.commands import console
from mien.mobile_reference.errors import MienError

COMMANDS = sorted(entry_points(group=console.COMMANDS), key=lambda entry: entry.name)


def run(*arguments: str) -> object:
    with pytest.raises(SystemExit) as left:
        console.main(arguments)
    return left.value.code


def install(monkeypatch: pytest.MonkeyPatch, command: click.Command) -> None:
    """Make ``command`` the only one, called ``act``."""

    class Entry:
        name = "act"
        value = "tests"

        @staticmethod
        def load() -> click.Command:
            return command

    monkeypatch.setattr(console, "entry_points", lambda **_: [Entry()])


def test_every_promised_command_is_there():
    assert {entry.name for entry in COMMANDS} >= {"appraise", "verify", "bench", "train", "export"}


@pytest.mark.parametrize("entry", COMMANDS, ids=[entry.name for entry in COMMANDS])
def test_each_command_has_help(entry: EntryPoint, capsys: pytest.CaptureFixture[str]):
    if find_spec(entry.module) is None:
        pytest.skip(f"{entry.module} is not in this tree")
    assert run(entry.name, "--help") == 0
    captured = capsys.readouterr()
    assert captured.out.startswith(f"Usage: mien {entry.name} ")
    # A sentence that says what it does, and a line for every option.
    command = entry.load()
    assert command.help
    for option in (p for p in command.params if isinstance(p, click.Option)):
        assert max(option.opts, key=len) in captured.out
    assert captured.err == ""


def test_an_unknown_command_is_refused(capsys: pytest.CaptureFixture[str]):
    assert run("sing") == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "No such command 'sing'" in captured.err


@pytest.mark.parametrize(
    "arguments", [("appraise",), ("appraise", "--loud", "a.jpg"), ("appraise", "--threads", "0", "a.jpg")]
)
def test_wrong_use_exits_2_with_the_usage(arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]):
    assert run(*arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("Usage: mien appraise")


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]):
    from importlib.metadata import version

    assert run("--version") == 0
    assert version("mien") in capsys.readouterr().out


@pytest.mark.parametrize(
    ("module", "extra"),
    [("torch.nn", "export"), ("safetensors", "export"), ("onnx2tf", "export"), ("tensorflow", "tensorflow")],
)
def test_a_missing_extra_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], module: str, extra: str
):
    @click.command()
    def act() -> None:
        raise ModuleNotFoundError(f"No module named '{module}'", name=module)

    install(monkeypatch, act)
    assert run("act") == 2
    captured = capsys.readouterr()
    assert captured.err == f"mien: this needs {module}, which is not installed; pip install 'mien[{extra}]'\n"


def test_another_missing_module_is_a_defect_and_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch):
    @click.command()
    def act() -> None:
        raise ModuleNotFoundError("No module named 'mien.nothing'", name="mien.nothing")

    install(monkeypatch, act)
    with pytest.raises(ModuleNotFoundError):
        console.main(["act"])


def test_a_typed_error_of_any_room_is_one_line_and_its_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    class GateError(Exception):
        exit_code = 1

    def fail(error: Exception) -> Any:
        @click.command()
        def act() -> None:
            raise error

        install(monkeypatch, act)
        return run("act"), capsys.readouterr().err

    assert fail(MienError("got a, expected b; do c")) == (2, "mien: got a, expected b; do c\n")
    assert fail(GateError("a gate")) == (1, "mien: a gate\n")


def test_a_defect_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch):
    @click.command()
    def act() -> None:
        raise ZeroDivisionError

    install(monkeypatch, act)
    with pytest.raises(ZeroDivisionError):
        console.main(["act"])
