"""Every figure that has a goal, in one run: ``python -m tests.benchmarks.goals BUNDLE`` (``make goals``).

It lies with the tests because the harness is measured on the double of a phone, which is theirs. It takes
some minutes and needs what ``.ci/run`` installs. A missed goal is said and is not an error.
"""

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import click

from mien.benchmarks.estimates.estimate import chosen_variants, estimates, make_estimate_report
from mien.benchmarks.estimates.evidence import claim_goals
from mien.benchmarks.experiments import baseline
from mien.benchmarks.results.targets_met import MISSED, Goal, print_goals
from mien.mobile_reference.bundle.reader import Bundle, open_bundle
from mien.mobile_reference.files import default_cache
from tests.benchmarks.phone.double.overhead import overheads
from tests.benchmarks.tinymodels import tiny_bundle


def work_goals(bundle: Bundle, cache: Path) -> Iterator[Goal]:
    """Count instructions on the emulated processors."""
    results = baseline.count(bundle, cache, baseline.PRESETS)
    yield from baseline.goals(baseline.read_stored(), baseline.record(bundle, results))


def estimate_goals(bundle: Bundle) -> Iterator[Goal]:
    """Estimate from published times."""
    found = [e for variant in chosen_variants(bundle) for e in estimates(bundle, variant)]
    yield from claim_goals(make_estimate_report(bundle, found)["estimates"])


def harness_goals(cache: Path) -> Iterator[Goal]:
    """Time the harness on the double, with networks so small that emulating them takes seconds."""
    with tempfile.TemporaryDirectory() as folder:
        for found in overheads(open_bundle(tiny_bundle(Path(folder))), cache):
            yield found.goal


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--cache", type=click.Path(path_type=Path), help="Where 'mien setup' keeps things.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
def main(bundle: Path, cache: Path | None, as_json: bool) -> None:  # noqa: FBT001 - click passes flags so
    """Print the figures of BUNDLE that have a goal, and whether they keep it."""
    place, opened = cache or default_cache(), open_bundle(bundle)
    goals = [*work_goals(opened, place), *estimate_goals(opened), *harness_goals(place)]
    if as_json:
        for goal in goals:
            click.echo(json.dumps(goal.as_json()))
        return
    print_goals(goals)
    missed = [goal.what for goal in goals if goal.verdict == MISSED]
    click.echo(f"missed: {'; '.join(missed) or 'none'}")


if __name__ == "__main__":
    main()
