"""How much time the harness adds on the double: ``python -m tests.benchmarks.phone.double.overhead BUNDLE``.

Prints the wall time of 50 runs through adb, what of it the runner did not spend (asking, copying, hashing)
and how often adb was called. The double's shell may be emulated, so a phone's own share is smaller.
"""

import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click

from mien.benchmarks.errors import SetupError
from mien.benchmarks.phone.adb import Adb, choose_device, find_adb
from mien.benchmarks.phone.phone import probe
from mien.benchmarks.phone.phone_runner import PhoneRunner, set_up_phone_runner
from mien.benchmarks.phone.session import Mode, Session
from mien.benchmarks.pipeline import first_given
from mien.benchmarks.programs import Answer
from mien.benchmarks.results.records import BenchSpec
from mien.benchmarks.results.targets_met import Goal
from mien.benchmarks.targets.android import AndroidTarget
from mien.mobile_reference.bundle.reader import Bundle, open_bundle
from mien.mobile_reference.files import default_cache
from tests.benchmarks.phone.double.phone import (
    INSTALL,
    MISSING,
    Shell,
    best_shell,
    connected,
    make_phone,
    own_server,
)

GOAL_S = 2.0
# The goal says 50 runs and not in how many processes; 'quick' starts one for every ten.
WAYS = ((1, 50), (5, 10))
COPYING = ("everything to copy", "nothing to copy")


class CountingAdb(Adb):
    """Counts its calls."""

    calls = 0

    def _call(self, *arguments: object) -> Answer:
        CountingAdb.calls += 1
        return super()._call(*arguments)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Overhead:
    """What one way of doing 50 runs took, in seconds; ``added_s`` is what the runner did not spend."""

    what: str
    shell: Shell
    wall_s: float
    added_s: float
    calls: int

    @property
    def goal(self) -> Goal:
        """The overhead beside what is wanted of it."""
        return Goal(f"harness, {self.what}", self.added_s, GOAL_S, "s", f"the double: {self.shell.what}")


def overheads(bundle: Bundle, cache: Path) -> Iterator[Overhead]:
    """Measure each way twice: with everything to copy, and with nothing.

    Raises:
        SetupError: a program that the double needs is missing.
    """
    if MISSING:
        raise SetupError(f"the double needs {', '.join(MISSING)}; {INSTALL}")
    shell = best_shell()
    runner = set_up_phone_runner(cache, shell.abi, lambda _: None)
    with tempfile.TemporaryDirectory(dir=cache, prefix="phone-") as name, own_server(Path(name)):
        for blocks, runs in WAYS:
            root = Path(name) / f"{blocks}"
            with connected(make_phone(cache, root, shell), shell):
                for copying in COPYING:
                    what = f"{blocks} x {runs} runs, {copying}"
                    yield _overhead(bundle, runner, shell, what, blocks, runs)
            shutil.rmtree(root)


def _overhead(
    bundle: Bundle, runner: PhoneRunner, shell: Shell, what: str, blocks: int, runs: int
) -> Overhead:
    mode = Mode(blocks=blocks, warmup=0, runs=runs, seconds=0, limit=1200, cool=0)
    spec = BenchSpec(bundle, "tflite-int8", first_given(bundle), 1, 0, runs, blocks)
    CountingAdb.calls, start = 0, time.monotonic()
    adb = CountingAdb(**vars(choose_device(find_adb(None), None)))
    latency = AndroidTarget(Session(adb, probe(adb), mode, lambda _: None), runner).run(spec).latency
    wall = time.monotonic() - start
    assert latency
    inside = sum(map(sum, latency.step("total").blocks)) + sum(latency.load_ms + latency.first_ms)
    return Overhead(what, shell, wall, wall - inside / 1000, CountingAdb.calls)


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--cache", type=click.Path(path_type=Path), help="Where the runner and the double's system lie."
)
def main(bundle: Path, cache: Path | None) -> None:
    """Print what the harness adds to 50 runs of BUNDLE's int8 models."""
    for found in overheads(open_bundle(bundle), cache or default_cache()):
        click.echo(f"{found.goal.line}; {found.wall_s:.2f} s in all, {found.calls} calls of adb")


if __name__ == "__main__":
    main()
