"""The stored instruction counts of a whole int8 appraisal, and whether a bundle needs more.

``python -m mien.benchmarks.experiments.baseline BUNDLE`` counts on emulated processors, prints both, says
which kinds of kernels need them and what dot products save, and exits with 1 when the typical processor
needs more than the stored count and two per cent; ``--update`` stores the new counts. It sets the emulation
up when that was not done (``mien setup arm64``).
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from mien.benchmarks.emulation.emulator import DEFAULT_PRESET
from mien.benchmarks.emulation.profile import DENSE_FLOAT, DENSE_INT8, by_kind
from mien.benchmarks.emulation.sysroot import set_up
from mien.benchmarks.estimates.estimate import times_of_front
from mien.benchmarks.pipeline import first_given, models_of_app
from mien.benchmarks.results.records import BenchSpec, Result, Work
from mien.benchmarks.results.targets_met import Goal
from mien.benchmarks.targets.arm64 import Arm64Target
from mien.mobile_reference.bundle.reader import Bundle, open_bundle, sha256
from mien.mobile_reference.commands.console import run
from mien.mobile_reference.errors import UsageError
from mien.mobile_reference.files import default_cache
from mien.mobile_reference.output.file import OutputFile
from mien.mobile_reference.output.json_text import json_text
from mien.mobile_reference.report.progress import bar_of_parts
from mien.mobile_reference.report.steps import Part, counted
from mien.mobile_reference.tflite.model_file import DEPTHWISE, TFLiteFile, read_tflite

VARIANT = "tflite-int8"
PRESETS = ("baseline", DEFAULT_PRESET)
TOLERANCE = 0.02
RATIO = 0.6
"""What a processor with dot products should need of what one without needs, at most."""
STORED = "appraisal_work.json"
_PATH = click.Path(path_type=Path)


def read_stored() -> dict[str, Any]:
    """Read the counts that are stored in the repository."""
    stored: dict[str, Any] = json.loads(files(__package__).joinpath(STORED).read_text())
    return stored


def structure(model: Path) -> str:
    """Hash a model without its weights: the operators, shapes and types, on which its work depends."""
    operators = [
        [op.name, *([t.shape, t.dtype] for t in (*op.inputs, *op.outputs))]
        for op in read_tflite(model).operators
    ]
    return hashlib.sha256(json_text(operators).encode()).hexdigest()


def record(bundle: Bundle, results: Sequence[Result]) -> dict[str, Any]:
    """Describe what was counted, and on which models, in the order in which an app runs them.

    ``times`` is how often one appraisal runs a model.
    """
    variant, times = bundle.variant(VARIANT), times_of_front(bundle.spec)
    files_ = {model.name: variant.files[model.name] for model in models_of_app(bundle.spec)}
    return {
        "what": "ARM64 instructions of one run on one thread, by emulated processor; no time",
        "variant": variant.name,
        "runtime": f"ai-edge-litert {version('ai-edge-litert')}",
        "models": {
            name: {"sha256": sha256(file), "structure": structure(file), "times": times.get(name, 1)}
            for name, file in files_.items()
        },
        "instructions": {
            result.target.removeprefix("arm64-"): {work.graph: work.instructions for work in result.work}
            for result in results
        },
    }


def growth(stored: Mapping[str, Any], found: Mapping[str, Any]) -> float:
    """Return by what share the last model needs more on the typical processor; below 0 when it needs less."""
    counts = [entry["instructions"][DEFAULT_PRESET][_last(entry)] for entry in (stored, found)]
    return float(counts[1] / counts[0] - 1)


def _last(entry: Mapping[str, Any]) -> str:
    """Name the model that gives the rating."""
    *_, last = entry["models"]
    return str(last)


def changes(stored: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    """Say what is not as it was when the counts were stored."""
    said = [
        f"{graph} has other {what}"
        for graph, model in found["models"].items()
        for key, what in (("sha256", "bytes"), ("structure", "operators or shapes"))
        if stored["models"][graph][key] != model[key]
    ]
    if stored["runtime"] != found["runtime"]:
        said.append(f"counted with {found['runtime']}, stored with {stored['runtime']}")
    return said


def count(bundle: Bundle, cache: Path, presets: Sequence[str]) -> list[Result]:
    """Appraise the first golden photograph once on each emulated processor."""
    spec = BenchSpec(bundle, VARIANT, first_given(bundle), 1, 0, 1, 1)
    with bar_of_parts("counting") as show:
        sysroot = set_up(cache, lambda text: show(Part(text)))
        tell = counted(show, len(presets))
        return [Arm64Target(preset, sysroot, tell).run(spec) for preset in presets]


def goals(stored: Mapping[str, Any], found: Mapping[str, Any]) -> Iterator[Goal]:
    """Compare the counts on both processors with what is wanted of them."""
    baseline, typical = (found["instructions"][preset] for preset in PRESETS)
    basis = "ARM64 instructions under QEMU, no time"
    whole = sum(model["times"] * typical[name] for name, model in found["models"].items())
    last = _last(found)
    yield Goal(f"whole {VARIANT} appraisal, {DEFAULT_PRESET}", whole, None, "instructions", basis)
    grown = 100 * growth(stored, found)
    yield Goal("end-to-end model since its count was stored", grown, 100 * TOLERANCE, "%", basis)
    ratio = typical[last] / baseline[last]
    yield Goal(f"end-to-end model, {DEFAULT_PRESET} / {PRESETS[0]}", ratio, RATIO, "", basis)


def attainable(works: Sequence[Work], model: TFLiteFile) -> float | None:
    """Return the ratio of the processors' work if every dense convolution were int8; None where none is.

    Float products are counted at the int8 kernels' instructions per product, on each processor. All other
    work stays what it is: dot products do nothing for it.
    """
    dense = [operator for operator in model.running if operator.macs and operator.name != DEPTHWISE]
    done = sum(operator.macs for operator in dense if operator.is_integer)
    if not done:
        return None
    needed = []
    for work in works:
        kinds = by_kind(work)
        int8 = kinds.pop(DENSE_INT8) * sum(operator.macs for operator in dense) / done
        needed.append(int8 + sum(kinds.values()) - kinds[DENSE_FLOAT])
    return needed[1] / needed[0]


def print_counts(stored: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    """Print counts beside the stored ones."""
    table = Table(title=f"{VARIANT}: ARM64 instructions of one appraisal, no time")
    for heading in ("processor", "graph", "stored", "counted", "change"):
        table.add_column(heading, justify="left" if heading in ("processor", "graph") else "right")
    for preset, counts in found["instructions"].items():
        for graph, now in counts.items():
            before = stored["instructions"][preset][graph]
            table.add_row(preset, graph, f"{before:,}", f"{now:,}", f"{now / before - 1:+.2%}")
    Console().print(table)


def print_kinds(works: Sequence[Work]) -> None:
    """Print what kinds of work the end-to-end model is, on a processor without dot products and with."""
    table = Table(title="the end-to-end model: million instructions by kind of kernel")
    for heading in ("", *PRESETS, f"share of {PRESETS[0]}", "ratio"):
        table.add_column(heading, justify="right" if heading else "left")
    counts = zip(*(by_kind(work).items() for work in works), strict=True)
    rows = [(kind, old, new) for (kind, old), (_, new) in counts]
    whole = [float(work.instructions) for work in works]
    for kind, old, new in [*rows, ("all", *whole)]:
        ratio = f"{new / old:.2f}" if old else ""
        table.add_row(kind, f"{old / 1e6:.1f}", f"{new / 1e6:.1f}", f"{old / whole[0]:.1%}", ratio)
    Console().print(table)


def _check_models(bundle: Bundle, stored: Mapping[str, Any]) -> None:
    names = [model.name for model in models_of_app(bundle.spec)]
    if names != list(stored["models"]):
        raise UsageError(
            f"the bundle runs {', '.join(names)}, the stored counts are of {', '.join(stored['models'])}; "
            "give a bundle of the appraisal"
        )


@click.command()
@click.argument("bundle", type=_PATH)
@click.option("--cache", type=_PATH, help="Where 'mien setup' keeps the emulated system.")
@click.option("--update", is_flag=True, help="Store the counts instead of judging them.")
def main(bundle: Path, cache: Path | None, update: bool) -> None:  # noqa: FBT001 - click passes flags so
    """Count the instructions of a bundle's int8 appraisal and compare with those in the repository."""
    opened = open_bundle(bundle)
    if not update:
        _check_models(opened, read_stored())
    results = count(opened, cache or default_cache(), PRESETS)
    found = record(opened, results)
    if update:
        OutputFile.at(Path(str(files(__package__).joinpath(STORED)))).write(json_text(found, indent=1) + "\n")
    stored = read_stored()
    works = [result.work[-1] for result in results]
    print_counts(stored, found)
    print_kinds(works)
    for goal in goals(stored, found):
        click.echo(goal.line)
    if (best := attainable(works, read_tflite(opened.variant(VARIANT).files[_last(found)]))) is not None:
        click.echo(f"the same, were every dense convolution int8: {best:.3f}")
    for change in changes(stored, found):
        click.echo(f"note: {change}")
    grown = growth(stored, found)
    if grown < -TOLERANCE:
        click.echo(f"note: {grown:+.1%}; store it with --update, so that the next growth is seen")
    if grown > TOLERANCE:
        click.echo(
            f"mien: the appraisal needs {grown:+.1%} instructions, at most {TOLERANCE:+.0%} are allowed",
            err=True,
        )
        click.echo("mien: a deliberate change is stored by the same command with --update", err=True)
        raise click.exceptions.Exit(1)


if __name__ == "__main__":
    run(main)
