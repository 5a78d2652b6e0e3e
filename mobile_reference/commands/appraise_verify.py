"""The commands ``mien appraise`` and ``mien verify``."""

import json
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from importlib.metadata import entry_points
from itertools import count
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from mien.mobile_reference.bundle.reader import Bundle, open_bundle
from mien.mobile_reference.coreml import NOT_VALIDATED
from mien.mobile_reference.errors import UsageError
from mien.mobile_reference.front.photograph import read_photograph
from mien.mobile_reference.report.pictures import write_appraisal
from mien.mobile_reference.run.models import COREML
from mien.mobile_reference.run.runner import DEFAULT_VARIANT, Appraisal, Appraiser, BundleAppraiser
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
from mien.mobile_reference.verify.stages import Deviation, StageResult, Verification
from mien.mobile_reference.verify.stages import verify as verify_bundle

APPRAISERS = "mien.appraisers"
REFERENCES = "mien.references"
"""Who brings held-out faces with what the float pipeline makes of them."""
RECORDS = "appraisals.jsonl"
"""The file that marks a folder as ours: one JSON object for every photograph of the last call."""
_PATH = click.Path(path_type=Path)


@click.command()
@click.argument("photographs", nargs=-1, required=True, type=_PATH, metavar="PHOTO...")
@click.option("--bundle", type=_PATH, help="Rate with a bundle; needs no PyTorch.")
@click.option("--checkpoint", type=_PATH, help="Rate with the float pipeline of a checkpoint.")
@click.option("--variant", help=f"Variant of the bundle (default {DEFAULT_VARIANT}).")
@click.option("-o", "--output", type=_PATH, help="Write pictures and heatmaps into this folder.")
@click.option("--threads", default=1, show_default=True, type=click.IntRange(1, 64))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
def appraise(
    photographs: tuple[Path, ...],
    bundle: Path | None,
    checkpoint: Path | None,
    variant: str | None,
    output: Path | None,
    threads: int,
    as_json: bool,  # noqa: FBT001 - click passes flags so
) -> None:
    """Rate photographs: 100 is a typical face, less the more is unusual about it.

    Without --bundle and --checkpoint the checkpoint that ships with mien rates. A photograph that
    cannot be rated does not stop the others; the exit code is 2 if there was one.
    """
    appraiser = _appraiser(bundle, checkpoint, variant, threads)
    folder = _output_folder(output, photographs)
    show = click.echo if as_json else _table_printer(photographs)
    failed = 0
    for record in _records(appraiser, photographs, folder):
        failed += record["error"] is not None
        line = json.dumps(record)
        show(line)
        if folder:
            with (folder / RECORDS).open("a", encoding="utf-8") as lines:
                lines.write(line + "\n")
    if failed:
        raise click.exceptions.Exit(2)


def _appraiser(bundle: Path | None, checkpoint: Path | None, variant: str | None, threads: int) -> Appraiser:
    if bundle and checkpoint:
        raise UsageError("--bundle and --checkpoint were both given; give one of them")
    if bundle:
        return BundleAppraiser(open_bundle(bundle), variant or DEFAULT_VARIANT, threads)
    if variant:
        raise UsageError("--variant was given without --bundle; a checkpoint has only one precision, float")
    (entry,) = entry_points(group=APPRAISERS, name="checkpoint")
    open_checkpoint: Callable[[Path | None, int], Appraiser] = entry.load()
    return open_checkpoint(checkpoint, threads)


def _output_folder(output: Path | None, photographs: Sequence[Path]) -> Path | None:
    """Make the folder, unless it holds something that is not ours or two results would share a name."""
    if output is None:
        return None
    if output.exists() and not output.is_dir():
        raise UsageError(f"{output} is a file; give a folder for the pictures")
    if output.exists() and any(output.iterdir()) and not (output / RECORDS).is_file():
        raise UsageError(f"{output} exists and was not made by 'mien appraise'; give a new folder")
    stem, count = Counter(path.stem for path in photographs).most_common(1)[0]
    if count > 1:
        raise UsageError(
            f"{count} photographs are named {stem}; rate them in calls with folders of their own"
        )
    try:
        output.mkdir(parents=True, exist_ok=True)
        (output / RECORDS).write_text("")
    except OSError as error:
        raise UsageError(f"{output} cannot be made ({error.strerror}); give a folder elsewhere") from error
    return output


def _records(
    appraiser: Appraiser, photographs: Sequence[Path], folder: Path | None
) -> Iterator[dict[str, Any]]:
    """Rate one photograph after the other; what cannot be rated says why."""
    for path in photographs:
        try:
            appraisal = appraiser.appraise(read_photograph(path))
        except Exception as error:
            # Typed errors of any room concern this one photograph; the rest are defects of mien.
            if not hasattr(error, "exit_code"):
                raise
            yield _record(path, appraiser, error=str(error))
            continue
        if folder:
            write_appraisal(appraisal, folder, path.stem)
        yield _record(path, appraiser, appraisal)


def _record(
    path: Path, appraiser: Appraiser, appraisal: Appraisal | None = None, error: str | None = None
) -> dict[str, Any]:
    return {
        "photo": str(path),
        "score": appraisal.score if appraisal else None,
        "variant": appraiser.variant,
        "faces": appraisal.faces if appraisal else 0,
        "alignment": appraisal.alignment.tolist() if appraisal else None,
        "error": error,
    }


