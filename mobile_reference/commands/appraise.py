"""The command ``mien appraise``."""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import click

from mien.mobile_reference.bundle.reader import face_front, open_bundle
from mien.mobile_reference.errors import UsageError
from mien.mobile_reference.front.photograph import Pixels, read_photograph
from mien.mobile_reference.front.quality import NOTE, REFUSE, Finding, RefusedError
from mien.mobile_reference.report.pictures import write_rating
from mien.mobile_reference.run.runner import DEFAULT_VARIANT, Appraiser, BundleRunner, Rating

APPRAISERS = "mien.appraisers"
"""Who rates photographs without a bundle."""
RECORDS = "appraisals.jsonl"
"""The file that marks a folder as ours: one JSON object for every photograph of the last call."""
_PATH = click.Path(path_type=Path)


@click.command()
@click.argument("photographs", nargs=-1, required=True, type=_PATH, metavar="PHOTO...")
@click.option("--bundle", type=_PATH, help="Rate with a bundle; needs no PyTorch.")
@click.option("--checkpoint", type=_PATH, help="Rate with the float pipeline of a checkpoint.")
@click.option("--variant", help=f"Variant of the bundle (default {DEFAULT_VARIANT}).")
@click.option("-o", "--output", type=_PATH, help="Write pictures and heatmaps into this folder.")
@click.option(
    "--rate-anyway", is_flag=True, help="Rate also what is refused, such as a turned head; a note says why."
)
@click.option("--threads", default=1, show_default=True, type=click.IntRange(1, 64))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
def appraise(
    photographs: tuple[Path, ...],
    bundle: Path | None,
    checkpoint: Path | None,
    variant: str | None,
    output: Path | None,
    rate_anyway: bool,  # noqa: FBT001 - click passes flags so
    threads: int,
    as_json: bool,  # noqa: FBT001
) -> None:
    """Rate photographs: 100 is a typical face, less the more is unusual about it.

    Without --bundle and --checkpoint the checkpoint that ships with mien rates. A photograph that
    cannot be rated, or that the pipeline refuses, does not stop the others; the exit code is 2 if there
    was one.
    """
    appraiser = _appraiser(bundle, checkpoint, variant, threads)
    rate = appraiser.appraise_anyway if rate_anyway else appraiser.appraise
    folder = _output_folder(output, photographs)
    show = click.echo if as_json else _table_printer(photographs)
    failed = 0
    for record in _records(appraiser, rate, photographs, folder):
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
        runner = BundleRunner(open_bundle(bundle), variant or DEFAULT_VARIANT, threads)
        # A damaged model is said now, not once for every photograph.
        runner.load((*face_front(runner.spec).models, *runner.spec.served))
        return runner
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
    appraiser: Appraiser,
    rate: Callable[[Pixels], Rating],
    photographs: Sequence[Path],
    folder: Path | None,
) -> Iterator[dict[str, Any]]:
    """Rate one photograph after the other; what cannot be rated says why."""
    for path in photographs:
        try:
            rating = rate(read_photograph(path))
        except Exception as error:
            # Typed errors of any room concern this one photograph; the rest are defects of mien.
            if not hasattr(error, "exit_code"):
                raise
            findings = error.findings if isinstance(error, RefusedError) else ()
            yield _record(path, appraiser, findings, error=str(error))
            continue
        if folder:
            write_rating(rating, folder, path.stem)
        yield _record(path, appraiser, rating.prepared.findings, rating)


def _record(
    path: Path,
    appraiser: Appraiser,
    findings: Sequence[Finding],
    rating: Rating | None = None,
    error: str | None = None,
) -> dict[str, Any]:
    return {
        "photo": str(path),
        "score": rating.score if rating else None,
        "variant": appraiser.variant,
        "faces": rating.prepared.faces if rating else 0,
        "alignment": rating.prepared.alignment.tolist() if rating else None,
        "findings": [finding.record() for finding in findings],
        "error": error,
    }


def _note(record: Mapping[str, Any]) -> str:
    """Say why there is no score, or what weakens it."""
    if record["error"]:
        return str(record["error"])
    findings = [Finding(**values) for values in record["findings"]]
    refused = [finding.reason for finding in findings if finding.verdict == REFUSE]
    noted = [finding.reason for finding in findings if finding.verdict == NOTE]
    if not findings and record["faces"] > 1:
        noted = [f"{record['faces']} faces, the largest was rated"]
    return "; ".join([*(f"refused without --rate-anyway: {reason}" for reason in refused), *noted])


def _table_printer(photographs: Sequence[Path]) -> Callable[[str], None]:
    """Print a table line by line: a thousand photographs must not wait for the last one."""
    width = min(max(len("photograph"), *(len(str(path)) for path in photographs)), 60)
    click.echo(f"{'photograph':<{width}}  score  note")

    def show(line: str) -> None:
        record = json.loads(line)
        score = "    -" if record["score"] is None else f"{record['score']:5.1f}"
        name = record["photo"]
        shown = name if len(name) <= width else "..." + name[3 - width :]
        text = f"{shown:<{width}}  {score}  {_note(record)}".rstrip()
        # A name of bytes that are not UTF-8 must not stop the table.
        click.echo(text.encode("utf-8", "replace").decode())

    return show
