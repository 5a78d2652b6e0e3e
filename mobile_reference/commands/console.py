"""The entry point of the command line: finds the commands of every room, turns errors into exit codes."""

import sys
from collections.abc import Sequence
from importlib.metadata import entry_points
from typing import NoReturn

import click

COMMANDS = "mien.commands"


# Modules that the light install lacks, and what brings them.
_EXTRAS = {
    "torch": "export",
    "safetensors": "export",
    "scipy": "export",
    "onnx": "export",
    "onnxruntime": "export",
    "onnx2tf": "export",
    "ai_edge_quantizer": "export",
    "coremltools": "export",
    "tensorflow": "tensorflow",
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
            assert isinstance(command, click.Command), f"{entry.value} is not a click command"  # noqa: S101
            return command
        return None


@click.command(cls=RoomCommands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="mien")
def root() -> None:
    """Turn a facial-anomaly appraisal pipeline into a verified app bundle."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0 all well, 1 a gate failed, 2 wrong use or bad input."""
    run(root, arguments, "mien")


def run(command: click.Command, arguments: Sequence[str] | None = None, name: str | None = None) -> None:
    """Run any command and exit as ``main`` does.

    Every room's own errors carry ``exit_code`` and a one-line message; anything else is a defect of
    mien and keeps its traceback.
    """
    try:
        command.main(args=arguments, prog_name=name)
    except ModuleNotFoundError as error:
        extra = _EXTRAS.get((error.name or "").split(".")[0])
        if extra is None:
            raise
        _fail(f"this needs {error.name}, which is not installed; pip install 'mien[{extra}]'", 2)
    except Exception as error:
        if not hasattr(error, "exit_code"):
            raise
        _fail(str(error), error.exit_code)


def _fail(message: str, exit_code: int) -> NoReturn:
    click.echo(f"mien: {message}", err=True)
    sys.exit(exit_code)
