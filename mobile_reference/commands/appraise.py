"""The command ``mien appraise``."""

import json
import os
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, nullcontext
from functools import partial
from importlib.metadata import entry_points
from io import TextIOWrapper
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import click

from mien.mobile_reference.bundle.reader import face_front, open_bundle
from mien.mobile_reference.errors import ChildError, UsageError
from mien.mobile_reference.front.photograph import Pixels, read_photograph
from mien.mobile_reference.front.quality import NOTE, REFUSE, Finding, RefusedError
from mien.mobile_reference.output.folder import Kind, OutputFolder, Writer
from mien.mobile_reference.output.json_text import json_text
from mien.mobile_reference.output.text import path_text, shown
from mien.mobile_reference.report.pictures import drawn_rating
from mien.mobile_reference.run.child import Child, Limits, Tell
from mien.mobile_reference.run.runner import DEFAULT_VARIANT, Appraiser, BundleRunner, Rating

APPRAISERS = "mien.appraisers"
"""Who rates photographs without a bundle."""
RECORDS = "appraisals.jsonl"
"""One JSON object for every photograph of the last call."""
APPRAISALS = Kind("folder of appraisals")
FEW = 8
"""As many photographs are rated before a process of their own has made up for loading the models."""
LIMITS = Limits(memory=4 << 30)
"""Of the process that rates: the float pipeline in PyTorch takes the most."""
_Row = tuple[dict[str, Any], Mapping[str, bytes]]
"""The record of a photograph, and its pictures by the names of their files."""
_Draw = Callable[[Rating, str], Mapping[str, bytes]]
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
@click.option(
    "--jobs",
    type=click.IntRange(1, 256),
    help=f"Processes that share the photographs (default: one for each core, and for {FEW} photographs).",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
def appraise(
    photographs: tuple[Path, ...],
    bundle: Path | None,
    checkpoint: Path | None,
    variant: str | None,
    output: Path | None,
    rate_anyway: bool,  # noqa: FBT001 - click passes flags so
    threads: int,
    jobs: int | None,
    as_json: bool,  # noqa: FBT001
) -> None:
    """Rate photographs: 100 is a typical face, less the more is unusual about it.

    Without --bundle and --checkpoint the checkpoint that ships with mien rates. A photograph that
    cannot be rated, or that the pipeline refuses, does not stop the others; the exit code is 2 if there
    was one.
    """
    folder = _output_folder(output, photographs)
    open_rater = partial(_rater, bundle, checkpoint, variant, threads, rate_anyway)
    shares = min(jobs or _usual_jobs(len(photographs)), len(photographs))
    draw = drawn_rating if folder else _draw_nothing
    rated = _in_turn([_Share(open_rater, photographs[one::shares], draw) for one in range(shares)])
    # What is wrong with the bundle is said before the table begins.
    rows = chain([next(rated)], rated)
    show = click.echo if as_json else _table_printer(photographs)
    failed = 0
    with (
        closing(rated),
        folder.in_place() if folder else nullcontext() as writer,
        _log(writer) as log,
    ):
        for record, pictures in rows:
            failed += record["error"] is not None
            if writer:
                writer.write_all(pictures)
            line = json_text(record)
            show(line)
            log(line)
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


@contextmanager
def _log(writer: Writer | None) -> Iterator[Callable[[str], object]]:
    """Write lines into the file of records as they come, or nowhere."""
    if writer is None:
        yield lambda _: None
        return
    with TextIOWrapper(writer.new(RECORDS), encoding="utf-8", line_buffering=True) as lines:
        yield lambda line: lines.write(line + "\n")


def _output_folder(output: Path | None, photographs: Sequence[Path]) -> OutputFolder | None:
    """Find the folder, unless it holds something that is not ours or two results would share a name."""
    if output is None:
        return None
    stem, count = Counter(path.stem for path in photographs).most_common(1)[0]
    if count > 1:
        raise UsageError(
            f"{count} photographs are named {stem}; rate them in calls with folders of their own"
        )
    return OutputFolder.at(output, APPRAISALS)


def _usual_jobs(photographs: int) -> int:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(min(cores, photographs // FEW), 1)


class _Share:
    """Photographs that a child process rates, beginning now; iterate for their rows.

    What cannot be rated says why. A photograph by which the child dies has a row too, and a new child rates
    the rest.
    """

    def __init__(self, open_rater: Callable[[], _Rater], photographs: Sequence[Path], draw: _Draw) -> None:
        self._begin = partial(_begun, open_rater, draw)
        self._left = list(photographs)
        self._child = self._begin(self._left)

    def __iter__(self) -> Iterator[_Row]:
        yield from self._rows()
        while self._left:
            self._child = self._begin(self._left)
            yield from self._rows()

    def _rows(self) -> Iterator[_Row]:
        """Yield the rows of one child, to its end."""
        messages = iter(self._child)
        try:
            variant = next(messages)
        except ChildError as error:
            raise ChildError(f"{error} while it opened the models; they are damaged, export again") from error
        try:
            for row in messages:
                self._left.pop(0)
                yield row
        except ChildError as error:
            remedy = "its models or the photograph are damaged, export again or leave it out"
            yield _record(self._left.pop(0), variant, error=f"{error}; {remedy}"), {}

    def end(self) -> None:
        """End the child."""
        self._child.end()


def _begun(open_rater: Callable[[], _Rater], draw: _Draw, photographs: Sequence[Path]) -> Child[None]:
    return Child(partial(_rate, open_rater, tuple(photographs), draw), LIMITS)


def _in_turn(shares: Sequence[_Share]) -> Generator[_Row]:
    """Take one row of each share in turn, as the photographs were dealt out, until all have ended."""
    left = [iter(share) for share in shares]
    try:
        while left:
            for rows in tuple(left):
                try:
                    yield next(rows)
                except StopIteration:
                    left.remove(rows)
    finally:
        for share in shares:
            share.end()


def _draw_nothing(rating: Rating, stem: str) -> Mapping[str, bytes]:
    return {}


def _rate(open_rater: Callable[[], _Rater], photographs: Sequence[Path], draw: _Draw, tell: Tell) -> None:
    """Tell the variant when its models are loaded, then a row for every photograph."""
    rater = open_rater()
    tell(rater.variant)
    for path in photographs:
        try:
            rating = rater.rate(read_photograph(path))
        except Exception as error:
            # Typed errors of any room concern this one photograph; the rest are defects of mien.
            if not hasattr(error, "exit_code"):
                raise
            findings = error.findings if isinstance(error, RefusedError) else ()
            tell((_record(path, rater.variant, findings, error=str(error)), {}))
            continue
        record = _record(path, rater.variant, rating.prepared.findings, rating)
        tell((record, draw(rating, path.stem)))


def _record(
    path: Path,
    variant: str,
    findings: Sequence[Finding] = (),
    rating: Rating | None = None,
    error: str | None = None,
) -> dict[str, Any]:
    return {
        "photo": path_text(path),
        "score": rating.score if rating else None,
        "variant": variant,
        "faces": rating.prepared.faces if rating else 0,
        "alignment": rating.prepared.alignment.tolist() if rating else None,
        "findings": [finding.record() for finding in findings],
        "error": error and shown(error),
    }


def _note(record: Mapping[str, Any]) -> str:
    """Say why there is no score, or what weakens it."""
    if record["error"]:
        return str(record["error"])
    findings = [Finding.read(values) for values in record["findings"]]
    refused = [finding.reason for finding in findings if finding.verdict == REFUSE]
    noted = [finding.reason for finding in findings if finding.verdict == NOTE]
    if not findings and record["faces"] > 1:
        noted = [f"{record['faces']} faces, the largest was rated"]
    return "; ".join([*(f"refused without --rate-anyway: {reason}" for reason in refused), *noted])


def _table_printer(photographs: Sequence[Path]) -> Callable[[str], None]:
    """Print a table line by line: a thousand photographs must not wait for the last one."""
    width = min(max(len("photograph"), *(len(shown(path)) for path in photographs)), 60)
    click.echo(f"{'photograph':<{width}}  score  note")

    def show(line: str) -> None:
        record = json.loads(line)
        score = "    -" if record["score"] is None else f"{record['score']:5.1f}"
        name = shown(record["photo"])
        cut = name if len(name) <= width else "..." + name[3 - width :]
        click.echo(f"{cut:<{width}}  {score}  {_note(record)}".rstrip())

    return show
