"""The commands ``mien bench BUNDLE`` and ``mien bench compare A B``."""

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click

from mien.mobile_reference.bundle.reader import Bundle, open_bundle
from mien.mobile_reference.bundle.shipped import shipped_bundle
from mien.mobile_reference.commands.options import SectionedCommand, examples
from mien.mobile_reference.errors import UsageError
from mien.mobile_reference.files import default_cache
from mien.mobile_reference.front.photograph import read_photograph
from mien.mobile_reference.output.file import OutputFile
from mien.mobile_reference.output.json_text import json_text
from mien.mobile_reference.output.text import path_text, say, tell
from mien.mobile_reference.report.charts import page_of_charts
from mien.mobile_reference.report.junit import Case
from mien.mobile_reference.report.junit import junit as junit_text
from mien.mobile_reference.report.progress import bar_of_parts
from mien.mobile_reference.report.steps import Part, counted
from mien.mobile_reference.run.models import TFLITE

from .apps import android_package, android_results, apple_package, apple_results
from .apps.generated_project import measured, variants_for
from .emulation.emulator import DEFAULT_PRESET, PRESETS
from .emulation.sysroot import open_sysroot
from .errors import DeviceLost
from .estimates.estimate import chosen_variants, estimates, make_estimate_report
from .estimates.evidence import claim_goals
from .estimates.fit import fit_all
from .phone.adb import choose_device, find_adb
from .phone.phone import probe
from .phone.phone_runner import open_phone_runner
from .phone.session import MODES, Session
from .pipeline import Given, first_given, timed_variants
from .reporting.tables import print_changes, print_estimates, print_profile, print_results
from .results.compare import INSTRUCTIONS, MS, compare
from .results.records import (
    ANDROID,
    HOST,
    BenchSpec,
    Result,
    Target,
    make_report,
    read_evidence,
    read_report,
)
from .targets.android import AndroidTarget
from .targets.arm64 import Arm64Target
from .targets.benchmark_model import CPU, UNITS, BenchmarkModelTarget
from .targets.host import HostTarget

_PATH = click.Path(path_type=Path)
_MEASURE = "run"
ARM64, ESTIMATE, GENERATE = "arm64", "estimate", "generate"
APPLE = ("macos", "ios")
_PRESET_HELP = f"{', '.join(PRESETS)} (default: {DEFAULT_PRESET})."
_OUTPUT_HELP = "JSON report; for macos, ios: the package's folder."
# What a target heeds beside what all do.
_OPTIONS_OF: dict[str, tuple[str, ...]] = {
    HOST: ("threads", "cpus", "processes", "runs", "warmup"),
    ARM64: ("presets", "cache", "profile"),
    ANDROID: ("serial", "mode", "adb", "benchmark_model", "unit", "threads", "cache"),
    **dict.fromkeys(APPLE, ()),
    ESTIMATE: ("estimate",),
    GENERATE: ("generate",),
}
# Options whose variables have other names.
_FLAGS = {"presets": "preset", "benchmark_model": "benchmark-model"}
_GET = "name LiteRT's program by --benchmark-model"
Options = Mapping[str, Any]
Show = Callable[[Part], None]


class BenchCommands(click.Group):
    """A group whose command ``run`` may be left out: ``mien bench BUNDLE`` is ``mien bench run BUNDLE``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put ``run`` in front of what is not a command; a folder named like one is ``./compare``."""
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


@click.group(
    cls=BenchCommands,
    epilog=examples(
        "bench bundle --variant tflite-int8 --threads 4 -o bench.json",
        "bench bundle --target arm64 --profile",
        "bench compare before.json after.json",
    ),
)
def bench() -> None:
    """Time BUNDLE (default: what ships); only a phone's time speaks for a phone."""


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


