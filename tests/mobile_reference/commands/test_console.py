"""The entry point: which commands there are, and how errors become exit codes."""

import os
import signal
import subprocess
import sys
import time
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path
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
    for option in (p for p in command.params if isinstance(p, click.Option) and not p.hidden):
        assert max(option.opts, key=len) in captured.out
    assert captured.err == ""


@pytest.mark.parametrize("code", [0, None, 7, "done"])
def test_code_that_leaves_by_sys_exit_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], code: object
):
    @click.command()
    def act() -> None:
        raise SystemExit(code)

    install(monkeypatch, act)
    assert run("act") == 2
    assert capsys.readouterr().err.startswith("mien: code of a user's own left Python by sys.exit(); let it")


def test_an_unknown_command_is_refused(capsys: pytest.CaptureFixture[str]):
    assert run("sing") == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "No such command 'sing'" in captured.err


def test_a_misspelt_command_is_answered_with_the_nearest(capsys: pytest.CaptureFixture[str]):
    assert run("verfy") == 2
    assert "No such command 'verfy'; did you mean verify?" in capsys.readouterr().err


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
    [("torch.nn", "export"), ("safetensors", "export"), ("coremltools", "export")],
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
    assert (
        captured.err
        == f"mien: this needs {module}, which is not installed; pip install '.[{extra}]' in a clone of mien\n"
    )


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


def in_process(body: str, *arguments: str, **options: Any) -> subprocess.CompletedProcess[bytes]:
    """Run a command of the given body, as the console does, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(body=body), *arguments],
        stderr=subprocess.PIPE,
        check=False,
        **options,
    )
    assert b"Traceback" not in done.stderr
    assert b"Exception ignored" not in done.stderr
    return done


PROGRAM = """
import sys, time, os, threading
from pathlib import Path
import click
from rich.console import Console
from mien.mobile_reference.commands import console
@click.command()
@click.argument("names", nargs=-1)
def act(names):
    {body}
console.run(act)
"""


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("open('/' + 'x' * 5000)", "File name too long; use a shorter path"),
        ("Path('/proc/nobody').mkdir()", "/proc/nobody: No such file or directory; give another path"),
        ("os.rmdir('/proc')", "; "),
    ],
)
def test_what_the_system_refuses_is_one_line(body: str, said: str):
    done = in_process(body)
    assert done.returncode == 2
    (line,) = done.stderr.decode().splitlines()
    assert line.startswith("mien: ")
    assert said in line
    assert len(line) < 400


@pytest.mark.parametrize("body", ["print('x' * 100000)", "click.echo('x')", "Console().print('x')"])
def test_a_full_standard_output_is_one_line(body: str):
    with Path("/dev/full").open("wb") as full:
        done = in_process(body, stdout=full)
    assert done.returncode == 2
    assert done.stderr == b"mien: No space left on device; free some space, or write elsewhere\n"


@pytest.mark.parametrize("body", ["print('x')", "click.echo('x')", "Console().print('x')"])
def test_a_reader_that_has_seen_enough_is_not_told(body: str):
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as closed:
        done = in_process(body, stdout=closed)
    assert (done.returncode, done.stderr) == (2, b"")


def test_a_closed_standard_output_is_one_line_before_the_work(tmp_path: Path):
    body = f"Path('{tmp_path}/made').touch()"
    done = in_process(body, preexec_fn=lambda: os.close(1))
    assert done.returncode == 2
    assert done.stderr == b"mien: standard output is closed; let it lead to a file, or to /dev/null\n"
    assert not (tmp_path / "made").exists()


def test_no_file_takes_the_place_of_a_closed_standard_error(tmp_path: Path):
    program = PROGRAM.format(body=f"open('{tmp_path}/made', 'w'); os.write(2, b'native words')")
    command = [sys.executable, "-c", program]
    assert subprocess.run(command, preexec_fn=lambda: os.close(2), check=False).returncode == 0
    assert (tmp_path / "made").read_bytes() == b""


@pytest.mark.parametrize("body", [r"print('\udcff')", r"click.echo('\udcff')", r"Console().print('\udcff')"])
def test_a_name_that_is_no_unicode_is_printed_escaped(body: str):
    utf8 = {**os.environ, "PYTHONIOENCODING": "utf-8"}
    done = in_process(body, stdout=subprocess.PIPE, env=utf8)
    assert (done.returncode, done.stdout) == (0, b"\\udcff\n")


def test_a_copy_of_a_folder_that_the_system_refuses_is_one_line(tmp_path: Path):
    (tmp_path / "from").mkdir()
    (tmp_path / "from" / "file").write_bytes(bytes(5000))
    done = in_process(
        "import resource, shutil, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100)); shutil.copytree(*names)",
        str(tmp_path / "from"),
        str(tmp_path / "to"),
    )
    assert done.returncode == 2
    said = f"mien: {tmp_path}/to/file: File too large; see what the system lacks\n"
    assert done.stderr.decode() == said


def test_a_full_standard_error_changes_no_exit_code():
    with Path("/dev/full").open("wb") as full:
        command = [sys.executable, "-c", PROGRAM.format(body="open('/nowhere')")]
        assert subprocess.run(command, stderr=full, check=False).returncode == 2


def test_a_deleted_working_directory_is_named(tmp_path: Path):
    body = "os.rmdir(os.getcwd()); Path('x').absolute()"
    done = in_process(body, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr == b"mien: the working directory was deleted; change to another one\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_command_tidies_up_and_exits_130(number: signal.Signals, tmp_path: Path):
    body = f"""
    try:
        Path({str(tmp_path / "begun")!r}).touch()
        time.sleep(600)
    finally:
        Path({str(tmp_path / "tidied")!r}).touch()"""
    command = [sys.executable, "-c", PROGRAM.format(body=body)]
    # Without a terminal that is shared, and with the signals as a shell gives them.
    process = subprocess.Popen(command, stderr=subprocess.PIPE, start_new_session=True)
    while not (tmp_path / "begun").exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(number)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 130
    assert said.strip() == b"mien: interrupted"
    assert (tmp_path / "tidied").exists()


def test_a_library_s_error_without_a_number_is_a_defect(monkeypatch: pytest.MonkeyPatch):
    @click.command()
    def act() -> None:
        raise OSError("cannot identify image file")

    install(monkeypatch, act)
    with pytest.raises(OSError, match="cannot identify"):
        console.main(["act"])


def test_foreign_text_in_a_message_forges_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    @click.command()
    def act() -> None:
        raise MienError("face\x1b[2J.jpg\nmien: all gates passed")

    install(monkeypatch, act)
    assert run("act") == 2
    assert capsys.readouterr().err == "mien: face\\x1b[2J.jpg\\nmien: all gates passed\n"
    assert run("act", "--\x1b[2J") == 2
    assert "\x1b" not in capsys.readouterr().err