def _table_printer(photographs: Sequence[Path]) -> Callable[[str], None]:
    """Print a table line by line: a thousand photographs must not wait for the last one."""
    width = min(max(len("photograph"), *(len(str(path)) for path in photographs)), 60)
    click.echo(f"{'photograph':<{width}}  score  note")

    def show(line: str) -> None:
        record = json.loads(line)
        score = "    -" if record["score"] is None else f"{record['score']:5.1f}"
        several = f"{record['faces']} faces, the largest was rated" if record["faces"] > 1 else ""
        name = record["photo"]
        shown = name if len(name) <= width else "..." + name[3 - width :]
        text = f"{shown:<{width}}  {score}  {record['error'] or several}".rstrip()
        # A name of bytes that are no UTF-8 must not stop the table.
        click.echo(text.encode("utf-8", "replace").decode())

    return show


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
    _check_request(faces, (output, page), given=(checkpoint, page))
    with Console(stderr=True).status("verifying") as status:

        def progress(deviation: Deviation) -> None:
            status.update(f"verifying {deviation.variant}: {deviation.face}, {deviation.stage}")

        found = verify_bundle(opened, progress, threads)
        held_out = _judge_faces(opened, faces, checkpoint, status.update) if faces else Fidelity((), ())
    judged = figures(opened, held_out)
    report = json.dumps(_verification_record(opened, found, held_out, judged), indent=2)
    if output:
        output.write_text(report + "\n")
    if page:
        page.write_text(fidelity_page(held_out, judged, opened.name), encoding="utf-8")
    if as_json:
        click.echo(report)
    else:
        _print_verification(opened, found)
        _print_fidelity(held_out, judged)
    _exit_on_failures(found, judged)


def _check_request(faces: Path | None, files: Sequence[Path | None], given: Sequence[Path | None]) -> None:
    """Find out before the work what would fail after it."""
    for file in files:
        if file and (file.is_dir() or not file.parent.is_dir()):
            raise UsageError(f"{file} cannot be written; give a file in a folder that exists")
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
    (entry,) = entry_points(group=REFERENCES, name="portraits")
    held_out = entry.load()(folder, checkpoint)
    made_from = bundle.manifest["provenance"]["checkpoint"]
    if held_out.checkpoint != made_from:
        raise UsageError(
            f"the bundle was made from checkpoint {made_from[:12]}, these faces would be rated by "
            f"{held_out.checkpoint[:12]}; give the bundle's own with --checkpoint"
        )
    seen = set(bundle.manifest["provenance"]["calibration"].get("images", ())) & set(held_out.images)
    if seen:
        raise UsageError(
            f"{len(seen)} photographs of {folder} gave the bundle its ranges; give faces that were held out"
        )
    for reason in held_out.skipped:
        click.echo(f"mien: left out {reason}", err=True)
    done = count(1)
    judged = judge_fidelity(
        bundle, held_out.faces(), lambda name: progress(f"face {next(done)} of {held_out.count}: {name}")
    )
    return replace(
        judged, repeats=tuple(repeats(bundle, progress)), divergences=tuple(divergences(bundle, progress))
    )


def _exit_on_failures(found: Verification, judged: Sequence[Figure]) -> None:
    for failure in found.failures:
        click.echo(
            f"mien: {failure.variant}: stage {failure.stage} moves the score of {failure.face} by "
            f"{failure.points:.3f} points, at most {failure.gate:g} are allowed",
            err=True,
        )
    for line in failures(judged):
        click.echo(f"mien: {line}", err=True)
    if found.failures or failures(judged):
        raise click.exceptions.Exit(1)


def _verification_record(
    bundle: Bundle, found: Verification, held_out: Fidelity, judged: Sequence[Figure]
) -> dict[str, Any]:
    return {
        "bundle": bundle.name,
        "faces": len(bundle.goldens),
        "passed": not found.failures and not failures(judged),
        "results": [_result_record(result) for result in found.results],
        "fidelity": fidelity_record(judged, held_out.faces) if judged else None,
        "choice": bundle.manifest.get("choice", {}),
        "left_out": bundle.manifest.get("left_out", []),
        "core_ml": f"executed by mien's evaluator, {NOT_VALIDATED}",
    }


def _result_record(result: StageResult) -> dict[str, Any]:
    """Describe a result; JSON has no infinity and no NaN, so null stands for both."""
    finite = {
        key: value if math.isfinite(value) else None
        for key, value in (("decibels", result.decibels), ("points", result.points))
    }
    return asdict(result) | finite | {"passed": result.passed}


def _print_verification(bundle: Bundle, found: Verification) -> None:
    table = Table(title=f"parity with the float pipeline, worst of {len(bundle.goldens)} golden faces")
    for heading in ("variant", "stage", "PSNR dB", "score error", "gate", ""):
        table.add_column(heading, justify="left" if heading in ("variant", "stage") else "right")
    for result in found.results:
        table.add_row(*_row(result), end_section=result.stage == "photograph")
    Console().print(table)
    if any(bundle.variant(result.variant).platform == COREML for result in found.results):
        click.echo(f"Core ML was executed by mien's evaluator, not by Apple's runtime: {NOT_VALIDATED}.")
    for line in choice_lines(bundle):
        click.echo(line)


def _row(result: StageResult) -> tuple[str, ...]:
    decibels = f"{result.decibels:.1f}" if math.isfinite(result.decibels) else "exact"
    verdict = "passed" if result.passed else "FAILED"
    return (result.variant, result.stage, decibels, f"{result.points:.4f}", f"{result.gate:g}", verdict)
