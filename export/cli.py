"""The command ``mien export``."""

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mien.mobile_reference.commands.options import FiniteRange, SectionedCommand, examples, renamed

if TYPE_CHECKING:
    from mien.mobile_reference.bundle.reader import Bundle
    from mien.mobile_reference.output.file import OutputFile
    from mien.models.pipeline import LabelledInputs

    from .exporter import ExportReport
    from .running.isolation import Limits
    from .search.precision_search import Budget

_PATH = click.Path(path_type=Path)
DEFAULT_BUDGET = 0.4
"""Less than a third of the gate of int8: the worst face of other people errs up to three times as much as the
worst that was searched with."""


@click.command(
    cls=SectionedCommand,
    sections={
        "Precision and limits": (
            *("precision", "budget-points", "work", "converter-cpu", "converter-memory", "fresh", "timings"),
        ),
        "Comparing, in place of a bundle": (
            *("compare-converters", "compare-quantisers", "graph", "held-out", "json"),
        ),
    },
    epilog=examples("export -o bundle", "export grader.py -o bundle --calibration images --golden goldens"),
)
@click.argument("source", required=False, type=_PATH)
@click.option("-o", "--output", type=_PATH, help="Folder of the bundle.")
@click.option("--page", type=_PATH, help="Also write an HTML page of the bundle.")
@click.option("--calibration", type=_PATH, multiple=True, help="Inputs that give the int8 ranges.")
@click.option("--golden", type=_PATH, multiple=True, help="Inputs that the bundle is verified by.")
@click.option("--front", metavar="RULE", help="Pictures for .pt2 and .onnx: resize:HxW, height first.")
@click.option("--mean", metavar="R,G,B", help="With --front: (pixel / 255 - mean) / std.")
@click.option("--std", metavar="R,G,B", help="With --front: likewise, such as 0.229,0.224,0.225.")
@click.option(
    "--variant", "variants", multiple=True, metavar="NAME", help="This one and tflite-fp32 (default: all)."
)
@click.option("--skip-unreadable", is_flag=True, help="Go on without inputs that cannot be read.")
@click.option("--trust-pt2", is_flag=True, help="Unpickle what .pt2 files hold; it can run anything.")
@click.option("--precision", metavar="WHICH", help="'stored' (default), 'auto' to search, or a file.")
@click.option(
    "--budget-points",
    metavar="POINTS",
    type=FiniteRange(0, 100, min_open=True),
    help=f"With auto: worst error (default: {DEFAULT_BUDGET:g}).",
)
@click.option("--work", type=_PATH, help="With auto: folder of what was measured.")
@click.option(
    "--converter-cpu", metavar="SECONDS", type=FiniteRange(1, 1e6), help="Of a converter (default: 1200)."
)
@click.option("--converter-memory", metavar="GB", type=FiniteRange(0.5, 1024), help="Default: 4.3.")
@click.option("--labels", type=_PATH, help="CSV file,label: judge float and every variant by them.")
@click.option("--fresh", is_flag=True, help="Make it anew, though nothing changed.")
@click.option("--timings", is_flag=True, help="Show where the time went (a minute more).")
@click.option(
    "--compare-converters",
    "comparison",
    flag_value="converters",
    help="What converters make of a graph.",
)
@click.option(
    "--compare-quantisers", "comparison", flag_value="quantisers", help="What every way to int8 costs."
)
@click.option("--graph", "graphs", multiple=True, metavar="NAME", help="With --compare-converters: a model.")
@click.option("--held-out", type=_PATH, help="With --compare-quantisers: held-out inputs.")
@click.option("--faces", type=_PATH, hidden=True, expose_value=False, callback=renamed("--held-out"))
@click.option("--json", "as_json", is_flag=True, help="Print the comparison as JSON.")
def export(
    source: Path | None,
    output: Path | None,
    page: Path | None,
    calibration: tuple[Path, ...],
    golden: tuple[Path, ...],
    front: str | None,
    mean: str | None,
    std: str | None,
    variants: tuple[str, ...],
    skip_unreadable: bool,  # noqa: FBT001 - click passes flags so
    trust_pt2: bool,  # noqa: FBT001
    precision: str | None,
    budget_points: float | None,
    work: Path | None,
    converter_cpu: float | None,
    converter_memory: float | None,
    labels: Path | None,
    fresh: bool,  # noqa: FBT001
    timings: bool,  # noqa: FBT001
    comparison: str | None,
    graphs: tuple[str, ...],
    held_out: Path | None,
    as_json: bool,  # noqa: FBT001 - click passes flags so
) -> None:
    """Turn SOURCE into a bundle for Android and iOS.

    SOURCE is a .py file with a pipeline, which is executed; a .pt2 or .onnx file; or a checkpoint of the
    built-in appraisal (default: what ships).
    """
    given = {
        "--graph": graphs,
        "--held-out": held_out,
        "--json": as_json,
        "--page": page,
        "--precision": precision,
        "--budget-points": budget_points,
        "--work": work,
        "--golden": golden,
        "--front": front,
        "--mean": mean,
        "--std": std,
        "--variant": variants,
        "--converter-cpu": converter_cpu,
        "--converter-memory": converter_memory,
        "--labels": labels,
        "--fresh": fresh,
        "--timings": timings,
    }
    _check_options(output, comparison, given)
    if comparison or output is None:
        _compare(source, calibration, comparison or "", graphs, held_out, as_json=as_json)
        return
    _check_search(precision, budget_points, work)
    start = time.monotonic()
    from mien.mobile_reference.front.resize import parse_front
    from mien.mobile_reference.output.file import OutputFile

    from .cache.key import Asked
    from .cache.reuse import Reuse

    before = dict(os.environ)
    asked = Asked(
        source,
        calibration,
        golden,
        variants,
        None if precision in _NOT_FILES else Path(precision or ""),
        skip_unreadable,
        trust_pt2,
        parse_front(front, mean, std),
    )
    file = OutputFile.maybe(page)
    reuse = None if precision == _AUTO else Reuse.begin(asked)
    if reuse and not (fresh or timings or labels):
        warnings = reuse.fetch(output)
        if warnings is not None:
            _show_warnings(warnings)
            made = _show_bundle(
                output, f"unchanged, in {time.monotonic() - start:.1f} s; --fresh makes it anew"
            )
            _write_page(file, made, warnings)
            return
    from rich.console import Console

    from mien.mobile_reference.report.progress import one_bar
    from mien.mobile_reference.run.child import calm
    from mien.models.pipeline import RUNNING
    from mien.models.sources import Origin

    from .cache.contents import ReuseOfContents
    from .exporter import ExportRequest, make_bundle
    from .search.tables import search_table

    contents = None if fresh or timings else ReuseOfContents.begin(before)
    labelled = _labelled(source, labels) if labels else None
    chosen = _precision(precision, budget_points, work, output)
    origin = Origin(source, skip_unreadable, trust_pt2, asked.front)
    limits = _limits(converter_cpu, converter_memory)
    request = ExportRequest(origin, calibration, output, chosen, limits, golden, variants, contents)
    with calm(), one_bar(RUNNING) as progress:
        report = make_bundle(request, progress)
    if reuse and not report.lost:
        reuse.keep(output, report.warnings)
    _show_warnings(report.warnings)
    for variant, outcome in report.found.items():
        Console().print(search_table(variant, outcome))
    made = _show_bundle(output, _how(report))
    _write_page(file, made, report.warnings)
    if labelled:
        _show_labels(made, labelled)
    if timings:
        from .compare.yardstick import measure_yardstick
        from .running.timings import timings_table

        Console().print(timings_table(report.phases, measure_yardstick(origin, made, limits)))


