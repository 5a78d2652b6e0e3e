"""The command ``mien coreai``."""

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mien.mobile_reference.commands.options import examples

if TYPE_CHECKING:
    from mien.mobile_reference.bundle.reader import Bundle
    from mien.mobile_reference.verify.stages import Verification

_PATH = click.Path(path_type=Path)


@click.command(epilog=examples("coreai bundle -o coreai", "coreai bundle --pipeline grader.py --json"))
@click.argument("bundle", type=_PATH)
@click.option("--pipeline", type=_PATH, help="What the bundle was made from (default: what ships).")
@click.option("-o", "--output", type=_PATH, help="Folder for the packages, which iOS 27 takes.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")
def coreai(
    bundle: Path,
    pipeline: Path | None,
    output: Path | None,
    as_json: bool,  # noqa: FBT001 - click passes flags so
) -> None:
    """Make Core AI packages of the pipeline of BUNDLE, and have Apple's runtime for Linux judge them.

    Every golden input goes through them, through float32 TFLite and through the Core ML package in mien's
    evaluator; the gates are those of float32. Exit 1 when one fails; then no package is written.
    """
    from mien.mobile_reference.bundle.reader import open_bundle
    from mien.mobile_reference.files import default_cache
    from mien.mobile_reference.output.folder import Kind, OutputFolder
    from mien.mobile_reference.report.progress import bar_of_parts
    from mien.models.sources import open_pipeline

    from .apple import Apple
    from .judge import check_origin, judge, make_packages

    opened = open_bundle(bundle)
    target = OutputFolder.at(output, Kind("folder of Core AI packages")) if output else None
    source = open_pipeline(pipeline, opened.spec.front)
    check_origin(opened, source, pipeline)
    with (
        bar_of_parts("Core AI:") as show,
        Apple(default_cache()) as apple,
        tempfile.TemporaryDirectory() as scratch,
    ):
        packages = make_packages(apple, source, Path(scratch), show)
        judged, found = judge(apple, opened, packages, show, source)
        if target and not found.failures:
            with target.staged() as staging:
                shutil.copytree(scratch, staging, dirs_exist_ok=True)
    _show(judged, found, as_json=as_json)


def _show(judged: "Bundle", found: "Verification", *, as_json: bool) -> None:
    """Print what was found, and exit with 1 where a gate failed."""
    from rich.console import Console

    from mien.mobile_reference.output.json_text import json_text
    from mien.mobile_reference.output.text import say
    from mien.mobile_reference.verify.stages_tables import failure_line, result_record, stages_table

    from .apple import LABEL, NAME

    if as_json:
        results = [result_record(result) for result in found.results]
        report = {"bundle": judged.name, "passed": not found.failures, "label": LABEL, "results": results}
        click.echo(json_text(report, indent=2))
    else:
        Console().print(stages_table(judged, found))
        click.echo(f"{NAME} was executed {LABEL}.")
    for failure in found.failures:
        say(failure_line(failure))
    if found.failures:
        raise click.exceptions.Exit(1)
