"""The command ``mien export``."""

from pathlib import Path

import click

_PATH = click.Path(path_type=Path)


@click.command()
@click.argument("checkpoint", required=False, type=_PATH)
@click.option("-o", "--output", required=True, type=_PATH, help="Folder of the bundle.")
@click.option(
    "--calibration",
    type=_PATH,
    help="Folder of portraits that give the int8 ranges (default: the samples that ship with mien).",
)
def export(checkpoint: Path | None, output: Path, calibration: Path | None) -> None:
    """Turn CHECKPOINT (default: the one that ships with mien) into a bundle for Android and iOS."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from mien.calibration.images import read_portraits
    from mien.calibration.sample_portraits import SAMPLES
    from mien.models.checkpoint import REFERENCE

    from .exporter import ExportRequest, export_bundle
    from .packing import check_output

    check_output(output)
    portraits = read_portraits(calibration) if calibration else read_portraits(SAMPLES, "calibration")
    request = ExportRequest(checkpoint or REFERENCE, portraits, read_portraits(SAMPLES, "golden"), output)
    columns = (TextColumn("{task.description:<40}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns) as bar:
        task = bar.add_task("running the float pipeline", total=None)

        def progress(title: str, done: int, total: int) -> None:
            bar.update(task, description=f"converted {title}", completed=done, total=total)

        report = export_bundle(request, progress)
    size = sum(file.stat().st_size for file in output.rglob("*") if file.is_file())
    click.echo(
        f"bundle: {output}, {size / 1e6:.1f} MB, in {report.seconds:.0f} s, "
        f"largest converter {report.peak_memory / 1e9:.1f} GB"
    )
