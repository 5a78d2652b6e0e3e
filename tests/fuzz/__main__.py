"""The command behind ``make fuzz``; see docs/maintaining/reliability.md."""

import tempfile
from pathlib import Path

import click

from .campaign import Finding, campaign, prepare, try_case
from .harness import PROMISED
from .small_disk import kind_of_full_disk
from .targets import SLOW, TARGETS

ROOT = Path(__file__).parent.parent.parent


@click.command()
@click.option("--seed", default=1, show_default=True, help="Which cases are drawn.")
@click.option("--seconds", default=60.0, show_default=True, help="How long cases are begun.")
@click.option(
    "--first", default=0, type=click.IntRange(min=0), help="Number of the first case: a campaign goes on."
)
@click.option(
    "--target",
    "names",
    multiple=True,
    type=click.Choice([*TARGETS, *SLOW]),
    help=f"Default: all but {', '.join(SLOW)}.",
)
@click.option("--case", type=click.IntRange(min=0), help="Try this case alone, and keep the damaged file.")
def fuzz(seed: int, seconds: float, first: int, names: tuple[str, ...], case: int | None) -> None:
    """Damage files of every kind that mien reads, and see that each command ends as promised."""
    targets = {name: {**TARGETS, **SLOW}[name] for name in names or TARGETS}
    with tempfile.TemporaryDirectory() as folder:
        prepared = prepare(targets, Path(folder))
        if case is not None:
            kinds = [try_case(one, seed, case, keep=ROOT / "build" / "fuzz" / one.name) for one in prepared]
            for one, kind in zip(prepared, kinds, strict=True):
                click.echo(f"{one.name}: {kind}; the damaged file lies in build/fuzz/{one.name}")
            raise click.exceptions.Exit(any(kind not in PROMISED for kind in kinds))
        counts = campaign(prepared, seed, seconds, _tell, first)
    for name, count in counts.items():
        ends = ", ".join(f"{number} {kind}" for kind, number in sorted(count.ends.items()))
        click.echo(f"{name:<12} {count.tried:>6} tried: {ends}")
    click.echo(f"a full disk is {kind_of_full_disk()} here")
    tried = max(count.tried for count in counts.values())
    click.echo(f"to go on: --seed {seed} --first {first + tried}")
    if any(count.findings for count in counts.values()):
        raise click.exceptions.Exit(1)


def _tell(finding: Finding) -> None:
    click.echo(f"{finding.kind}\n  {finding.again}", err=True)


if __name__ == "__main__":
    fuzz()