@bench.command(
    name=_MEASURE,
    hidden=True,
    cls=SectionedCommand,
    sections={
        "Emulated, phone, elsewhere": (
            *(
                "preset",
                "cache",
                "profile",
                "serial",
                "mode",
                "adb",
                "benchmark-model",
                "unit",
                "generate",
                "estimate",
            ),
        )
    },
)
@click.argument("bundle", type=_PATH, required=False)
@click.option("--variant", "variants", multiple=True, metavar="NAME", help="This one only; may be repeated.")
@click.option("--photo", type=_PATH, help="Photograph to begin with (default: a golden input).")
@click.option(
    "--target",
    default=HOST,
    type=click.Choice([HOST, ARM64, ANDROID, *APPLE]),
    metavar="NAME",
    help="host, arm64, android, macos, ios (default: host).",
)
@click.option("--threads", metavar="N", default=1, type=click.IntRange(1, 64), help="Default: 1.")
@click.option("--cpus", callback=_cpus, metavar="LIST", help="Pin to these processors, e.g. 0,1.")
@click.option("--processes", metavar="N", default=5, type=click.IntRange(1, 100), help="Default: 5.")
@click.option(
    "--runs", metavar="N", default=10, type=click.IntRange(1, 10_000), help="Of each (default: 10)."
)
@click.option("--warmup", metavar="N", default=3, type=click.IntRange(0, 1000), help="Untimed (default: 3).")
@click.option(
    "--preset", "presets", multiple=True, type=click.Choice(list(PRESETS)), metavar="NAME", help=_PRESET_HELP
)
@click.option("--cache", type=_PATH, help="Where 'mien setup' put it.")
@click.option("--profile", is_flag=True, help="The ten dearest kernels, and those in int8.")
@click.option("--serial", metavar="ID", help="Which phone of 'adb devices'.")
@click.option("--mode", default="quick", show_default=True, type=click.Choice(list(MODES)))
@click.option("--adb", type=_PATH, help="The adb program (default: PATH, ANDROID_HOME).")
@click.option(
    "--benchmark-model",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="LiteRT's program instead of mien's runner.",
)
@click.option("--unit", default=CPU, type=click.Choice(list(UNITS)), help="For that program (default: cpu).")
@click.option("--generate", type=_PATH, help="With android: write or read a library for apps.")
@click.option("--estimate", is_flag=True, help="Compare with published times of phones.")
@click.option("-o", "--output", type=_PATH, help=_OUTPUT_HELP)
@click.option("--page", type=_PATH, help="Also write an HTML page.")
@click.option("--junit", type=_PATH, help="Also write the verdicts as JUnit XML.")
@click.option("--json", "as_json", is_flag=True, help="Print the JSON report.")
@click.pass_context
def run(
    context: click.Context,
    /,
    bundle: Path | None,
    variants: tuple[str, ...],
    photo: Path | None,
    output: Path | None,
    page: Path | None,
    junit: Path | None,
    as_json: bool,  # noqa: FBT001 - click passes flags so
    **options: Any,
) -> None:
    """Measure BUNDLE, or what ships with mien; the word 'run' may be left out.

    The exit code is 1 when a measured result is off by more than its gate: a fast wrong answer is not a
    result.
    """
    _check_generation(options, photo, output)
    heeding = _heeding(options)
    _refuse_foreign_options(context, heeding)
    if heeding in _INSTEAD:
        if junit or page:
            flag = "--junit" if junit else "--page"
            raise UsageError(f"{flag} tells of what is measured here, and nothing is; leave it out")
        _INSTEAD[heeding](bundle, variants, options, output, as_json=as_json)
        return
    file, verdicts, drawn = OutputFile.maybe(output), OutputFile.maybe(junit), page_of_charts(page)
    with bar_of_parts("measuring") as show:
        opened = open_bundle(bundle or shipped_bundle())
        specs = _specs(opened, variants, photo, options)
        targets = _TARGETS[options["target"]](options, show, len(specs))
        results = _run_all(targets, specs)
    made = make_report(opened, _settings(specs[0]), results)
    report = json_text(made, indent=1) + "\n"
    if file:
        file.write(report)
    if drawn:
        from .reporting.page import make_page

        drawn.write(make_page([made]))
    if verdicts:
        verdicts.write(junit_text(f"mien bench {opened.name}", list(map(_case, results))))
    if as_json:
        click.echo(report, nl=False)
    else:
        print_results(results)
        if options["profile"]:
            print_profile(results)
    _report_failures(results)


