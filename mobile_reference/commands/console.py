"""The entry point of the command line: finds the commands of every room, turns errors into exit codes."""

import errno
import gc
import os
import re
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from io import StringIO, TextIOWrapper
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import click

from mien.mobile_reference.errors import UsageError
from mien.mobile_reference.installed import entry_points
from mien.mobile_reference.output.text import nearest, say, shown

from .signals import ENDING, INTERRUPTED, USUAL

COMMANDS = "mien.commands"
BAD = 2
"""Exit code: wrong use, bad input or surroundings."""
_COMPLETE = "_MIEN_COMPLETE"
"""A variable in which a shell asks click for completions."""


# Modules that the light install lacks, and what brings them.
_EXTRAS = {
    "torch": "export",
    "safetensors": "export",
    "scipy": "export",
    "onnx": "export",
    "onnxruntime": "export",
    "ai_edge_quantizer": "export",
    "coremltools": "export",
    "matplotlib": "page",
    "fsspec": "ray",
    "pyarrow": "ray",
    "ray": "ray",
    "python_multipart": "serve",
    "starlette": "serve",
    "uvicorn": "serve",
}


class RoomCommands(click.Group):
    """A click group whose commands are the entry points ``mien.commands``, imported when called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name every installed command."""
        return sorted(entry.name for entry in entry_points(group=COMMANDS))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command ``cmd_name``, or say which install brings it."""
        for entry in entry_points(group=COMMANDS, name=cmd_name):
            command = entry.load()
            _look_for_garbage()
            assert isinstance(command, click.Command), f"{entry.value} is not a click command"  # noqa: S101
            return command
        return None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that is called; of a misspelt one name the nearest."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            meant = nearest(args[0], self.list_commands(ctx)) or "."
            raise click.UsageError(error.message.rstrip(".") + meant, ctx) from error


def _look_for_garbage() -> None:
    """Have it looked for again, if the program began without, but not among what was imported.

    A forked process would get a copy of each page that is looked at.
    """
    if not gc.isenabled():
        gc.freeze()
        gc.enable()


@click.command(cls=RoomCommands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="mien")
def root() -> None:
    """Turn trained PyTorch components into a verified app bundle."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit.

    0: all well. 1: a gate or a converter failed. 2: wrong use, bad input, or the system refused something.
    130: interrupted, by Ctrl-C or by SIGTERM.
    """
    run(root, arguments, "mien")


def run(command: click.Command, arguments: Sequence[str] | None = None, name: str | None = None) -> NoReturn:
    """Run any command and exit as ``main`` does.

    Every room's own errors carry ``exit_code`` and a one-line message, and so has what the system refuses
    (no permission, no space, a path too long); anything else is a defect of mien and keeps its traceback.
    """
    with _terminated_as_interrupted():
        try:
            _check_streams()
            left = command.main(args=arguments, prog_name=name, standalone_mode=False)
            sys.stdout.flush()
        except (Exception, KeyboardInterrupt, SystemExit) as error:
            left = _told(error)
        if left == INTERRUPTED and threading.active_count() > 1:
            os._exit(INTERRUPTED)  # Python would wait for threads that still compute
        sys.exit(left or 0)


def _told(error: BaseException) -> int:
    """Say in one line what ended the command, and return the exit code; a defect is raised again."""
    message, code = next(explain(error) for kind, explain in _ENDS if isinstance(error, kind))
    with suppress(OSError):  # standard error may be closed or full too
        if isinstance(error, click.ClickException):
            _show_usage(error)
        elif message:
            say(message)
    return code


def _show_usage(error: click.ClickException) -> None:
    text = StringIO()
    error.show(text)
    for line in text.getvalue().rstrip("\n").split("\n"):
        click.echo(shown(line), err=True)


def _explain_missing_module(error: ModuleNotFoundError) -> tuple[str, int]:
    extra = _EXTRAS.get((error.name or "").split(".")[0])
    if extra is None:
        raise error
    return (
        f"this needs {error.name}, which is not installed; pip install '.[{extra}]' in a clone of mien",
        BAD,
    )


def _explain_refusal(error: OSError) -> tuple[str, int]:
    """Tell what the system refused; an error of a library that has no number is a defect."""
    if isinstance(error, shutil.Error):
        error = _first_of(error)
    if error.errno is None:
        raise error
    _give_up_output()
    if not _has_working_directory():
        return "the working directory was deleted; change to another one", BAD
    subject = f"{os.fsdecode(error.filename):.200}: " if isinstance(error.filename, str | bytes) else ""
    advice = next((text for numbers, text in _ADVICE if error.errno in numbers), "see what the system lacks")
    return f"{subject}{error.strerror}; {advice}", BAD


def _first_of(error: shutil.Error) -> OSError:
    """Return the first refusal of those that copying a folder met, which it gathers as text."""
    found = [(target, _NUMBERED.match(str(reason))) for _, target, reason in error.args[0]]
    return next((OSError(int(m[1]), os.strerror(int(m[1])), str(target)) for target, m in found if m), error)


_NUMBERED = re.compile(r"\[Errno (\d+)\]")
_ADVICE = (
    ((errno.ENOSPC, errno.EDQUOT), "free some space, or write elsewhere"),
    ((errno.EACCES, errno.EPERM, errno.EROFS), "change its permissions, or use another place"),
    ((errno.ENAMETOOLONG,), "use a shorter path"),
    ((errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.EEXIST), "give another path"),
)
"""What to do about what a system refuses."""


def _explain_exit(error: BaseException) -> tuple[str, int]:
    """Completion leaves with 0; else whoever read standard output has seen enough. Nothing is said.

    A file of Python that leaves so has done nothing of what was asked for.
    """
    if _COMPLETE in os.environ:
        return "", 0
    if isinstance(error, SystemExit) and error.code != 1:
        return "code of a user's own left Python by sys.exit(); let it return, or raise an error", BAD
    _give_up_output()
    return "", BAD


def _explain(error: Exception) -> tuple[str, int]:
    code: int | None = getattr(error, "exit_code", None)
    if code is None:
        raise error
    return str(error), code


_ENDS: tuple[tuple[Any, Callable[[Any], tuple[str, int]]], ...] = (
    ((KeyboardInterrupt, click.Abort), lambda _: ("interrupted", INTERRUPTED)),
    # Tables leave by SystemExit when nobody reads them, and click when it has told a shell its completions.
    ((BrokenPipeError, SystemExit), _explain_exit),
    (ModuleNotFoundError, _explain_missing_module),
    (OSError, _explain_refusal),
    (Exception, _explain),
)
"""What can end a command before it is done; the first that fits gives what is said, and the exit code."""


def _check_streams() -> None:
    """Have all three streams open, so that no file that is opened takes the place of one.

    Raises:
        UsageError: standard output is closed, so what was found would be lost.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)
    if sys.stdout is None:
        raise UsageError("standard output is closed; let it lead to a file, or to /dev/null")
    if isinstance(sys.stdout, TextIOWrapper):
        # Names may hold what the terminal's encoding has not.
        sys.stdout.reconfigure(errors="backslashreplace")


def _give_up_output() -> None:
    """Let what standard output still holds go nowhere: Python would fail once more with it at its end."""
    with suppress(OSError, ValueError):
        sys.stdout.flush()
        return
    with suppress(OSError, ValueError):  # ValueError: it has no descriptor, as under a test
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _has_working_directory() -> bool:
    try:
        Path.cwd()
    except OSError:
        return False
    return True


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """Treat SIGTERM and a lost terminal as Ctrl-C, so that what runs is ended and nothing is left behind."""

    def interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
        raise KeyboardInterrupt

    # Whoever ignores a signal, as nohup does, or has a handler of their own, keeps it.
    here = threading.current_thread() is threading.main_thread()
    found = {one: signal.getsignal(one) for one in ENDING if here}
    taken = {one: handler for one, handler in found.items() if handler in USUAL}
    for one in taken:
        signal.signal(one, interrupt)
    try:
        yield
    finally:
        for one, handler in taken.items():
            signal.signal(one, handler)
