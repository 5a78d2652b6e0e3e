"""The command ``mien appraise``."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, nullcontext
from functools import partial
from io import TextIOWrapper
from itertools import chain
from pathlib import Path
from typing import Any

import click

from mien.mobile_reference.bundle.reader import MANIFEST, face_front, open_bundle, sha256
from mien.mobile_reference.bundle.shipped import shipped_bundle
from mien.mobile_reference.errors import UsageError
from mien.mobile_reference.files import listed_paths, path_or_address
from mien.mobile_reference.front.quality import NOTE, REFUSE, Finding
from mien.mobile_reference.installed import entry_points
from mien.mobile_reference.output.file import OutputFile
from mien.mobile_reference.output.folder import Kind, OutputFolder, Writer
from mien.mobile_reference.output.json_text import json_text
from mien.mobile_reference.output.text import shown, tell
from mien.mobile_reference.rating.photographs import Unit, units_of
from mien.mobile_reference.rating.places import Place, need, place_of
from mien.mobile_reference.rating.rows import Drawing, MakeRow, OpenRater, Rater, Row, rated_row, shared_rows
from mien.mobile_reference.rating.shards import (
    FORMS,
    JSON_LINES,
    PARQUET,
    SHARD_ROWS,
    ShardFolder,
    Written,
    sharded_row,
    versions,
)
from mien.mobile_reference.report.pictures import drawn_panel, drawn_rating
from mien.mobile_reference.run.child import keep_below
from mien.mobile_reference.run.runner import Appraiser, BundleRunner, Rating
from mien.mobile_reference.run.threads import usable_cores

from .options import SectionedCommand, examples

APPRAISERS = "mien.appraisers"
"""Who rates photographs by a checkpoint."""
RECORDS = "appraisals.jsonl"
"""One JSON object for every photograph of the last call."""
APPRAISALS = Kind("folder of appraisals")
FEW = 8
"""As many photographs are rated before a process of their own has made up for loading the models."""
OPENING, RATING = 1 << 30, 3 << 29
"""Of one that rates with a bundle, beside what its weights and threads need: while it opens the models, and
while it rates. A progressive JPEG of 200 megapixels takes 1.5 GB."""
_COPIES, _THREAD = 4, 16 << 20
_MANY = ("scheme", "column", "shards", "format", "shard-rows", "resume", "ray")

_Show = Callable[[Row], object]
# Not "readable": click would end the call for one photograph of many, before the first row.
_PATH = click.Path(path_type=Path, readable=False)


class _Place(click.ParamType[Path | str]):
    """A path, or an address."""

    name = "path"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path | str:
        """Return a path as such."""
        return path_or_address(value) if isinstance(value, str) else Path(value)


@click.command(
    cls=SectionedCommand,
    sections={"Photographs by the thousand": _MANY},
    epilog=examples(
        "appraise photo.jpg",
        "appraise *.jpg --bundle bundle --json",
        "appraise *.jpg -o appraisals --page sheet.html",
        "appraise --from photographs.txt --json",
        "appraise shards/*.tar --shards rows --resume",
        "appraise shards/*.tar --shards rows --resume --ray auto",
    ),
)
@click.argument("photographs", nargs=-1, type=_Place(), metavar="PHOTO...")
@click.option("--from", "listed", type=_PATH, help="Then those that a file names, one a line; -: stdin.")
@click.option("--bundle", type=_PATH, help="Rate with this bundle (default: what ships).")
@click.option("--checkpoint", type=_PATH, help="Rate by a checkpoint or a file of Python, which is executed.")
@click.option("--variant", metavar="NAME", help="Of the bundle (default: float32, or the first).")
@click.option("-o", "--output", type=_PATH, help="Write pictures and heatmaps into this folder.")
@click.option("--page", type=_PATH, help="Also write a page of small pictures, lowest score first.")
@click.option("--rate-anyway", is_flag=True, help="Rate also what is refused; a note says why.")
@click.option("--full-path", is_flag=True, help="Leave no stage out: sooner where most are masked.")
@click.option("--threads", metavar="N", default=1, type=click.IntRange(1, 64), help="Default: 1.")
@click.option("--jobs", metavar="N", type=click.IntRange(1, 256), help="Processes (default: one a core).")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
@click.option(
    "--scheme",
    "schemes",
    multiple=True,
    metavar="NAME",
    help="Also take addresses of this scheme, such as s3.",
)
@click.option(
    "--column",
    default="image",
    metavar="NAME",
    help="Of Parquet files: the photographs' bytes (default: image).",
)
@click.option(
    "--shards",
    type=_Place(),
    help="Write rows into this folder, a file for each shard.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(list(FORMS)),
    default=JSON_LINES,
    metavar="NAME",
    help=f"Of the rows' files: {', '.join(FORMS)} (default: {JSON_LINES}).",
)
@click.option(
    "--shard-rows",
    metavar="N",
    default=SHARD_ROWS,
    type=click.IntRange(1, 1_000_000),
    help=f"Of loose photographs (default: {SHARD_ROWS}).",
)
@click.option("--resume", is_flag=True, help="Rate only what the rows have no score of, by content.")
@click.option(
    "--ray",
    metavar="ADDRESS",
    help="On the Ray cluster at HOST:PORT, or auto; with --shards.",
)
def appraise(
    photographs: tuple[Path | str, ...],
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
    schemes: tuple[str, ...],
    column: str,
    shards: Path | str | None,
    form: str,
    shard_rows: int,
    resume: bool,  # noqa: FBT001
    ray: str | None,
) -> None:
    """Rate photographs: 100 is a typical face, less the more is unusual about it.

    One photograph is told in words, and PHOTO.mien.png shows what was seen; several are a table. One without
    a score does not stop the others; the exit code is 2 if there was one. A folder stands for the pictures in
    it, a tar or Parquet file for those that it holds.
    """
    photographs += listed_paths(listed) if listed else ()
    if not photographs:
        raise click.UsageError("no photograph was given; name some, or a file that lists them by --from")
    _check_shards(shards, {"--resume": resume, "--ray": ray})
    places = [place_of(one, schemes) for one in photographs]
    units = units_of(places, column, shard_rows)
    open_rater = partial(_rater, checkpoint, variant, threads, full_path, rate_anyway)
    if shards is None:
        failed = _show_all(partial(open_rater, bundle), units, jobs, output, page, as_json)
    else:
        _check_alone({"-o": output, "--page": page, "--json": as_json, "--checkpoint": checkpoint})
        folder = _shard_folder(place_of(shards, schemes), form, places, ray)
        bundle = bundle or shipped_bundle()
        settings = {"rate_anyway": rate_anyway, "column": column, "shard_rows": shard_rows}
        folder.begin(_settings(bundle, variant) | settings, len(units), resume)
        write = partial(_written_on_ray, ray) if ray else _written_here
        failed = _told(write(open_rater, bundle, units, jobs, folder), len(units), folder)
    if failed:
        raise click.exceptions.Exit(2)


def _show_all(
    open_rater: OpenRater,
    units: Sequence[Unit],
    jobs: int | None,
    output: Path | None,
    page: Path | None,
    as_json: bool,  # noqa: FBT001 - as click passes it
) -> int:
    """Print rows as they come, write what is drawn of them, and return how many have no score."""
    folder, sheet = _output_folder(output, units), OutputFile.maybe(page)
    names = [place.name for unit in units for place in unit.places]
    alone = len(names) == 1 and not units[0].is_shard and not as_json
    pictures = drawn_rating if folder else drawn_panel if alone else _draw_nothing
    draw = Drawing(pictures, _thumbnail if sheet else _no_thumbnail)
    rated = shared_rows(open_rater, units, partial(rated_row, draw), _processes(jobs, units))
    # What is wrong with the bundle is said before the table begins.
    rows = chain([next(rated)], rated)
    show = _print_json if as_json else _say_one if alone else _table_printer(names)
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
    return failed


def _check_shards(shards: Path | str | None, others: Mapping[str, object]) -> None:
    """Refuse options that mean something for shards alone."""
    given = next((name for name, value in others.items() if value), None)
    if shards is None and given:
        raise UsageError(f"{given} was given without --shards; name a folder for the rows by --shards")


def _check_alone(others: Mapping[str, object]) -> None:
    """Refuse what shards have not."""
    given = next((name for name, value in others.items() if value), None)
    if given:
        raise UsageError(
            f"{given} was given with --shards, which writes rows of a bundle alone; leave it out"
        )


def _shard_folder(place: Place, form: str, given: Sequence[Place], ray: str | None) -> ShardFolder:
    """Return the folder of shards, if what it needs is installed and it does not lie among what is rated."""
    if ray:
        need("ray")
    if form == PARQUET:
        need("pyarrow")
    folder = ShardFolder(place.absolute(), form)
    around = next((one for one in given if one.holds(folder.place)), None)
    if around:
        raise UsageError(f"--shards lies in {around.name}, which is rated; give a folder elsewhere")
    return folder


def _settings(bundle: Path, variant: str | None) -> dict[str, Any]:
    """Return what rows depend on: the bundle by its content, the variant, and the packages that compute."""
    chosen = BundleRunner(open_bundle(bundle), variant).variant
    return {**versions(), "bundle": sha256(bundle / MANIFEST), "variant": chosen}


_OpenRater = Callable[[Path], Rater]


def _written_here(
    open_rater: _OpenRater, bundle: Path, units: Sequence[Unit], jobs: int | None, folder: ShardFolder
) -> Iterator[Written]:
    """Rate on this machine, and write each shard when it is complete."""
    rows = shared_rows(partial(open_rater, bundle), units, _row_for(folder), _processes(jobs, units))
    with closing(rows):
        yield from folder.write_all(rows)


def _written_on_ray(
    address: str,
    open_rater: _OpenRater,
    bundle: Path,
    units: Sequence[Unit],
    jobs: int | None,
    folder: ShardFolder,
) -> Iterator[Written]:
    """Rate on a Ray cluster, whose actors write the shards."""
    from mien.mobile_reference.rating.on_ray import ActorJob, written_on_ray

    job = ActorJob(open_rater, _row_for(folder), folder, Path.cwd(), folder.settings(), versions())
    return written_on_ray(address, bundle, job, units, jobs)


def _row_for(folder: ShardFolder) -> MakeRow:
    return partial(sharded_row, folder, partial(rated_row, Drawing(_draw_nothing, _no_thumbnail)))


def _told(written: Iterator[Written], shards: int, folder: ShardFolder) -> int:
    """Say how far the work is, and what was written; returns how many rows have no score."""
    from mien.mobile_reference.report.progress import bar_per_step

    rows = failed = 0
    with bar_per_step() as report:
        for done, one in enumerate(written, start=1):
            rows, failed = rows + one.rows, failed + one.failed
            report("shards", done, shards, f"{rows} rows")
    tell(f"{rows} rows in {shards} shards of {folder.place.name}, {failed} of them without a score")
    return failed


def _rater(
    checkpoint: Path | None,
    variant: str | None,
    threads: int,
    in_full: bool,  # noqa: FBT001 - as click passes it
    anyway: bool,  # noqa: FBT001
    bundle: Path | None,
) -> Rater:
    appraiser = _appraiser(bundle, checkpoint, variant, threads, in_full)
    return Rater(appraiser.variant, appraiser.appraise_anyway if anyway else appraiser.appraise)


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


def _output_folder(output: Path | None, units: Sequence[Unit]) -> OutputFolder | None:
    """Find the folder, unless it holds something that is not ours or two results would share a name."""
    if output is None:
        return None
    shard = next((unit.name for unit in units if unit.is_shard), None)
    if shard:
        raise UsageError(
            f"-o takes photographs in files of their own, not {shard}; give rows of shards by --shards"
        )
    stem, count = Counter(place.stem for unit in units for place in unit.places).most_common(1)[0]
    if count > 1:
        raise UsageError(
            f"{count} photographs are named {stem}; rate them in calls with folders of their own"
        )
    return OutputFolder.at(output, APPRAISALS)


def _processes(asked: int | None, units: Sequence[Unit]) -> int:
    """Return how many processes rate: never more than photographs, but nobody knows how many a shard has.

    Where no number was asked for it is one for each core, and for few photographs less.
    """
    if any(unit.is_shard for unit in units):
        return asked or usable_cores()
    photographs = sum(len(unit.places) for unit in units)
    return max(1, min(asked, photographs) if asked else min(usable_cores(), photographs // FEW))


def _draw_nothing(rating: Rating, stem: str) -> Mapping[str, bytes]:
    return {}


def _thumbnail(rating: Rating) -> bytes:
    from mien.mobile_reference.report.contact_sheet import thumbnail

    return thumbnail(rating)


def _no_thumbnail(rating: Rating) -> bytes:
    return b""


def _sheet(rows: Sequence[Row]) -> str:
    """Make the page of all photographs."""
    from mien.mobile_reference.report.contact_sheet import Rated, contact_sheet

    meaning = next((row.meaning for row in rows if row.meaning), "")
    rated = [
        Rated(row.record["photo"], row.record["score"], _note(row.record), row.thumbnail) for row in rows
    ]
    return contact_sheet(rows[0].record["variant"], meaning, rated)


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


def _print_json(row: Row) -> None:
    click.echo(json_text(row.record))


def _say_one(row: Row) -> None:
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


def _table_printer(names: Sequence[str]) -> _Show:
    """Print a table line by line: a thousand photographs must not wait for the last one."""
    width = min(max(len("photograph"), *(len(shown(name)) for name in names)), 60)
    click.echo(f"{'photograph':<{width}}  score  note")

    def show(row: Row) -> None:
        score = "    -" if row.record["score"] is None else f"{row.record['score']:5.1f}"
        name = shown(row.record["photo"])
        cut = name if len(name) <= width else "..." + name[3 - width :]
        click.echo(f"{cut:<{width}}  {score}  {_note(row.record)}".rstrip())

    return show