def _case(result: Result) -> Case:
    """Tell a result as a case; one without a float value to compare with was not judged."""
    failure = "; ".join(result.failures)
    skipped = "" if failure or result.parity else "measured, with no float value to compare with"
    return Case(result.variant, result.target, failure, skipped)


def _run_all(targets: Sequence[Target], specs: Sequence[BenchSpec]) -> tuple[Result, ...]:
    """Measure everything; a phone that goes away does not take what was measured along."""
    results: list[Result] = []
    left = [spec.variant for spec in specs]
    for target in targets:
        for spec in specs:
            try:
                results.append(target.run(spec))
            except DeviceLost as error:
                if not results:
                    raise
                lost = f"not measured: {', '.join(left[len(results) :])}; {error}"
                results[-1] = replace(results[-1], missing=(*results[-1].missing, lost))
                return tuple(results)
    return tuple(results)


def _check_generation(options: Options, photo: Path | None, output: Path | None) -> None:
    """Refuse what does not go with a folder that measures elsewhere."""
    if options["target"] in APPLE and photo:
        raise UsageError("--photo was given, but the package measures with the golden faces; leave it out")
    if options["generate"] and (options["target"] != ANDROID or photo or output):
        raise UsageError("--generate goes with --target android, without --photo and --output")


def _estimate(
    bundle: Path | None, names: Sequence[str], _: Options, output: Path | None, *, as_json: bool
) -> None:
    """Print what published times say about a bundle."""
    file = OutputFile.maybe(output)
    opened = open_bundle(bundle or shipped_bundle())
    tflite = variants_for(opened, names, TFLITE, "An estimate counts TFLite models")
    variants = tflite if names else chosen_variants(opened)
    found = [estimate for variant in variants for estimate in estimates(opened, variant)]
    made = make_estimate_report(opened, found)
    report = json_text(made, indent=1) + "\n"
    if file:
        file.write(report)
    if as_json:
        click.echo(report, nl=False)
    else:
        print_estimates(found)
        for goal in claim_goals(made["estimates"]):
            click.echo(f"goal: {goal.line}")


def _generate(
    bundle: Path | None, names: Sequence[str], options: Options, folder: Path | None, *, as_json: bool
) -> None:
    """Write the package that measures on Apple hardware, and say that nothing was measured."""
    platform = options["target"]
    if folder is None:
        raise UsageError(f"--target {platform} writes a Swift package; name its folder, e.g. -o {platform}")
    opened = open_bundle(bundle or shipped_bundle())
    first_given(opened)  # a report names it
    spec = apple_package.make_spec(opened, apple_package.core_ml_variants(opened, names))
    if not measured(spec, folder, apple_package.PLACE):
        apple_package.write_package(opened, spec, platform, folder)
        if apple_results.can_measure(platform):
            with bar_of_parts("measuring on this Mac"):
                apple_results.measure(folder)
    if measured(spec, folder, apple_package.PLACE):
        results = apple_results.read_results(opened, spec, folder)
        _report_measured(opened, spec, folder, results, as_json=as_json)
        return
    _report_generated(platform, folder, spec, "on a Mac with Xcode", as_json=as_json)


def _generate_library(
    bundle: Path | None, names: Sequence[str], options: Options, _: Path | None, *, as_json: bool
) -> None:
    """Write the library that measures in an Android app, or report what its measure.sh left in it."""
    folder = options["generate"]
    opened = open_bundle(bundle or shipped_bundle())
    first_given(opened)  # a report names it
    spec = android_package.make_spec(opened, android_package.tflite_variants(opened, names))
    if measured(spec, folder, android_package.PLACE):
        results = android_results.read_results(opened, spec, folder)
        _report_measured(opened, spec, folder, results, as_json=as_json)
        return
    android_package.write_library(opened, spec, folder)
    _report_generated(ANDROID, folder, spec, "with a phone and Android's SDK", as_json=as_json)


