"""The command ``mien export``."""

from collections.abc import Mapping
from pathlib import Path

import click

from mien.mobile_reference.bundle import APPRAISAL, GRAPHS

_PATH = click.Path(path_type=Path)


@click.command()
@click.argument("checkpoint", required=False, type=_PATH)
@click.option("-o", "--output", type=_PATH, help="Folder of the bundle.")
@click.option(
    "--calibration",
    type=_PATH,
    help="Folder of portraits that give the int8 ranges (default: the samples that ship with mien).",
)
@click.option(
    "--compare-converters",
    "comparison",
    flag_value="converters",
    help="Make no bundle: show what every front end makes of a graph.",
)
@click.option(
    "--compare-quantisers",
    "comparison",
    flag_value="quantisers",
    help="Make no bundle: show what every way to int8 costs in score, bytes and time.",
)
@click.option(
    "--graph",
    "graphs",
    multiple=True,
    type=click.Choice(GRAPHS),
    help="With --compare-converters: graph (default: appraisal).",
)
@click.option(
    "--faces", type=_PATH, help="With --compare-quantisers: folder of held-out portraits (default: samples)."
)
@click.option("--json", "as_json", is_flag=True, help="With a comparison: print it as JSON.")
@click.option(
    "--set-up", type=click.Choice(["litert-torch"]), help="Make no bundle: install a front end of its own."
)
def export(
    checkpoint: Path | None,
    output: Path | None,
    calibration: Path | None,
    comparison: str | None,
    graphs: tuple[str, ...],
    faces: Path | None,
    as_json: bool,  # noqa: FBT001 - click passes flags so
    set_up: str | None,
) -> None:
    """Turn CHECKPOINT (default: the one that ships with mien) into a bundle for Android and iOS."""
    _check_options(output, set_up, comparison, {"--graph": graphs, "--faces": faces, "--json": as_json})
    if set_up or comparison or output is None:
        _other_than_export(checkpoint, calibration, comparison, graphs, faces, as_json=as_json)
        return
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


# Options that only one comparison heeds; --json serves both.
_SERVES = {"--graph": ("converters",), "--faces": ("quantisers",), "--json": ("converters", "quantisers")}


def _check_options(
    output: Path | None, set_up: str | None, comparison: str | None, given: Mapping[str, object]
) -> None:
    """Find out before the work which options contradict each other."""
    from .errors import ExportError

    tasks = {"-o FOLDER": output, "--set-up": set_up, f"--compare-{comparison or '...'}": comparison}
    chosen = [name for name, value in tasks.items() if value]
    if len(chosen) != 1:
        raise ExportError(
            f"got {' and '.join(chosen) or 'none'} of {', '.join(tasks)}; give exactly one of them"
        )
    for option, value in given.items():
        if value and comparison not in _SERVES[option]:
            wanted = " or ".join(f"--compare-{name}" for name in _SERVES[option])
            raise ExportError(f"{option} was given without {wanted}, which alone heeds it; leave it out")


def _other_than_export(
    checkpoint: Path | None,
    calibration: Path | None,
    comparison: str | None,
    graphs: tuple[str, ...],
    faces: Path | None,
    *,
    as_json: bool,
) -> None:
    """Compare, or set up."""
    from mien.calibration.images import read_portraits
    from mien.calibration.sample_portraits import SAMPLES
    from mien.models.checkpoint import REFERENCE

    from . import tasks

    if comparison is None:
        tasks.set_up()
        return
    portraits = read_portraits(calibration) if calibration else read_portraits(SAMPLES, "calibration")
    subject = tasks.Subject(checkpoint or REFERENCE, portraits, graphs or (APPRAISAL,), faces or SAMPLES)
    tasks.compare(comparison, subject, tasks.show_json if as_json else tasks.show_table)
