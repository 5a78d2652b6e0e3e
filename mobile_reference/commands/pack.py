"""The command ``mien pack``."""

from pathlib import Path

import click

from mien.mobile_reference.bundle.app_bundle import (
    GOLDENS_NONE,
    GOLDENS_TENSORS,
    PLATFORMS,
    chosen_variant,
    write_app_bundle,
)
from mien.mobile_reference.bundle.reader import open_bundle
from mien.mobile_reference.output.text import tell

from .options import examples

_PATH = click.Path(path_type=Path)


@click.command(
    epilog=examples(
        "pack bundle --for android -o app-models", "pack bundle --for ios --variant coreml-int8w -o Models"
    )
)
@click.argument("bundle", type=_PATH)
@click.option("--for", "system", required=True, type=click.Choice(list(PLATFORMS)), help="Whose app.")
@click.option("--variant", help="Which variant it ships (default: the manifest's choice).")
@click.option(
    "--goldens",
    default=GOLDENS_NONE,
    show_default=True,
    type=click.Choice([GOLDENS_NONE, GOLDENS_TENSORS]),
    help="tensors: what goes into the models and comes out, pictures among them, to test an app with.",
)
@click.option("-o", "--output", required=True, type=_PATH, help="The folder to make.")
def pack(bundle: Path, system: str, variant: str | None, goldens: str, output: Path) -> None:
    """Write what an app ships of BUNDLE: the models of one variant, and the manifest.

    Neither photographs nor what would recognise them go along. Where the bundle has an end-to-end model, the
    stages that it replaces stay behind. The folder is a bundle itself, which 'mien appraise' takes.
    """
    opened = open_bundle(bundle)
    chosen = chosen_variant(opened, system, variant)
    size = write_app_bundle(opened, chosen, goldens, output)
    tell(f"{output}: {chosen.name} for {system}, {size / 1e6:.2f} MB, goldens: {goldens}")
