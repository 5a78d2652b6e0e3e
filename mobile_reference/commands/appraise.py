"""The command ``mien appraise``."""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from importlib.metadata import entry_points
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import click

from mien.mobile_reference.bundle.reader import face_front, open_bundle
from mien.mobile_reference.errors import ChildError, UsageError
from mien.mobile_reference.front.photograph import Pixels, read_photograph
from mien.mobile_reference.front.quality import NOTE, REFUSE, Finding, RefusedError
from mien.mobile_reference.report.pictures import write_rating
from mien.mobile_reference.run.child import Child, Limits, Tell
from mien.mobile_reference.run.runner import DEFAULT_VARIANT, Appraiser, BundleRunner, Rating

APPRAISERS = "mien.appraisers"
"""Who rates photographs without a bundle."""
RECORDS = "appraisals.jsonl"
"""The file that marks a folder as ours: one JSON object for every photograph of the last call."""
LIMITS = Limits(memory=4 << 30)
"""Of the process that rates: the float pipeline in PyTorch takes the most."""
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
    _check_output(output, photographs)
    rater = partial(_rater, bundle, checkpoint, variant, threads, rate_anyway)
    records = _records(rater, photographs, output)
    # What is wrong with the bundle is said before the table begins.
    records = chain([next(records)], records)
    show = click.echo if as_json else _table_printer(photographs)
    failed = 0
    with (output / RECORDS).open("w", encoding="utf-8") if output else nullcontext() as lines:
        for record in records:
            failed += record["error"] is not None
            line = json.dumps(record, allow_nan=False)
            show(line)
            if lines:
                lines.write(line + "\n")
                lines.flush()
    if failed:
        raise click.exceptions.Exit(2)


class _Rater(NamedTuple):
    """What rates a photograph, and the name of its variant."""

    variant: str
    rate: Callable[[Pixels], Rating]


def _rater(
    bundle: Path | None,
    checkpoint: Path | None,
    variant: str | None,
    threads: int,
    anyway: bool,  # noqa: FBT001 - as click passes it
) -> _Rater:
    appraiser = _appraiser(bundle, checkpoint, variant, threads)
    return _Rater(appraiser.variant, appraiser.appraise_anyway if anyway else appraiser.appraise)


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


def _check_output(output: Path | None, photographs: Sequence[Path]) -> None:
    """Refuse a folder that holds something that is not ours, or in which two results would share a name."""
    if output is None:
        return
    if output.exists() and not output.is_dir():
        raise UsageError(f"{output} is a file; give a folder for the pictures")
    if output.exists() and any(output.iterdir()) and not (output / RECORDS).is_file():
        raise UsageError(f"{output} exists and was not made by 'mien appraise'; give a new folder")
    stem, count = Counter(path.stem for path in photographs).most_common(1)[0]
    if count > 1:
        raise UsageError(
            f"{count} photographs are named {stem}; rate them in calls with folders of their own"
        )


def _make_output(output: Path) -> None:
    try:
        output.mkdir(parents=True, exist_ok=True)
        (output / RECORDS).touch()
    except OSError as error:
        raise UsageError(f"{output} cannot be made ({error.strerror}); give a folder elsewhere") from error


def _records(
    open_rater: Callable[[], _Rater], photographs: Sequence[Path], folder: Path | None
) -> Iterator[dict[str, Any]]:
    """Rate one photograph after the other in a child process; what cannot be rated says why.

    A photograph by which the child dies has a record too, and a new child rates the rest.
    """
    left = list(photographs)
    while left:
        messages = iter(Child(partial(_rate, open_rater, tuple(left), folder), LIMITS))
        variant = next(messages)
        try:
            for record in messages:
                left.pop(0)
                yield record
        except ChildError as error:
            remedy = "its models or the photograph are damaged, export again or leave it out"
            yield _record(left.pop(0), variant, error=f"{error}; {remedy}")


def _rate(
    open_rater: Callable[[], _Rater], photographs: Sequence[Path], folder: Path | None, tell: Tell
) -> None:
    """Tell the variant when its models are loaded, then a record for every photograph."""
    rater = open_rater()
    if folder:
        _make_output(folder)
    tell(rater.variant)
    for path in photographs:
        try:
            rating = rater.rate(read_photograph(path))
        except Exception as error:
            # Typed errors of any room concern this one photograph; the rest are defects of mien.
            if not hasattr(error, "exit_code"):
                raise
            findings = error.findings if isinstance(error, RefusedError) else ()
            tell(_record(path, rater.variant, findings, error=str(error)))
            continue
        if folder:
            write_rating(rating, folder, path.stem)
        tell(_record(path, rater.variant, rating.prepared.findings, rating))


def _record(
    path: Path,
    variant: str,
    findings: Sequence[Finding] = (),
    rating: Rating | None = None,
    error: str | None = None,
) -> dict[str, Any]:
    return {
        "photo": str(path),
        "score": rating.score if rating else None,
        "variant": variant,
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