def _report_generated(
    target: str, folder: Path, spec: Mapping[str, Any], where: str, *, as_json: bool
) -> None:
    if as_json:
        record = {"target": target, "package": path_text(folder), "id": spec["id"], "measured": False}
        click.echo(json_text(record))
    else:
        tell(f"{folder}: generated only, nothing was measured; {where} run measure.sh in it")


# What is done instead of measuring here.
_INSTEAD: Mapping[str, Callable[..., None]] = {
    **dict.fromkeys(APPLE, _generate),
    GENERATE: _generate_library,
    ESTIMATE: _estimate,
}


def _report_measured(
    bundle: Bundle, spec: Mapping[str, Any], folder: Path, results: tuple[Result, ...], *, as_json: bool
) -> None:
    """Report what ``measure.sh`` left in a package's folder."""
    runs = {"blocks": len(results[0].latency.load_ms) if results[0].latency else 1, "runs": spec["runs"]}
    settings = {**_named_input(first_given(bundle)), "cpus": []}
    report = make_report(bundle, settings | runs | {"warmup": spec["warmup"]}, results)
    text = json_text(report, indent=1) + "\n"
    OutputFile.at(folder / "report.json").write(text)
    if as_json:
        click.echo(text, nl=False)
    else:
        print_results(results)
    _report_failures(results)


def _heeding(options: Options) -> str:
    """Say whose options count: those of the target, or of what takes its place."""
    return next((what for what in (ESTIMATE, GENERATE) if options[what]), options["target"])


def _refuse_foreign_options(context: click.Context, target: str) -> None:
    """Refuse an option that the target would silently not heed."""
    for other, names in _OPTIONS_OF.items():
        for name in names:
            given = context.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT
            if name not in _OPTIONS_OF[target] and given:
                flag = _FLAGS.get(name, name)
                raise UsageError(f"--{flag} was given, but it is for --target {other}; leave it out")


def _host_targets(_: Options, show: Show, _runs: int) -> list[Target]:
    return [HostTarget(show)]


def _arm64_targets(options: Options, show: Show, runs: int) -> list[Target]:
    presets = options["presets"] or (DEFAULT_PRESET,)
    sysroot = open_sysroot(options["cache"] or default_cache())
    tell = counted(show, runs * len(presets))
    return [Arm64Target(preset, sysroot, tell) for preset in presets]


def _android_targets(options: Options, show: Show, _runs: int) -> list[Target]:
    cache = options["cache"] or default_cache()
    if options["unit"] != CPU and not options["benchmark_model"]:
        raise UsageError(f"--unit is {options['unit']}, which mien's runner does not reach; {_GET}")
    adb = choose_device(find_adb(options["adb"]), options["serial"])
    phone = probe(adb)
    session = Session(adb, phone, MODES[options["mode"]], show)
    if program := options["benchmark_model"]:
        return [BenchmarkModelTarget(session, program, options["unit"])]
    return [AndroidTarget(session, open_phone_runner(cache, phone.abi))]


_TARGETS: dict[str, Callable[[Options, Show, int], list[Target]]] = {
    HOST: _host_targets,
    ARM64: _arm64_targets,
    ANDROID: _android_targets,
}


def _specs(bundle: Bundle, variants: Sequence[str], photo: Path | None, options: Options) -> list[BenchSpec]:
    """Say what to measure; an emulated run repeats itself, so that one is enough."""
    given = first_given(bundle, photo)
    if given.photograph:
        read_photograph(given.photograph)
    counts = {key: options[key] for key in ("threads", "warmup", "runs", "cpus")}
    blocks = options["processes"]
    if options["target"] == ARM64:
        counts, blocks = {"threads": 1, "warmup": 0, "runs": 1, "cpus": ()}, 1
    if options["target"] == ANDROID:
        mode = MODES[options["mode"]]
        counts, blocks = counts | {"warmup": mode.warmup, "runs": mode.runs, "cpus": ()}, mode.blocks
    names = timed_variants(bundle, variants)
    return [BenchSpec(bundle, name, given, blocks=blocks, **counts) for name in names]


