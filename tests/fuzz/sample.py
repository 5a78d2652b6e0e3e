"""The sample that is one of the tests: so many cases of each target, however fast the machine is.

``python -m tests.fuzz.sample`` tries it and says how much processor time it took.
"""

import multiprocessing
import os
import tempfile
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from multiprocessing.context import ForkProcess
from pathlib import Path

import click

from .campaign import Prepared, prepare, try_case
from .harness import PROMISED
from .targets import TARGETS

SEED = 1
CASES = 30
Ends = Mapping[tuple[str, int], str]
FEWER: Mapping[str, int] = {"dialogues": 12, "kills": 12, "exports": 6}
"""Of these a case takes seconds of the clock."""


def sample(prepared: Sequence[Prepared]) -> Ends:
    """Try the sample, and name how each case ended, by its target and number.

    What waits for most of its time does so beside the others.
    """
    parts = [[one] for one in prepared if one.name in FEWER]
    parts.append([one for one in prepared if one.name not in FEWER])
    found: dict[tuple[str, int], str] = {}
    for process, ends in [_beside(part) for part in parts]:
        found |= ends.recv()
        process.join()
    return found


def _beside(part: Sequence[Prepared]) -> tuple[ForkProcess, Connection]:
    """Try a part in a forked process, which sends its ends."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=lambda: theirs.send(_tried(part)))
    process.start()
    theirs.close()  # or nobody would see that the process died
    return process, ours


def _tried(prepared: Sequence[Prepared]) -> Ends:
    return {
        (one.name, number): try_case(one, SEED, number)
        for one in prepared
        for number in range(FEWER.get(one.name, CASES))
    }


def _used() -> float:
    """Return the seconds of processor time that this process and those that have ended took."""
    return sum(os.times()[:4])


@click.command()
def main() -> None:
    """Try the sample."""
    with tempfile.TemporaryDirectory() as folder:
        prepared = prepare(TARGETS, Path(folder))
        before = _used()
        ends = sample(prepared)
        taken = _used() - before
    unlike = {case: kind for case, kind in ends.items() if kind not in PROMISED}
    for (name, number), kind in unlike.items():
        click.echo(f"{name} {number}: {kind}", err=True)
    click.echo(f"{len(ends)} cases: {taken:.0f} s of processor time, {before:.0f} s to prepare them")
    raise click.exceptions.Exit(bool(unlike))


if __name__ == "__main__":
    main()
