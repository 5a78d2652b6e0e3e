"""The ARM64 instructions of single TFLite files, whoever made them.

``python -m mien.benchmarks.emulation.count MODEL...`` runs each once on the emulated ``typical`` processor,
in a process of its own: one that crashes does not take the others along. The emulation must have been set
up (``mien setup arm64``). Instructions are not a time.
"""

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import numpy as np
from rich.console import Console
from rich.table import Table

from mien.benchmarks.errors import TargetError
from mien.mobile_reference.commands.console import run
from mien.mobile_reference.errors import BundleError, UsageError
from mien.mobile_reference.files import default_cache
from mien.mobile_reference.output.json_text import json_text
from mien.mobile_reference.report.progress import bar_of_parts
from mien.mobile_reference.report.steps import counted

from .emulator import DEFAULT_PRESET, Emulator
from .sysroot import open_sysroot

_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)


@dataclass(frozen=True)
class Counted:
    """Instructions of one run of a file, or the reason why there are none.

    ``dot_product`` is the share of kernels that multiply int8 by the processor's products for it, None where
    the model has no int8 convolution.
    """

    model: str
    instructions: int | None = None
    dot_product: float | None = None
    reason: str = ""


def count(emulator: Emulator, models: Sequence[Path], inputs: Sequence[Path]) -> Iterator[Counted]:
    """Count each of ``models``; ``inputs`` are arrays by position, and what is not given is zeros."""
    for model in models:
        try:
            yield _counted(emulator, model, inputs)
        except (TargetError, BundleError) as error:
            yield Counted(str(model), reason=str(error))


def _counted(emulator: Emulator, model: Path, inputs: Sequence[Path]) -> Counted:
    with tempfile.TemporaryDirectory(prefix="mien-count-") as name:
        folder = Path(name)
        for position, file in enumerate(inputs):
            shutil.copyfile(file, folder / f"0.in{position}.npy")
        (work,) = emulator.run(folder, {model.stem: model}, model.name)
    return Counted(str(model), work.instructions, work.dot_product)


def _check_inputs(files: Sequence[Path]) -> None:
    for file in files:
        try:
            np.load(file, mmap_mode="r", allow_pickle=False)
        except (ValueError, EOFError) as error:
            raise UsageError(f"--input {file} is not an array of numbers; give a .npy file") from error


def _print(found: Sequence[Counted]) -> None:
    table = Table(title=f"ARM64 instructions of one run on {DEFAULT_PRESET}, no time")
    for heading in ("model", "instructions", "by int8 products"):
        table.add_column(heading, justify="left" if heading == "model" else "right")
    for one in found:
        instructions = "-" if one.instructions is None else f"{one.instructions:,}"
        products = "-" if one.dot_product is None else f"{one.dot_product:.0%}"
        table.add_row(Path(one.model).name, instructions, products)
    Console().print(table)


@click.command()
@click.argument("models", type=_FILE, nargs=-1, required=True)
@click.option(
    "--input", "inputs", multiple=True, type=_FILE, help="A .npy file for each input in order (else zeros)."
)
@click.option(
    "--cache", type=click.Path(path_type=Path), help="Where 'mien setup' keeps the emulated system."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array.")
def main(
    models: tuple[Path, ...],
    inputs: tuple[Path, ...],
    cache: Path | None,
    as_json: bool,  # noqa: FBT001 - click passes flags so
) -> None:
    """Count the ARM64 instructions of one run of each of MODELS; exit 1 if one does not run.

    An input is changed to the type that a model takes where no value can be lost: a face of bytes to float32.
    """
    _check_inputs(inputs)
    emulator = Emulator(DEFAULT_PRESET, open_sysroot(cache or default_cache()))
    with bar_of_parts("counting") as show:
        tell, found = counted(show, len(models)), list[Counted]()
        for model in models:
            tell(model.name)
            found += count(emulator, [model], inputs)
    if as_json:
        click.echo(json_text([asdict(one) for one in found], indent=1))
    else:
        _print(found)
    for one in found:
        if one.reason:
            click.echo(f"mien: {one.model}: {one.reason}", err=True)
    if any(one.reason for one in found):
        raise click.exceptions.Exit(1)


if __name__ == "__main__":
    run(main)
