"""The command ``mien init``: a file of Python to begin a pipeline of one's own with."""

import re
from importlib.resources import files
from pathlib import Path

import click

from mien.mobile_reference.commands.options import examples
from mien.mobile_reference.errors import UsageError
from mien.mobile_reference.output.file import OutputFile
from mien.mobile_reference.output.text import tell

TEMPLATE = "pipeline_template.txt"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
"""What the manifest takes for a pipeline's name, which the file gives."""


@click.command(epilog=examples("init grader.py"))
@click.argument("file", type=click.Path(path_type=Path))
def init(file: Path) -> None:
    """Write FILE.py, a small pipeline with comments, to be filled with your own components.

    It can be exported as it is: mien export FILE.py --calibration PICTURES -o BUNDLE
    """
    if file.suffix != ".py":
        raise UsageError(f"{file} does not end in .py; give a name such as grader.py")
    if not _NAME.fullmatch(file.stem):
        raise UsageError(
            f"{file} would name the pipeline '{file.stem:.100}'; give one of ASCII letters, digits, - and _"
        )
    if file.exists():
        raise UsageError(f"{file} exists; give a name that is free")
    text = files(__package__).joinpath(TEMPLATE).read_text()
    OutputFile.at(file).write(text.replace("NAME", file.stem))
    tell(f"wrote {file}; next: mien export {file} --calibration PICTURES -o {file.with_suffix('')}-bundle")
