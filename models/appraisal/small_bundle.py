"""The small bundle that ships with mien: one exact variant of the built-in appraisal, for a first minute.

``python -m mien.models.appraisal.small_bundle BUNDLE`` makes it from what ``mien export`` made.
"""

from pathlib import Path

import click

from mien.mobile_reference.bundle.app_bundle import write_small_bundle
from mien.mobile_reference.bundle.reader import open_bundle
from mien.mobile_reference.commands.console import run

SMALL_BUNDLE = Path(__file__).parent / "bundle"
VARIANT = "tflite-fp16"
"""Half of float32's size; its arithmetic is float32."""
GOLDENS = ("nobody-01", "nobody-02-cleft", "nobody-04-lesion")
"""A typical face and two with something drawn; all are pictures of nobody (samples/README.md)."""


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), default=SMALL_BUNDLE, show_default=True)
def main(bundle: Path, output: Path) -> None:
    """Take what ships with mien from BUNDLE, an export of the shipped checkpoint."""
    opened = open_bundle(bundle)
    size = write_small_bundle(opened, opened.variant(VARIANT), GOLDENS, output)
    click.echo(f"{output}: {VARIANT}, {len(GOLDENS)} golden inputs, {size / 1e6:.2f} MB")


if __name__ == "__main__":
    run(main, name="small_bundle")