def _write_page(file: "OutputFile | None", bundle: "Bundle", warnings: Sequence[str]) -> None:
    if file:
        from mien.mobile_reference.report.bundle_page import bundle_page

        file.write(bundle_page(bundle, warnings))


def _labelled(source: Path | None, labels: Path) -> "LabelledInputs":
    """Read what can be read of labels before the work."""
    from mien.models.sources import open_pipeline

    pipeline = open_pipeline(source)
    return pipeline.inputs.labelled(pipeline, labels)


def _show_labels(bundle: "Bundle", labelled: "LabelledInputs") -> None:
    from rich.console import Console

    from mien.mobile_reference.run.child import calm
    from mien.mobile_reference.verify.labels import judge_labels, labels_table

    with calm():
        judged = judge_labels(bundle, labelled, lambda _: None)
    Console().print(labels_table(judged))


def _how(report: "ExportReport") -> str:
    """Say how a bundle came to its place."""
    if report.unchanged:
        return f"unchanged, in {report.seconds:.1f} s; --fresh makes it anew"
    reused = f", {report.reused} conversions made before" if report.reused else ""
    return f"in {report.seconds:.0f} s{reused}, largest converter {report.peak_memory / 1e9:.1f} GB"


def _show_warnings(warnings: Sequence[str]) -> None:
    from mien.mobile_reference.output.text import say

    for warning in warnings:
        say(f"warning: {warning}")


