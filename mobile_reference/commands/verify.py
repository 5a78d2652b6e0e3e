"""The command ``mien verify``."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import click
from rich.console import Console

from mien.mobile_reference.bundle.reader import Bundle, open_bundle
from mien.mobile_reference.bundle.shipped import shipped_bundle
from mien.mobile_reference.coreml import NOT_VALIDATED
from mien.mobile_reference.errors import ChildError, UsageError
from mien.mobile_reference.files import default_cache
from mien.mobile_reference.installed import entry_points
from mien.mobile_reference.metrics import METRICS, Metric
from mien.mobile_reference.output.file import OutputFile
from mien.mobile_reference.output.json_text import json_text
from mien.mobile_reference.output.text import say
from mien.mobile_reference.report.charts import page_of_charts
from mien.mobile_reference.report.junit import Case
from mien.mobile_reference.report.junit import junit as junit_text
from mien.mobile_reference.report.progress import bar_of_parts
from mien.mobile_reference.report.steps import Part
from mien.mobile_reference.run.child import Child, Limits, Tell
from mien.mobile_reference.run.models import EXPORT_AGAIN
from mien.mobile_reference.run.threads import computing_threads, usable_cores
from mien.mobile_reference.verify.held_out import HeldOut, fitting, judge_held_out, merged
from mien.mobile_reference.verify.held_out_tables import figure_tables
from mien.mobile_reference.verify.labels import (
    LabelReport,
    judge_labels,
    labels_record,
    labels_table,
)
from mien.mobile_reference.verify.layers import LayerErrors, first_poor_layers, layer_errors
from mien.mobile_reference.verify.limits import (
    CAVEAT,
    NOT_JUDGED,
    JudgedFigure,
    choice_lines,
    failures,
    figures,
    held_out_record,
)
from mien.mobile_reference.verify.model_explorer import layers_folder, write_layers
from mien.mobile_reference.verify.on_gpu import (
    GPU_OR_MODEL,
    UNITS,
    OnGPU,
    gpu_record,
    placements_table,
    verify_on_gpu,
)
from mien.mobile_reference.verify.repeatability import repeats
from mien.mobile_reference.verify.stages import Deviation, Verification, comparisons
from mien.mobile_reference.verify.stages import verify as verify_bundle
from mien.mobile_reference.verify.stages_tables import (
    failure_line,
    int8_shares,
    remarks,
    result_record,
    stages_table,
    title,
    weights_record,
)

from .options import examples, renamed

SOURCES = "mien.sources"
"""Who opens a float pipeline, which brings held-out inputs with what it makes of them."""
_PATH = click.Path(path_type=Path)
_WITH_PYTORCH = Limits(memory=8 << 30, seconds=0)
# Shaders are compiled when they are first run.
_ON_GPU = Limits(memory=4 << 30, seconds=900)
CPU = "cpu"


Told = Callable[[Part], None]


class _Request(NamedTuple):
    """What is judged by: held-out inputs, the source of the float pipeline, labels; by how many processes.

    Of the held-out inputs one in ``every`` is taken.
    ``layers`` asks for the errors of every layer; ``unit`` is what runs the models.
    """

    folder: Path | None
    every: int
    source: Path | None
    labels: Path | None
    threads: int
    jobs: int
    layers: bool
    unit: str

    @property
    def needs_pipeline(self) -> bool:
        """Tell whether the float pipeline has to be opened."""
        return any((self.folder, self.source, self.labels))

    @property
    def limits(self) -> Limits:
        """What the process that judges may use."""
        if self.needs_pipeline:
            return _WITH_PYTORCH
        return Limits() if self.unit == CPU else _ON_GPU

    @property
    def remedy(self) -> str:
        """What to do where that process dies."""
        return EXPORT_AGAIN if self.unit == CPU else GPU_OR_MODEL


class _Found(NamedTuple):
    """All that was judged; ``gpu`` is none where the CPU ran the models."""

    goldens: Verification
    held_out: HeldOut
    figures: list[JudgedFigure]
    labels: LabelReport | None
    layers: Sequence[LayerErrors]
    gpu: OnGPU | None

    @property
    def failures(self) -> list[str]:
        """A line for each gate that failed, and for what no gate sees."""
        beyond = self.gpu.problems if self.gpu else []
        return [*map(failure_line, self.goldens.failures), *failures(self.figures), *beyond]


@click.command(
    epilog=examples(
        "verify bundle --variant tflite-int8",
        "verify bundle --junit verify.xml --layers layers",
        "verify bundle --held-out photographs --page verify.html",
        "verify bundle --labels labels.csv --pipeline grader.py",
        "verify bundle --unit gpu",
    )
)
@click.argument("bundle", type=_PATH, required=False)
@click.option("--variant", "variants", multiple=True, metavar="NAME", help="This one only; may be repeated.")
@click.option("--held-out", type=_PATH, help="Also judge by the inputs in this folder; needs PyTorch.")
@click.option(
    "--every", metavar="N", type=click.IntRange(1), help="With --held-out: every N-th input (default: 1)."
)
@click.option(
    "--pipeline",
    type=_PATH,
    help="What BUNDLE was made from: a file of Python, which is executed, .pt2, .onnx or a checkpoint.",
)
@click.option("--page", type=_PATH, help="Also write an HTML page, with the worst held-out inputs.")
@click.option("--labels", type=_PATH, help="CSV file,label: judge by the --pipeline's metric too.")
@click.option("--layers", type=_PATH, help="Also write each TFLite layer's error there, for Model Explorer.")
@click.option("--faces", type=_PATH, hidden=True, expose_value=False, callback=renamed("--held-out"))
@click.option("--checkpoint", type=_PATH, hidden=True, expose_value=False, callback=renamed("--pipeline"))
@click.option(
    "--unit",
    default=CPU,
    metavar="NAME",
    type=click.Choice([CPU, *UNITS]),
    help=f"For TFLite, {', '.join([CPU, *UNITS])}: LiteRT's delegate on software Vulkan (default: {CPU}).",
)
@click.option("--threads", metavar="N", default=1, type=click.IntRange(1, 64), help="Default: 1.")
@click.option(
    "--jobs", metavar="N", type=click.IntRange(1, 256), help="Processes for held-out inputs (default: cores)."
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")
@click.option("--junit", type=_PATH, help="Also write the results as JUnit XML.")
@click.option("-o", "--output", type=_PATH, help="Also write the JSON result into this file.")
def verify(
    bundle: Path | None,
    variants: tuple[str, ...],
    held_out: Path | None,
    every: int | None,
    pipeline: Path | None,
    labels: Path | None,
    layers: Path | None,
    page: Path | None,
    unit: str,
    threads: int,
    jobs: int | None,
    as_json: bool,  # noqa: FBT001 - click passes flags so
    junit: Path | None,
    output: Path | None,
) -> None:
    """Check every variant of BUNDLE against float; exit 1 when a gate fails. Without one, of what ships.

    The golden vectors judge stage by stage, and float16 weights are compared with those of float32. With
    --held-out, inputs that neither weights nor ranges were made from judge every tensor with a gate, and the
    platforms against each other; portraits do it plain and with drawn anomalies. A gate that is a function
    is judged by its --pipeline alone.
    """
    if every and not held_out:
        raise UsageError("--every was given without --held-out, which alone heeds it; leave it out")
    opened = open_bundle(bundle or shipped_bundle()).only(variants)
    asked = _Request(
        held_out,
        every or 1,
        pipeline,
        labels,
        threads,
        jobs or usable_cores(),
        layers is not None,
        unit,
    )
    if unit != CPU:
        _check_unit(asked, page)
        opened = UNITS[unit].judged(opened, variants)
    files, drawn = {path: OutputFile.at(path) for path in (output, junit) if path}, page_of_charts(page)
    folder = layers_folder(layers, opened, opened.most_exact) if layers else None
    found = _judged_in_child(opened, asked)
    report = json_text(_verification_record(opened, found), indent=2)
    if output:
        files[output].write(report + "\n")
    if drawn:
        from mien.mobile_reference.verify.page import verify_page

        drawn.write(verify_page(opened, found.goldens, found.held_out, found.figures))
    if folder:
        write_layers(folder, opened, found.layers)
    if junit:
        files[junit].write(junit_text(f"mien verify {opened.name}", list(_cases(found))))
    if as_json:
        click.echo(report)
    else:
        _print(opened, found)
    _exit_on_failures(found)


def _check_unit(asked: _Request, page: Path | None) -> None:
    """Refuse what is judged on the CPU alone."""
    beyond = {"--held-out": asked.folder, "--labels": asked.labels, "--page": page, "--layers": asked.layers}
    for option, given in beyond.items():
        if given:
            raise UsageError(f"--unit {asked.unit} judges by the golden inputs alone; leave {option} out")


def _print(bundle: Bundle, found: _Found) -> None:
    console = Console()
    if found.gpu:
        console.print(placements_table(found.gpu))
    console.print(stages_table(bundle, found.goldens))
    for line in (*remarks(bundle, found.goldens), *choice_lines(bundle)):
        click.echo(line)
    if found.figures:
        console.print(figure_tables(found.figures, found.held_out.faces))
        click.echo(CAVEAT)
    if found.labels:
        console.print(labels_table(found.labels))
    if found.gpu:
        click.echo(f"The models ran {found.gpu.unit.label}.")


def _judged_in_child(bundle: Bundle, asked: _Request) -> _Found:
    """Have a process of its own judge, and show what it does."""
    child = Child(partial(_judge, bundle, asked), asked.limits)
    last = Part("nothing")
    with bar_of_parts("verifying") as show:
        try:
            for last in child:
                show(last)
        except ChildError as error:
            raise ChildError(f"{bundle.path}: {error}, last done: {last.text}; {asked.remedy}") from error
    found: _Found = child.result
    return found


def _judge(bundle: Bundle, asked: _Request, tell: Told) -> _Found:
    """Do all that runs models, and tell what was done."""
    # Before this process has threads.
    others = _other_shares(bundle, asked) if asked.folder else []
    try:
        with computing_threads(asked.threads):
            return _judge_all(bundle, asked, others, tell)
    finally:
        for other in others:
            other.end()


def _judge_all(bundle: Bundle, asked: _Request, others: Sequence[Child[HeldOut]], tell: Told) -> _Found:
    def say_what(text: str) -> None:
        tell(Part(text))

    if asked.needs_pipeline:
        say_what("opening the float pipeline")
    pipeline = _opened(bundle, asked.source) if asked.needs_pipeline else None
    labelled = pipeline.inputs.labelled(pipeline, asked.labels) if pipeline and asked.labels else None
    metrics = pipeline.metrics if pipeline else METRICS
    found, on_gpu = _judge_goldens(bundle, asked, metrics, tell)
    errors = layer_errors(bundle, bundle.most_exact, tell) if asked.folder or asked.layers else ()
    held_out = HeldOut((), ())
    if asked.folder:
        first = _judge_held_out(bundle, pipeline, asked, _share(0, asked), tell)
        held_out = replace(
            merged([first, *(other.wait() for other in others)]),
            repeats=tuple(repeats(bundle, tell)),
            poor_layers=first_poor_layers(errors),
        )
    by_labels = judge_labels(bundle, labelled, lambda name: say_what(f"input {name}")) if labelled else None
    return _Found(found, held_out, figures(bundle, held_out, metrics), by_labels, errors, on_gpu)


def _judge_goldens(
    bundle: Bundle, asked: _Request, metrics: Mapping[str, Metric], tell: Told
) -> tuple[Verification, OnGPU | None]:
    """Judge by the golden inputs, on the unit that is asked for."""
    done, total = count(1), comparisons(bundle)

    def progress(deviation: Deviation) -> None:
        text = f"{deviation.variant}: {deviation.face}, {deviation.stage}"
        tell(Part(text, next(done), total))

    if asked.unit == CPU:
        return verify_bundle(bundle, progress, asked.threads, metrics), None
    unit = UNITS[asked.unit]
    on_gpu = verify_on_gpu(bundle, unit, unit.vulkan(default_cache()), progress, metrics)
    return on_gpu.verification, on_gpu


def _share(first: int, asked: _Request) -> slice:
    """Return which held-out inputs one of the processes judges by."""
    return slice(first * asked.every, None, asked.jobs * asked.every)


def _other_shares(bundle: Bundle, asked: _Request) -> list[Child[HeldOut]]:
    """Let processes of their own judge all shares of the held-out inputs but the first."""

    def judge(first: int, _: Tell) -> HeldOut:
        pipeline = _opened(bundle, asked.source)
        return _judge_held_out(bundle, pipeline, asked, _share(first, asked), lambda _: None)

    return [Child(partial(judge, first), _WITH_PYTORCH) for first in range(1, asked.jobs)]


def _opened(bundle: Bundle, source: Path | None) -> Any:
    """Let whoever can open float pipelines open the one that the bundle was made from."""
    (entry,) = entry_points(group=SOURCES)
    pipeline = entry.load()(source, bundle.spec.front)
    made_from = bundle.manifest["provenance"]["checkpoint"]
    if pipeline.weights != made_from:
        raise UsageError(
            f"the bundle was made from weights {made_from[:12]}, {source or 'the pipeline that ships'} has "
            f"{pipeline.weights[:12]}; give the bundle's own with --pipeline"
        )
    return pipeline


def _judge_held_out(bundle: Bundle, pipeline: Any, asked: _Request, share: slice, tell: Told) -> HeldOut:
    """Judge by a share of the inputs that the float pipeline brings; the first says what was left out."""
    tell(Part("preparing held-out inputs"))
    held_out = pipeline.inputs.held_out(pipeline, asked.folder)
    seen = set(bundle.manifest["provenance"]["calibration"].get("images", ())) & set(held_out.files)
    if seen:
        raise UsageError(
            f"{len(seen)} files of {asked.folder} gave the bundle its ranges; give inputs that were held out"
        )
    for reason in held_out.skipped if share.start == 0 else ():
        say(f"left out {reason}")
    done, wanted = count(1, asked.jobs), -(-held_out.count // asked.every)

    def progress(name: str) -> None:
        place = next(done)
        tell(Part(f"input {place} of {wanted}: {name}", place, wanted))

    # Float sums depend on how many threads add them up.
    with computing_threads(asked.threads):
        return judge_held_out(
            bundle,
            fitting(bundle, held_out.samples(share)),
            progress,
            pipeline.metrics,
        )


def _cases(found: _Found) -> Iterator[Case]:
    """Tell every gate of every stage as a case, every figure of held-out inputs, every model on the GPU."""
    for result in (*found.goldens.results, *found.goldens.platforms):
        name = f"{result.stage}: {title(result.gate)}" if result.gate else result.stage
        failure = failure_line(result) if result.passed is False else ""
        skipped = "" if result.passed is not None else NOT_JUDGED if result.gate else "ungated"
        yield Case(result.variant, name, failure, skipped)
    for weights in found.goldens.weights:
        failure = "" if weights.passed else failure_line(weights)
        yield Case(weights.variant, f"{weights.stage}: stored weights", failure)
    for figure in found.figures:
        failure, skipped = "; ".join(failures([figure])), "" if figure.passed is not None else NOT_JUDGED
        yield Case(figure.variant, f"held out: {figure.name}", failure, skipped)
    if found.gpu:
        for placed in found.gpu.placed:
            problems = "; ".join(found.gpu.problems_of(placed))
            yield Case(placed.variant, f"on the GPU: {placed.model}", problems)


def _exit_on_failures(found: _Found) -> None:
    for line in found.failures:
        say(line)
    if found.failures:
        raise click.exceptions.Exit(1)


def _verification_record(bundle: Bundle, found: _Found) -> dict[str, Any]:
    return {
        "bundle": bundle.name,
        "variants": [variant.name for variant in bundle.variants],
        "products_int8": int8_shares(bundle),
        "goldens": len(bundle.goldens),
        "passed": not found.failures,
        "results": [result_record(result) for result in found.goldens.results],
        "platforms": [result_record(result) for result in found.goldens.platforms],
        "weights": [weights_record(result) for result in found.goldens.weights],
        "ungated": list(found.goldens.ungated),
        "held_out": held_out_record(found.figures, found.held_out.faces) if found.figures else None,
        "labels": labels_record(found.labels) if found.labels else None,
        "choice": bundle.manifest.get("choice", {}),
        "left_out": bundle.manifest.get("left_out", []),
        "half_floats": dict(found.goldens.half_floats),
        "core_ml": f"executed by mien's evaluator, {NOT_VALIDATED}",
        "gpu": gpu_record(found.gpu) if found.gpu else None,
    }