def _finite(_: click.Context, parameter: click.Parameter, value: float) -> float:
    """Refuse a share that nothing would ever exceed."""
    if not 0 <= value < math.inf:
        raise UsageError(f"--{parameter.name} is {value}, expected a number of at least 0".replace("_", "-"))
    return value


@bench.command(name="compare")
@click.argument("before", type=_PATH)
@click.argument("after", type=_PATH)
@click.option(
    "--threshold", default=5.0, show_default=True, callback=_finite, help="Percent of time that may be lost."
)
@click.option(
    "--work-threshold",
    default=2.0,
    show_default=True,
    callback=_finite,
    help="Percent of instructions, likewise.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the comparison as JSON.")
def compare_reports(
    before: Path,
    after: Path,
    threshold: float,
    work_threshold: float,
    as_json: bool,  # noqa: FBT001 - click passes flags so
) -> None:
    """Compare two reports; exit 1 when AFTER is slower.

    It is when it needs certainly more than BEFORE and the threshold.

    Processes of equal number are paired; the interval is a 95 % bootstrap. Only the whole way from
    photograph to score, and instruction counts, can fail.
    """
    thresholds = {MS: threshold / 100, INSTRUCTIONS: work_threshold / 100}
    changes = compare(read_report(before), read_report(after))
    if as_json:
        records = [asdict(c) | {"verdict": c.verdict, "regressed": c.regressed(thresholds)} for c in changes]
        click.echo(json_text(records, indent=1))
    else:
        print_changes(changes)
    regressions = [change for change in changes if change.regressed(thresholds)]
    for change in regressions:
        say(
            f"{change.variant}: {change.what} needs {change.ratio.estimate - 1:+.1%} {change.unit}, "
            f"at most {thresholds[change.unit]:+.1%} are allowed"
        )
    if regressions:
        raise click.exceptions.Exit(1)


@bench.command(name="page")
@click.argument("reports", type=_PATH, nargs=-1, required=True)
@click.option("-o", "--output", required=True, type=_PATH, help="The HTML file to write.")
def draw_reports(reports: tuple[Path, ...], output: Path) -> None:
    """Draw REPORTS of one bundle as one HTML page.

    '-o' wrote them. Reports of several targets and of '--estimate' go on one page: it begins with a verdict
    for each class of phones, in which a phone that was measured outranks an estimate.
    """
    from .reporting.page import make_page

    file = OutputFile.at(output)
    file.write(make_page([read_evidence(report) for report in reports]))


@bench.command(name="fit", hidden=True)
@click.option("-o", "--output", type=_PATH, help="Write the fits into this file.")
def fit(output: Path | None) -> None:
    """Fit the published times again: makes the file that --estimate reads. Needs scipy."""
    file = OutputFile.maybe(output)
    fits = fit_all()
    if file:
        file.write(fits)
    else:
        click.echo(fits, nl=False)


def _settings(spec: BenchSpec) -> dict[str, object]:
    return {
        **_named_input(spec.given),
        "blocks": spec.blocks,
        "runs": spec.runs,
        "warmup": spec.warmup,
        "cpus": list(spec.cpus),
    }


def _named_input(given: Given) -> dict[str, str]:
    return {"input": given.name, "input_sha256": given.sha256}


def _report_failures(results: Sequence[Result]) -> None:
    failed = [(result, failure) for result in results for failure in result.failures]
    for result, failure in failed:
        say(f"{result.variant} on {result.target}: {failure}")
    if failed:
        raise click.exceptions.Exit(1)
