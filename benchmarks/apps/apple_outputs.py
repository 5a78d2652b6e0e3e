"""What Apple's runtime gave, against mien's evaluator of Core ML packages.

``python -m mien.benchmarks.apps.apple_outputs BUNDLE PACKAGE`` reads what ``measure.sh`` of the target
macos kept under ``PACKAGE/results/tensors`` and runs the same graphs on the same float tensors here.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from mien.benchmarks.errors import ReportError
from mien.mobile_reference.bundle.reader import Bundle, open_bundle
from mien.mobile_reference.commands.console import run
from mien.mobile_reference.contract import TensorSpec
from mien.mobile_reference.output.json_text import json_text
from mien.mobile_reference.report.progress import bar_of_parts
from mien.mobile_reference.run.models import as_package_has_it, load_model

from .apple_package import core_ml_variants
from .generated_project import RESULTS

TENSORS = "tensors"
_PATH = click.Path(path_type=Path)


@dataclass(frozen=True)
class Agreement:
    """The largest difference of one output over all golden faces, as a share of the tensor's full scale."""

    variant: str
    units: str
    graph: str
    tensor: str
    largest: float


def compare_outputs(bundle: Bundle, package: Path) -> list[Agreement]:
    """Compare everything that was kept, and nothing less than every golden face and graph of it.

    Raises:
        ReportError: nothing was kept, or a file is missing or of another size.
    """
    kept = package / RESULTS / TENSORS
    found: dict[tuple[str, str, str, str], float] = {}
    for variant in core_ml_variants(bundle, ()):
        choices = sorted(f.name for f in (kept / variant.name).glob("*") if f.is_dir())
        for model in bundle.spec.models if choices else ():
            run_model, made = load_model(bundle, variant, model.name), bundle.spec.tensors_of(model.outputs)
            for golden in bundle.goldens:
                ours = run_model({name: golden.read(name) for name in model.inputs})
                for units in choices:
                    folder = kept / variant.name / units / golden.name / model.name
                    for name, largest in _differences(made, ours, folder):
                        key = (variant.name, units, model.name, name)
                        found[key] = max(found.get(key, 0.0), largest)
    if not found:
        raise ReportError(f"{kept} holds no outputs; run measure.sh of a package for macos")
    return [Agreement(*key, largest) for key, largest in found.items()]


def _differences(
    tensors: Sequence[TensorSpec], ours: Mapping[str, NDArray[Any]], folder: Path
) -> Iterator[tuple[str, float]]:
    for tensor in tensors:
        expected = as_package_has_it(ours[tensor.name], tensor).astype(np.float64)
        theirs = _read(folder / f"{tensor.name}.bin", expected.size, tensor.dtype)
        largest = float(np.abs(theirs - expected.reshape(-1)).max()) / tensor.full_scale
        yield tensor.name, largest if np.isfinite(largest) else float("inf")


def _read(file: Path, count: int, dtype: str) -> NDArray[np.float64]:
    """Read little-endian numbers of 4 bytes; the size is checked before anything is read."""
    size = file.stat().st_size if file.is_file() else -1
    if size != 4 * count:
        raise ReportError(f"{file} is missing or not of {4 * count} bytes; run measure.sh again")
    return np.fromfile(file, np.dtype(dtype).newbyteorder("<")).astype(np.float64)


@click.command()
@click.argument("bundle", type=_PATH)
@click.argument("package", type=_PATH)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
def main(bundle: Path, package: Path, as_json: bool) -> None:  # noqa: FBT001 - click passes flags so
    """Show how far mien's evaluator is from what Apple's runtime gave; nothing is judged."""
    with bar_of_parts("evaluating"):
        found = compare_outputs(open_bundle(bundle), package)
    if as_json:
        for agreement in found:
            click.echo(json_text(asdict(agreement)))
        return
    table = Table(title="evaluator against the outputs in the package, largest difference of full scale")
    for heading in ("variant", "units", "graph", "tensor", "difference"):
        table.add_column(heading, justify="right" if heading == "difference" else "left")
    for a in found:
        table.add_row(a.variant, a.units, a.graph, a.tensor, f"{a.largest:.1e}")
    Console().print(table)


if __name__ == "__main__":
    run(main)
