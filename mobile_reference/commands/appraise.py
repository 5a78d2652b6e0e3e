"""The command ``mien appraise``."""

from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, nullcontext
from functools import partial
from io import TextIOWrapper
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import click

from mien.mobile_reference.bundle.reader import face_front, open_bundle
from mien.mobile_reference.bundle.shipped import shipped_bundle
from mien.mobile_reference.contract import PipelineSpec
from mien.mobile_reference.errors import ChildError, UsageError
from mien.mobile_reference.files import listed_paths
from mien.mobile_reference.front.photograph import Pixels, read_photograph
from mien.mobile_reference.front.quality import NOTE, REFUSE, Finding, RefusedError
from mien.mobile_reference.installed import entry_points
from mien.mobile_reference.output.file import OutputFile
from mien.mobile_reference.output.folder import Kind, OutputFolder, Writer
from mien.mobile_reference.output.json_text import json_text
from mien.mobile_reference.output.text import path_text, shown
from mien.mobile_reference.report.pictures import drawn_panel, drawn_rating
from mien.mobile_reference.run.child import Child, Limits, Tell, keep_below
from mien.mobile_reference.run.runner import Appraiser, BundleRunner, Rating
from mien.mobile_reference.run.threads import usable_cores

from .options import examples

APPRAISERS = "mien.appraisers"
"""Who rates photographs by a checkpoint."""
RECORDS = "appraisals.jsonl"
"""One JSON object for every photograph of the last call."""
APPRAISALS = Kind("folder of appraisals")
FEW = 8
"""As many photographs are rated before a process of their own has made up for loading the models."""
LIMITS = Limits(memory=4 << 30)
"""Of the process that rates: the float pipeline in PyTorch takes the most."""
OPENING, RATING = 1 << 30, 3 << 29
"""Of one that rates with a bundle, beside what its weights and threads need: while it opens the models, and
while it rates. A progressive JPEG of 200 megapixels takes 1.5 GB."""
_COPIES, _THREAD = 4, 16 << 20


class _Row(NamedTuple):
    """The record of a photograph, what was drawn of it, and what a score means.

    ``pictures`` are those for files, by their names; ``thumbnail`` is the small one of a page.
    """

    record: dict[str, Any]
    pictures: Mapping[str, bytes] = {}
    meaning: str = ""
    thumbnail: bytes = b""


class _Drawing(NamedTuple):
    """What is drawn of a rating: pictures for files, and a small one for a page."""

    pictures: Callable[[Rating, str], Mapping[str, bytes]]
    thumbnail: Callable[[Rating], bytes]


_Show = Callable[[_Row], object]
# Not "readable": click would end the call for one photograph of many, before the first row.
_PATH = click.Path(path_type=Path, readable=False)


@click.command(
    epilog=examples(
        "appraise photo.jpg",
        "appraise *.jpg --bundle bundle --json",
        "appraise *.jpg -o appraisals --page sheet.html",
        "appraise --from photographs.txt --json",
    )
)
@click.argument("photographs", nargs=-1, type=_PATH, metavar="PHOTO...")
@click.option(
    "--from", "listed", type=_PATH, help="Then those that a file names, one a line; -: standard input."
)
@click.option("--bundle", type=_PATH, help="Rate with this bundle (default: the one that ships).")
@click.option(
    "--checkpoint",
    type=_PATH,
    help="Rate with the float pipeline of a checkpoint, or of a file of Python, which is executed; "
    "needs PyTorch.",
)
@click.option("--variant", help="Variant of the bundle (default: float32, or the first).")
@click.option("-o", "--output", type=_PATH, help="Write pictures and heatmaps into this folder.")
@click.option("--page", type=_PATH, help="Also write a page of small pictures, the lowest score first.")
@click.option(
    "--rate-anyway", is_flag=True, help="Rate also what is refused, such as a turned head; a note says why."
)
@click.option(
    "--full-path", is_flag=True, help="Leave no stage out: the same rows, sooner where most faces are masked."
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
    listed: Path | None,
    bundle: Path | None,
    checkpoint: Path | None,
    variant: str | None,
    output: Path | None,
    page: Path | None,
    rate_anyway: bool,  # noqa: FBT001 - click passes flags so
    full_path: bool,  # noqa: FBT001
    threads: int,
    jobs: int | None,
    as_json: bool,  # noqa: FBT001
) -> None:
    """Rate photographs: 100 is a typical face, less the more is unusual about it.

    One photograph is told in words, and PHOTO.mien.png shows what was seen; several are a table. One that
    cannot be rated, or that the pipeline refuses, does not stop the others; the exit code is 2 if there
    was one.
    """
    photographs += listed_paths(listed) if listed else ()
    if not photographs:
        raise click.UsageError("no photograph was given; name some, or a file that lists them by --from")
    folder, sheet = _output_folder(output, photographs), OutputFile.maybe(page)
    open_rater = partial(_rater, bundle, checkpoint, variant, threads, full_path, rate_anyway)
    alone = len(photographs) == 1 and not as_json
    pictures = drawn_rating if folder else drawn_panel if alone else _draw_nothing
    draw = _Drawing(pictures, _thumbnail if sheet else _no_thumbnail)
    rated = _in_turn(_shared(open_rater, photographs, draw, jobs or _usual_jobs(len(photographs))))
    # What is wrong with the bundle is said before the table begins.
    rows = chain([next(rated)], rated)
    show = _print_json if as_json else _say_one if alone else _table_printer(photographs)
    failed, done = 0, []
    with (
        closing(rated),
        folder.in_place() if folder else nullcontext() as writer,
        _log(writer) as log,
    ):
        write_all = writer.write_all if writer else _write_here
        for row in rows:
            failed += row.record["error"] is not None
            show(row)
            write_all(row.pictures)
            log(json_text(row.record))
            if sheet:
                done.append(row)
    if sheet:
        sheet.write(_sheet(done))
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
    in_full: bool,  # noqa: FBT001 - as click passes it
    anyway: bool,  # noqa: FBT001
) -> _Rater:
    appraiser = _appraiser(bundle, checkpoint, variant, threads, in_full)
    return _Rater(appraiser.variant, appraiser.appraise_anyway if anyway else appraiser.appraise)


