"""The stored instruction counts of a whole int8 appraisal, and whether a bundle needs more.

``python -m mien.benchmarks.baseline BUNDLE`` counts on emulated processors, prints both and exits with 1
when the typical one needs more than the stored count and two per cent; ``--update`` stores the new counts.
It sets the emulation up when that was not done (``mien bench --target arm64 --setup``).
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from mien.mobile_reference.bundle import APPRAISAL, DETECTOR, Variant, open_bundle, sha256
from mien.mobile_reference.cache import default_cache

from .arm64 import DEFAULT_PRESET, Arm64Target
from .records import BenchSpec, Result, Work, write_whole
from .tflitefile import read_tflite
from .userland import set_up

VARIANT = "tflite-int8"
PRESETS = ("baseline", DEFAULT_PRESET)
TOLERANCE = 0.02
GOAL = 0.6
"""What a processor with dot products should need of what one without needs, the whole int8 appraisal."""
STORED = "data/appraisal_work.json"
_GRAPHS = (DETECTOR, APPRAISAL)
# What XNNPACK calls the kernels that convolve int8.
_INT8 = "_qs8_"
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
    return hashlib.sha256(json.dumps(operators).encode()).hexdigest()


def record(variant: Variant, results: Sequence[Result]) -> dict[str, Any]:
    """Describe what was counted, and on which models."""
    return {
        "what": "ARM64 instructions of one run on one thread, by emulated processor; no time",
        "variant": variant.name,
        "runtime": f"ai-edge-litert {version('ai-edge-litert')}",
        "models": {
            graph: {"sha256": sha256(variant.files[graph]), "structure": structure(variant.files[graph])}
            for graph in _GRAPHS
        },
        "instructions": {
            result.target.removeprefix("arm64-"): {work.graph: work.instructions for work in result.work}
            for result in results
        },
    }


def growth(stored: Mapping[str, Any], found: Mapping[str, Any]) -> float:
    """Return by what share the one graph needs more on the typical processor; negative when it needs less."""
    counts = [entry["instructions"][DEFAULT_PRESET][APPRAISAL] for entry in (stored, found)]
    return float(counts[1] / counts[0] - 1)


def changes(stored: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    """Say what is not as it was when the counts were stored."""
    said = [
        f"{graph} has other {what}"
        for graph in _GRAPHS
        for key, what in (("sha256", "bytes"), ("structure", "operators or shapes"))
        if stored["models"][graph][key] != found["models"][graph][key]
    ]
    if stored["runtime"] != found["runtime"]:
        said.append(f"counted with {found['runtime']}, stored with {stored['runtime']}")
    return said


def count(bundle: Path, cache: Path, presets: Sequence[str]) -> tuple[Variant, list[Result]]:
    """Appraise the first golden photograph once on each emulated processor."""
    opened = open_bundle(bundle)
    spec = BenchSpec(opened, VARIANT, opened.goldens[0].photograph, 1, 0, 1, 1)
    with Console(stderr=True).status("counting") as status:
        userland = set_up(cache, status.update)
        results = [
            Arm64Target(preset, userland, lambda text: status.update(f"counting {text}")).run(spec)
            for preset in presets
        ]
    return opened.variant(VARIANT), results


def int8_instructions(work: Work) -> float:
    """Count what the int8 convolutions among the named kernels need."""
    return work.instructions * sum(share for name, share in work.kernels.items() if _INT8 in name)


def goal_line(baseline: int, typical: int) -> str:
    """Say whether dot products save what is wanted of the whole graph."""
    ratio = typical / baseline
    verdict = "met" if ratio <= GOAL else "missed"
    return f"dot products: {ratio:.2f} of the baseline, the whole graph; goal {GOAL:g} {verdict}"


def print_counts(stored: Mapping[str, Any], found: Mapping[str, Any], results: Sequence[Result]) -> None:
    """Print counts beside the stored ones, and what dot products save."""
    table = Table(title=f"{VARIANT}: ARM64 instructions of one appraisal, no time")
    for heading in ("processor", "graph", "stored", "counted", "change"):
        table.add_column(heading, justify="left" if heading in ("processor", "graph") else "right")
    for preset, counts in found["instructions"].items():
        for graph, counted in counts.items():
            before = stored["instructions"][preset][graph]
            table.add_row(preset, graph, f"{before:,}", f"{counted:,}", f"{counted / before - 1:+.2%}")
    console = Console()
    console.print(table)
    old, new = (result.work[-1] for result in results)
    console.print(goal_line(old.instructions, new.instructions))
    int8 = [int8_instructions(work) for work in (old, new)]
    if int8[0]:
        console.print(
            f"dot products: {int8[1] / int8[0]:.2f} of the baseline, int8 convolutions alone, which are "
            f"{int8[0] / old.instructions:.0%} of its work"
        )


@click.command()
@click.argument("bundle", type=_PATH)
@click.option("--cache", type=_PATH, help="Where 'mien bench --setup' keeps the emulated system.")
@click.option("--update", is_flag=True, help="Store the counts instead of judging them.")
def main(bundle: Path, cache: Path | None, update: bool) -> None:  # noqa: FBT001 - click passes flags so
    """Count the instructions of a bundle's int8 appraisal and compare with those in the repository."""
    variant, results = count(bundle, cache or default_cache(), PRESETS)
    found = record(variant, results)
    if update:
        write_whole(Path(str(files(__package__).joinpath(STORED))), json.dumps(found, indent=1) + "\n")
    stored = read_stored()
    print_counts(stored, found, results)
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
    main()
