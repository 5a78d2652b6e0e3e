"""The commands ``mien coreml run`` and ``mien coreml check``."""

import time
from contextlib import AbstractContextManager
from dataclasses import asdict
from functools import partial
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mien.mobile_reference.arrays import read_array
from mien.mobile_reference.commands.options import FiniteRange
from mien.mobile_reference.errors import UsageError
from mien.mobile_reference.output.folder import Kind, OutputFolder
from mien.mobile_reference.output.json_text import json_text
from mien.mobile_reference.run.child import Limits, in_child

if TYPE_CHECKING:
    from mien.mobile_reference.coreml import Evaluator, Policy, Program
    from mien.mobile_reference.coreml.parity import Difference
    from mien.mobile_reference.coreml.sources import SourceModel

MAX_INPUT_BYTES = 2**30
_SLOWER = 10
"""So many times the processor time of its package a source may take."""
RELATIVE_FLOAT32 = 1e-5  # the size of PyTorch's own float32 rounding: 4e-7 to 5e-6 over 12 networks

OUTPUTS = Kind("folder of outputs")
LIMITS = Limits(memory=8 << 30, seconds=1800)
"""Of the process that executes: a package may be of any network."""

package_argument = click.argument("package", type=click.Path(path_type=Path))
input_option = click.option(
    "--input",
    "given",
    multiple=True,
    metavar="[NAME=]FILE",
    help="An input: .npy, or a picture for an image. NAME may be left out for a single input.",
)
policy_option = click.option(
    "--policy",
    default="float16-storage",
    show_default=True,
    help="How reals are rounded: float16-storage, float32, float16-accumulation or ideal.",
)
function_option = click.option("--function", help="The function to run; the default one if left out.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group()
def coreml() -> None:
    """Execute Core ML packages here; not validated on Apple hardware."""


@coreml.command()
@package_argument
@input_option
@policy_option
@function_option
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Folder for outputs as .npy.")
@json_option
def run(
    package: Path,
    given: tuple[str, ...],
    policy: str,
    function: str | None,
    output: Path | None,
    as_json: bool,  # noqa: FBT001  a command line option
) -> None:
    """Execute PACKAGE on the given inputs."""
    import numpy as np

    folder = OutputFolder.at(output, OUTPUTS) if output else None
    with _busy("executing"):
        report, results = in_child(partial(_executed, package, given, policy, function), LIMITS, package)
    arrays = {name: value for name, value in results.items() if isinstance(value, np.ndarray)}
    if folder:
        _save(folder, arrays)
    report |= {"outputs": {name: _summary(v) for name, v in results.items()}}
    _print(report, ("output", "type", "shape", "lowest", "highest", "value"), as_json=as_json)


def _executed(
    package: Path, given: tuple[str, ...], policy: str, function: str | None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Execute a package: what to say of it, and its outputs by name."""
    evaluator = _evaluator(package, policy, function)
    return _report(evaluator), evaluator(**_read_inputs(given, evaluator))


@coreml.command()
@package_argument
@click.option("--against", required=True, type=click.Path(path_type=Path, exists=True))
@input_option
@policy_option
@function_option
@click.option("--seed", default=0, show_default=True, help="Seed of random inputs, if none are given.")
@click.option("--tolerance", type=FiniteRange(min=0), help="Largest relative difference that passes.")
@json_option
def check(
    package: Path,
    against: Path,
    given: tuple[str, ...],
    policy: str,
    function: str | None,
    seed: int,
    tolerance: float | None,
    as_json: bool,  # noqa: FBT001  a command line option
) -> None:
    """Compare PACKAGE with its source model (.onnx or .pt2), output by output in order.

    A float32 package must agree to 1e-5 of the largest value. What a float16 or compressed package
    may lose depends on the model: without --tolerance its differences are shown and not judged. NaN,
    another shape or type, other whole numbers, and infinities at other places always fail.

    Without --input the package is tried on pixels, signed, wide and outlying numbers, and on whole
    numbers that the source takes; shown is the worst.
    """
    work = partial(_judged, package, against, given, policy, function, seed)
    with _busy("comparing"):
        report, limit, tried, worst = in_child(work, LIMITS, f"{package} or {against}")
    limit = limit if tolerance is None else tolerance
    failed = not all(one.passes(limit) for one in worst)
    verdict = "failed" if failed else "not judged" if limit is None else "passed"
    rows = {one.output: _row(one) for one in worst}
    report |= {"inputs": tried, "tolerance": limit, "verdict": verdict}
    _print(report | {"outputs": rows}, ("output", "largest", "relative", "snr", "fault"), as_json=as_json)
    if failed:
        raise click.exceptions.Exit(1)


def _judged(
    package: Path, against: Path, given: tuple[str, ...], policy: str, function: str | None, seed: int
) -> tuple[dict[str, Any], float | None, str, list["Difference"]]:
    """Compare a package with its source: what to say of it, its limit, the inputs, and the worst outputs."""
    from mien.mobile_reference.coreml.sources import LEAST_SECONDS, SourceModel

    evaluator = _evaluator(package, policy, function)
    inputs, source = _read_inputs(given, evaluator), SourceModel(against)
    if inputs:
        begun = time.process_time()
        results = evaluator(**inputs)
        seconds = max(LEAST_SECONDS, _SLOWER * (time.process_time() - begun))
        tried, worst = "given", _compared(results, source(inputs, seconds))
    else:
        tried, worst = _probed(evaluator, source, seed)
    return _report(evaluator), RELATIVE_FLOAT32 if _is_float32(evaluator) else None, tried, worst


def _row(one: "Difference") -> dict[str, Any]:
    return {name: value for name, value in asdict(one).items() if name != "output"}


def _probed(evaluator: "Evaluator", source: "SourceModel", seed: int) -> tuple[str, list["Difference"]]:
    """Compare on all default inputs that the source takes: which these are, and the worst of each output."""
    from mien.mobile_reference.coreml.probes import Probes

    probes = Probes(evaluator.function, evaluator.interface, source, seed)
    found = {probe.name: _compared(evaluator(state=None, **probe.inputs), probe.expected) for probe in probes}
    worst = [max(ones, key=lambda one: one.badness) for ones in zip(*found.values(), strict=True)]
    left_out = [f"not {name} ({reason})" for name, reason in probes.left_out.items()]
    return ", ".join([*found, *left_out]), worst


def _busy(what: str) -> AbstractContextManager[Any]:
    """Show that it goes on, and for how long; nothing where the error stream is not a terminal."""
    from mien.mobile_reference.report.progress import bar_of_parts

    return bar_of_parts(what)


def _compared(results: dict[str, Any], expected: list[Any]) -> list["Difference"]:
    from mien.mobile_reference.coreml.parity import difference

    if len(results) != len(expected):
        raise UsageError(f"the package has {len(results)} outputs, the source model {len(expected)}")
    pairs = zip(results.items(), expected, strict=True)
    return [difference(name, got, want) for (name, got), want in pairs]


def _is_float32(evaluator: "Evaluator") -> bool:
    """Whether nothing in the function is narrower than float32, compressed weights included."""
    from mien.mobile_reference.coreml.program import TensorType, walk

    types = [o.type for op in walk(evaluator.function.body) for o in op.outputs]
    types += [named.type for named in evaluator.function.inputs]
    narrow = {"fp16", "int4", "uint4", "int8", "uint8", "uint1", "uint2", "uint3", "uint6"}
    return not any(isinstance(t, TensorType) and t.kind.name in narrow for t in types)


def _evaluator(package: Path, policy: str, function: str | None) -> "Evaluator":
    from mien.mobile_reference.coreml import Evaluator, load_package, policy_named

    chosen: Policy = policy_named(policy)
    program: Program = load_package(package)
    return Evaluator(program, chosen, function=function)


def _read_inputs(given: tuple[str, ...], evaluator: "Evaluator") -> dict[str, Any]:
    names = [named.name for named in evaluator.function.inputs]
    inputs = {}
    for text in given:
        name, mark, file = text.partition("=")
        if not mark:
            if len(names) != 1:
                raise UsageError(f"the inputs are {names}; name each one: --input NAME={text}")
            name, file = names[0], text
        inputs[name] = _read(Path(file), evaluator, name)
    return inputs


def _read(path: Path, evaluator: "Evaluator", name: str) -> Any:
    if not path.is_file():
        raise UsageError(f"the input file '{path}' does not exist")
    if path.suffix != ".npy":
        return _picture(path, evaluator, name)
    try:
        return read_array(path, MAX_INPUT_BYTES)
    except ValueError as error:
        raise UsageError(f"'{path.name}' is not an array: {error}; write one with numpy.save") from error


def _picture(path: Path, evaluator: "Evaluator", name: str) -> Any:
    import numpy as np
    from PIL import Image

    from mien.mobile_reference.coreml.program import ImageFeature
    from mien.mobile_reference.front.photograph import read_photograph

    features = {f.name: f.kind for f in evaluator.interface.inputs} if evaluator.interface else {}
    kind = features.get(name)
    if not isinstance(kind, ImageFeature):
        raise UsageError(f"input '{name}' is not an image; give an .npy file")
    pixels = read_photograph(path)
    return pixels if kind.colour.channels == 3 else np.asarray(Image.fromarray(pixels).convert("L"))


def _save(folder: OutputFolder, arrays: dict[str, Any]) -> None:
    """Write one file per output, named by number and a name without path characters."""
    import numpy as np

    with folder.staged() as staging:
        for number, (name, array) in enumerate(arrays.items()):
            safe = "".join(c if c.isalnum() or c in "-_" else "_" for c in name)[:100]
            np.save(staging / f"{number}-{safe}.npy", array)


def _report(evaluator: "Evaluator") -> dict[str, Any]:
    from mien.mobile_reference.coreml import NOT_VALIDATED

    return {
        "function": evaluator.function.name,
        "opset": evaluator.function.opset,
        "policy": evaluator.policy.name,
        "note": NOT_VALIDATED,
    }


def _summary(value: Any) -> dict[str, Any]:
    import numpy as np

    if not isinstance(value, np.ndarray):
        return {"value": value if isinstance(value, str | int | dict) else str(value)}
    reals = value.astype(np.float64)
    summary = {"type": str(value.dtype), "shape": list(value.shape)}
    if reals.size <= 1:
        return summary | {"value": reals.item() if reals.size else None}
    return summary | {"lowest": float(reals.min()), "highest": float(reals.max())}


def _print(report: dict[str, Any], columns: tuple[str, ...], *, as_json: bool) -> None:
    if as_json:
        click.echo(json_text(_sayable(report), indent=2))
        return
    from rich.console import Console
    from rich.table import Table

    title = ", ".join(f"{k}: {v}" for k, v in report.items() if k not in ("outputs", "note"))
    table = Table(title=title, caption=report["note"])
    for column in columns:
        table.add_column(column)
    for name, row in report["outputs"].items():
        table.add_row(name, *(_cell(row.get(column)) for column in columns[1:]))
    Console().print(table)


def _sayable(value: Any) -> Any:
    """Infinities and missing numbers as texts, which JSON has no numbers for."""
    if isinstance(value, dict):
        return {key: _sayable(entry) for key, entry in value.items()}
    return str(value) if isinstance(value, float) and not isfinite(value) else value


def _cell(value: Any) -> str:
    if isinstance(value, dict):
        best = sorted(value.items(), key=lambda item: -item[1])[:3]
        return ", ".join(f"{name} {share:.3g}" for name, share in best)
    return "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