def _show_bundle(output: Path, how: str) -> "Bundle":
    """Show the variants of a bundle that lies at its place, its size, and how it came there."""
    from rich.console import Console

    from mien.mobile_reference.bundle.reader import open_bundle, size_of
    from mien.mobile_reference.output.text import tell

    from .packing.variants_table import variants_table

    made = open_bundle(output)
    Console().print(variants_table(made.spec, made.manifest))
    tell(f"bundle: {output}, {size_of(output) / 1e6:.1f} MB, {how}")
    return made


# Which tasks heed an option that not all do.
_BUNDLE = "-o FOLDER"
_CONVERTERS, _QUANTISERS = "--compare-converters", "--compare-quantisers"
_SERVES = {
    "--graph": (_CONVERTERS,),
    "--held-out": (_QUANTISERS,),
    "--json": (_CONVERTERS, _QUANTISERS),
    "--page": (_BUNDLE,),
    "--precision": (_BUNDLE,),
    "--budget-points": (_BUNDLE,),
    "--work": (_BUNDLE,),
    "--golden": (_BUNDLE,),
    "--front": (_BUNDLE,),
    "--mean": (_BUNDLE,),
    "--std": (_BUNDLE,),
    "--variant": (_BUNDLE,),
    "--converter-cpu": (_BUNDLE,),
    "--converter-memory": (_BUNDLE,),
    "--labels": (_BUNDLE,),
    "--fresh": (_BUNDLE,),
    "--timings": (_BUNDLE,),
}


def _check_options(output: Path | None, comparison: str | None, given: Mapping[str, object]) -> None:
    """Find out before the work which options contradict each other."""
    from .errors import ExportError

    tasks = {_BUNDLE: output, f"--compare-{comparison or '...'}": comparison}
    chosen = [name for name, value in tasks.items() if value]
    if len(chosen) != 1:
        raise ExportError(
            f"got {' and '.join(chosen) or 'none'} of {', '.join(tasks)}; give exactly one of them"
        )
    for option, value in given.items():
        if value and chosen[0] not in _SERVES[option]:
            wanted = " or ".join(_SERVES[option])
            raise ExportError(f"{option} was given without {wanted}, which alone heeds it; leave it out")


def _compare(
    checkpoint: Path | None,
    calibration: tuple[Path, ...],
    comparison: str,
    graphs: tuple[str, ...],
    held_out: Path | None,
    *,
    as_json: bool,
) -> None:
    """Show what other converters or quantisers make of the pipeline."""
    from mien.models.sources import open_pipeline

    from .compare import command as tasks
    from .errors import ExportError

    pipeline = open_pipeline(checkpoint)
    judging = held_out or pipeline.inputs.samples
    if judging is None and comparison == tasks.QUANTISERS:
        raise ExportError("the pipeline comes with no samples; give a folder with --held-out")
    subject = tasks.Compared(checkpoint, pipeline, calibration, graphs, judging)
    tasks.compare(comparison, subject, tasks.show_json if as_json else tasks.show_table)


def _limits(seconds: float | None, gigabytes: float | None) -> "Limits":
    from .running.isolation import Limits

    usual = Limits()
    return Limits(seconds or usual.seconds, int(gigabytes * 1e9) if gigabytes else usual.memory)


_AUTO = "auto"
_NOT_FILES = (None, "stored", _AUTO)


def _check_search(precision: str | None, points: float | None, work: Path | None) -> None:
    """Find out whether the options of a search come without one."""
    from .errors import ExportError

    if (points or work) and precision != _AUTO:
        raise ExportError("--budget-points and --work concern a search; give --precision auto with them")


def _precision(
    precision: str | None, points: float | None, work: Path | None, output: Path
) -> "Path | Budget | None":
    """Understand the three options that belong together."""
    from .search.precision_search import Budget

    if precision == _AUTO:
        return Budget(points or DEFAULT_BUDGET, work or Path(f"{output.absolute()}.search"))
    return None if precision is None or precision in _NOT_FILES else Path(precision)
