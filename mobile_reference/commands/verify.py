"""The command ``mien verify``."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from importlib.metadata import entry_points
from itertools import count
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from mien.mobile_reference.bundle.reader import Bundle, open_bundle
from mien.mobile_reference.coreml import NOT_VALIDATED
from mien.mobile_reference.errors import ChildError, UsageError
from mien.mobile_reference.output.file import OutputFile
from mien.mobile_reference.output.json_text import json_text
from mien.mobile_reference.output.text import say
from mien.mobile_reference.run.child import Child, Limits, Tell
from mien.mobile_reference.verify.held_out import Fidelity, judge_fidelity
from mien.mobile_reference.verify.held_out_tables import fidelity_tables
from mien.mobile_reference.verify.layers import divergences
from mien.mobile_reference.verify.limits import (
    CAVEAT,
    Figure,
    choice_lines,
    failures,
    fidelity_page,
    fidelity_record,
    figures,
)
from mien.mobile_reference.verify.repeatability import repeats
from mien.mobile_reference.verify.stages import Deviation, Verification
from mien.mobile_reference.verify.stages import verify as verify_bundle
from mien.mobile_reference.verify.stages_tables import failure_line, remarks, result_record, stages_table

PIPELINES = "mien.pipelines"
"""Who brings held-out inputs with what the float pipeline makes of them."""
_PATH = click.Path(path_type=Path)


@click.command()
@click.argument("bundle", type=_PATH)
@click.option(
    "--faces", type=_PATH, help="Also judge by the held-out portraits in this folder; needs PyTorch."
)
@click.option("--checkpoint", type=_PATH, help="Checkpoint that rates them in float (default: mien's own).")
@click.option("--page", type=_PATH, help="With --faces: write figures and worst faces as an HTML page.")
@click.option("--threads", default=1, show_default=True, type=click.IntRange(1, 64))
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")
@click.option("-o", "--output", type=_PATH, help="Also write the JSON result into this file.")
def verify(
    bundle: Path,
    faces: Path | None,
    checkpoint: Path | None,
    page: Path | None,
    threads: int,
    as_json: bool,  # noqa: FBT001 - click passes flags so
    output: Path | None,
) -> None:
    """Check every variant of BUNDLE against float; exit 1 when a gate fails.

    The golden vectors judge stage by stage. With --faces, portraits that neither weights nor ranges were
    made from judge score, heatmap and mask, plain and with drawn anomalies, and the platforms against
    each other.
    """
    opened = open_bundle(bundle)
    _check_request(faces, given=(checkpoint, page))
    files = {path: OutputFile.at(path) for path in (output, page) if path}
    limits = Limits(memory=8 << 30, seconds=0) if faces else Limits()
    child = Child(partial(_judge, opened, faces, checkpoint, threads), limits)
    last = "nothing"
    with Console(stderr=True).status("verifying") as status:
        try:
            for last in child:
                status.update(f"verifying {last}")
        except ChildError as error:
            raise ChildError(f"{bundle}: {error}, last done: {last}; export the bundle again") from error
    found, held_out = child.result
    judged = figures(opened, held_out)
    report = json_text(_verification_record(opened, found, held_out, judged), indent=2)
    if output:
        files[output].write(report + "\n")
    if page:
        files[page].write(fidelity_page(held_out, judged, opened.name))
    if as_json:
        click.echo(report)
    else:
        Console().print(stages_table(opened, found))
        for line in (*remarks(opened, found), *choice_lines(opened)):
            click.echo(line)
        _print_fidelity(held_out, judged)
    _exit_on_failures(found, judged)


def _judge(
    bundle: Bundle, faces: Path | None, checkpoint: Path | None, threads: int, tell: Tell
) -> tuple[Verification, Fidelity]:
    """Do all that runs models, and tell what was done."""

    def progress(deviation: Deviation) -> None:
        tell(f"{deviation.variant}: {deviation.face}, {deviation.stage}")

    found = verify_bundle(bundle, progress, threads)
    return found, _judge_faces(bundle, faces, checkpoint, tell) if faces else Fidelity((), ())


def _check_request(faces: Path | None, given: Sequence[Path | None]) -> None:
    """Find out before the work what would fail after it."""
    if any(given) and not faces:
        raise UsageError("--checkpoint and --page concern held-out faces; give --faces FOLDER with them")


def _print_fidelity(held_out: Fidelity, judged: Sequence[Figure]) -> None:
    if judged:
        Console().print(fidelity_tables(judged, held_out.faces))
        click.echo(CAVEAT)


def _judge_faces(
    bundle: Bundle, folder: Path, checkpoint: Path | None, progress: Callable[[str], None]
) -> Fidelity:
    """Let whoever can rate faces in float bring them, and judge by them."""
    progress("aligning held-out faces")
    (entry,) = entry_points(group=PIPELINES)
    pipeline = entry.load()(checkpoint)
    held_out = pipeline.inputs.held_out(pipeline, folder)
    made_from = bundle.manifest["provenance"]["checkpoint"]
    if held_out.weights != made_from:
        raise UsageError(
            f"the bundle was made from checkpoint {made_from[:12]}, these faces would be rated by "
            f"{held_out.weights[:12]}; give the bundle's own with --checkpoint"
        )
    seen = set(bundle.manifest["provenance"]["calibration"].get("images", ())) & set(held_out.files)
    if seen:
        raise UsageError(
            f"{len(seen)} photographs of {folder} gave the bundle its ranges; give faces that were held out"
        )
    for reason in held_out.skipped:
        say(f"left out {reason}")
    done = count(1)
    judged = judge_fidelity(
        bundle, held_out.samples(), lambda name: progress(f"face {next(done)} of {held_out.count}: {name}")
    )
    return replace(
        judged, repeats=tuple(repeats(bundle, progress)), divergences=tuple(divergences(bundle, progress))
    )


def _exit_on_failures(found: Verification, judged: Sequence[Figure]) -> None:
    lines = [*(failure_line(failure) for failure in found.failures), *failures(judged)]
    for line in lines:
        say(line)
    if lines:
        raise click.exceptions.Exit(1)


def _verification_record(
    bundle: Bundle, found: Verification, held_out: Fidelity, judged: Sequence[Figure]
) -> dict[str, Any]:
    return {
        "bundle": bundle.name,
        "goldens": len(bundle.goldens),
        "passed": not found.failures and not failures(judged),
        "results": [result_record(result) for result in found.results],
        "platforms": [result_record(result) for result in found.platforms],
        "ungated": list(found.ungated),
        "fidelity": fidelity_record(judged, held_out.faces) if judged else None,
        "choice": bundle.manifest.get("choice", {}),
        "left_out": bundle.manifest.get("left_out", []),
        "core_ml": f"executed by mien's evaluator, {NOT_VALIDATED}",
    }
