"""The command ``mien init``: a file of Python to begin a pipeline of one's own with."""

from importlib.resources import files
from pathlib import Path

import click

from mien.mobile_reference.commands.options import examples
from mien.mobile_reference.errors import UsageError
from mien.mobile_reference.output.file import OutputFile

TEMPLATE = "pipeline_template.txt"


@click.command(epilog=examples("init grader.py"))
@click.argument("file", type=click.Path(path_type=Path))
def init(file: Path) -> None:
    """Write FILE.py, a small pipeline with comments, to be filled with your own components.

    It can be exported as it is: mien export FILE.py --calibration PICTURES -o BUNDLE
    """
    if file.suffix != ".py":
        raise UsageError(f"{file} does not end in .py; give a name such as grader.py")
    if file.exists():
        raise UsageError(f"{file} exists; give a name that is free")
    text = files(__package__).joinpath(TEMPLATE).read_text()
    OutputFile.at(file).write(text.replace("NAME", file.stem))
    click.echo(
        f"wrote {file}; next: mien export {file} --calibration PICTURES -o {file.with_suffix('')}-bundle"
    )