def _appraiser(
    bundle: Path | None,
    checkpoint: Path | None,
    variant: str | None,
    threads: int,
    in_full: bool,  # noqa: FBT001
) -> Appraiser:
    if bundle and checkpoint:
        raise UsageError("--bundle and --checkpoint were both given; give one of them")
    if checkpoint and variant:
        raise UsageError("--variant was given with --checkpoint, which has only one precision; leave it out")
    if checkpoint:
        (entry,) = entry_points(group=APPRAISERS, name="checkpoint")
        open_checkpoint: Callable[[Path, int], Appraiser] = entry.load()
        return open_checkpoint(checkpoint, threads)
    opened = open_bundle(bundle or shipped_bundle())
    runner = BundleRunner(opened.in_full() if in_full else opened, variant, threads)
    keep_below(OPENING + _own_needs(runner))
    # A damaged model is said now, not once for every photograph.
    runner.load((*face_front(runner.spec).models, *runner.rating_models))
    keep_below(RATING + _own_needs(runner))
    return runner


def _own_needs(runner: BundleRunner) -> int:
    """Return the bytes that the runtime may take for weights that the bundle has, and for its threads."""
    files = [file for path in runner.chosen.files.values() for file in (path, *path.rglob("*"))]
    return _COPIES * sum(file.stat().st_size for file in files if file.is_file()) + runner.threads * _THREAD


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
    return max(min(usable_cores(), photographs // FEW), 1)


class _Share:
    """Photographs that a child process rates, beginning now; iterate for their rows.

    What cannot be rated says why. A photograph by which the child dies has a row too, and a new child rates
    the rest.
    """

    def __init__(self, open_rater: Callable[[], _Rater], photographs: Sequence[Path], draw: _Drawing) -> None:
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
            yield _Row(_record(self._left.pop(0), variant, error=f"{error}; {remedy}"))

    def end(self) -> None:
        """End the child."""
        self._child.end()


def _shared(
    open_rater: Callable[[], _Rater], photographs: Sequence[Path], draw: _Drawing, jobs: int
) -> list[_Share]:
    """Deal photographs out to at most so many processes."""
    jobs = min(jobs, len(photographs))
    return [_Share(open_rater, photographs[one::jobs], draw) for one in range(jobs)]


def _begun(open_rater: Callable[[], _Rater], draw: _Drawing, photographs: Sequence[Path]) -> Child[None]:
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


def _thumbnail(rating: Rating) -> bytes:
    from mien.mobile_reference.report.contact_sheet import thumbnail

    return thumbnail(rating)


def _no_thumbnail(rating: Rating) -> bytes:
    return b""


def _sheet(rows: Sequence[_Row]) -> str:
    """Make the page of all photographs."""
    from mien.mobile_reference.report.contact_sheet import Rated, contact_sheet

    meaning = next((row.meaning for row in rows if row.meaning), "")
    rated = [
        Rated(row.record["photo"], row.record["score"], _note(row.record), row.thumbnail) for row in rows
    ]
    return contact_sheet(rows[0].record["variant"], meaning, rated)


def _rate(open_rater: Callable[[], _Rater], photographs: Sequence[Path], draw: _Drawing, tell: Tell) -> None:
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
            tell(_Row(_record(path, rater.variant, findings, error=str(error))))
            continue
        record = _record(path, rater.variant, rating.prepared.findings, rating)
        drawn = draw.pictures(rating, path.stem)
        tell(_Row(record, drawn, _meaning(rating.spec), draw.thumbnail(rating)))


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


def _meaning(spec: PipelineSpec) -> str:
    return spec.tensor(spec.rating.tensor).meaning


def _print_json(row: _Row) -> None:
    click.echo(json_text(row.record))


def _say_one(row: _Row) -> None:
    """Tell of one photograph in words."""
    record, note = row.record, _note(row.record)
    if record["score"] is None:
        click.echo(f"no score: {note}")
        return
    click.echo(f"{shown(record['photo'])}: {record['score']:.1f} ({shown(row.meaning)})")
    if note:
        click.echo(f"note: {note}")


def _write_here(pictures: Mapping[str, bytes]) -> None:
    """Write pictures into the working directory, and say so."""
    for name, picture in pictures.items():
        OutputFile.at(Path(name)).write(picture)
        click.echo(f"picture: {shown(name)}")


def _table_printer(photographs: Sequence[Path]) -> _Show:
    """Print a table line by line: a thousand photographs must not wait for the last one."""
    width = min(max(len("photograph"), *(len(shown(path)) for path in photographs)), 60)
    click.echo(f"{'photograph':<{width}}  score  note")

    def show(row: _Row) -> None:
        score = "    -" if row.record["score"] is None else f"{row.record['score']:5.1f}"
        name = shown(row.record["photo"])
        cut = name if len(name) <= width else "..." + name[3 - width :]
        click.echo(f"{cut:<{width}}  {score}  {_note(row.record)}".rstrip())

    return show
