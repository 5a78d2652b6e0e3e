"""The commands ``mien bench BUNDLE`` and ``mien bench compare A B``."""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import click
from mien.mobile_reference.bundle import Bundle, open_bundle, sha256
from mien.mobile_reference.errors import UsageError
from mien.mobile_reference.graphs import executable
from mien.mobile_reference.photograph import read_photograph
from rich.console import Console

from .compare import INSTRUCTIONS, MS, compare
from .host import HostTarget
from .records import BenchSpec, Result, check_output, make_report, read_report, write_whole
from .tables import print_changes, print_latency

_PATH = click.Path(path_type=Path)
_MEASURE = "run"


class BenchCommands(click.Group):
    """A group whose command ``run`` may be left out: ``mien bench BUNDLE`` is ``mien bench run BUNDLE``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put ``run`` in front of what is no command; a folder named like one is ``./compare``."""
        if not args or args[0] not in {*self.commands, *ctx.help_option_names}:
            args = [_MEASURE, *args]
        return super().parse_args(ctx, args)

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Show the short form first."""
        formatter.write_usage(ctx.command_path, "[OPTIONS] BUNDLE")
        formatter.write_usage(ctx.command_path, "COMMAND [ARGS]...")

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Show the options of ``run``, then the commands."""
        self.commands[_MEASURE].format_options(ctx, formatter)
        self.format_commands(ctx, formatter)


@click.group(cls=BenchCommands)
def bench() -> None:
    """Measure how long the appraisals of BUNDLE take, from the encoded photograph to the score.

    Every result says on what it was measured; only a phone's time is evidence for a phone.
    """


def _cpus(_: click.Context, __: click.Parameter, value: str | None) -> tuple[int, ...]:
    """Read a list such as 0,2,3 of processors that this process may use."""
    if value is None:
        return ()
    if not hasattr(os, "sched_getaffinity"):
        raise UsageError("--cpus was given, but this system cannot pin processes; leave it out")
    allowed = os.sched_getaffinity(0)
    parts = value.split(",")
    if not all(part.isdecimal() and int(part) in allowed for part in parts):
        raise UsageError(f"--cpus is {value!r}, expected numbers of {sorted(allowed)}, e.g. 0 or 0,1")
    return tuple(sorted({int(part) for part in parts}))


@bench.command(name=_MEASURE)
@click.argument("bundle", type=_PATH)
@click.option("--variant", "variants", multiple=True, help="Measure this variant only; may be repeated.")
@click.option("--photo", type=_PATH, help="Photograph to appraise (default: the bundle's first golden one).")
@click.option("--threads", default=1, show_default=True, type=click.IntRange(1, 64))
@click.option("--cpus", callback=_cpus, help="Pin to these processors, e.g. 0,1.")
@click.option("--processes", default=5, show_default=True, type=click.IntRange(1, 100))
@click.option(
    "--runs", default=10, show_default=True, type=click.IntRange(1, 10_000), help="In each process."
)
@click.option(
    "--warmup", default=3, show_default=True, type=click.IntRange(0, 1000), help="Untimed runs first."
)
@click.option("-o", "--output", type=_PATH, help="Write the JSON report, raw times included, into this file.")
@click.option("--json", "as_json", is_flag=True, help="Print the JSON report.")
def run(
    bundle: Path,
    variants: tuple[str, ...],
    photo: Path | None,
    threads: int,
    cpus: tuple[int, ...],
    processes: int,
    runs: int,
    warmup: int,
    output: Path | None,
    as_json: bool,  # noqa: FBT001 - click passes flags so
) -> None:
    """Measure BUNDLE; the word 'run' may be left out.

    The exit code is 1 when a measured score is off by more than its variant's gate: a fast wrong
    answer is not a result.
    """
    if output:
        check_output(output)
    opened = open_bundle(bundle)
    photograph = photo or opened.goldens[0].photograph
    read_photograph(photograph)
    specs = [
        BenchSpec(opened, name, photograph, threads, warmup, runs, processes, cpus)
        for name in _chosen(opened, variants)
    ]
    with Console(stderr=True).status("measuring") as status:
        target = HostTarget(lambda text: status.update(f"measuring {text}"))
        results = tuple(target.run(spec) for spec in specs)
    report = json.dumps(make_report(opened, _settings(specs[0]), results), indent=1) + "\n"
    if output:
        write_whole(output, report)
    if as_json:
        click.echo(report, nl=False)
    else:
        print_latency(results)
    _check_parity(results)


@bench.command(name="compare")
@click.argument("before", type=_PATH)
@click.argument("after", type=_PATH)
@click.option("--threshold", default=5.0, show_default=True, help="Percent of time that may be lost.")
@click.option("--work-threshold", default=2.0, show_default=True, help="Percent of instructions, likewise.")
@click.option("--json", "as_json", is_flag=True, help="Print the comparison as JSON.")
def compare_reports(
    before: Path,
    after: Path,
    threshold: float,
    work_threshold: float,
    as_json: bool,  # noqa: FBT001 - click passes flags so
) -> None:
    """Compare two reports; exit 1 when AFTER needs certainly more than BEFORE and the threshold.

    Processes of equal number are paired; the interval is a 95 % bootstrap. Only the whole way from
    photograph to score, and instruction counts, can fail.
    """
    thresholds = {MS: threshold / 100, INSTRUCTIONS: work_threshold / 100}
    changes = compare(read_report(before), read_report(after))
    if as_json:
        records = [asdict(c) | {"verdict": c.verdict, "regressed": c.regressed(thresholds)} for c in changes]
        click.echo(json.dumps(records, indent=1))
    else:
        print_changes(changes)
    regressions = [change for change in changes if change.regressed(thresholds)]
    for change in regressions:
        click.echo(
            f"mien: {change.variant}: {change.what} needs {change.ratio.estimate - 1:+.1%} {change.unit}, "
            f"at most {thresholds[change.unit]:+.1%} are allowed",
            err=True,
        )
    if regressions:
        raise click.exceptions.Exit(1)


def _chosen(bundle: Bundle, names: Sequence[str]) -> list[str]:
    if names:
        return list(dict.fromkeys(bundle.variant(name).name for name in names))
    ready = [variant.name for variant in bundle.variants if executable(variant)]
    if not ready:
        raise UsageError("no variant of this bundle can be executed here; export a tflite variant too")
    return ready


def _settings(spec: BenchSpec) -> dict[str, object]:
    return {
        "photograph": spec.photograph.name,
        "photograph_sha256": sha256(spec.photograph),
        "blocks": spec.blocks,
        "runs": spec.runs,
        "warmup": spec.warmup,
        "cpus": list(spec.cpus),
    }


def _check_parity(results: Sequence[Result]) -> None:
    failed = [(result, parity) for result in results for parity in result.parity if not parity.passed]
    for result, parity in failed:
        click.echo(
            f"mien: {result.variant} on {result.device.kind}: {parity.name} is off by {parity.error:.3g} "
            f"{parity.unit}, at most {parity.gate:g} are allowed",
            err=True,
        )
    if failed:
        raise click.exceptions.Exit(1)
