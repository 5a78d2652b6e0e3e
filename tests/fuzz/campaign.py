"""A campaign: case after case of every target, each drawn from the seed and its own number alone."""

import os
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import entry_points
from itertools import count
from pathlib import Path
from random import Random

from mien.mobile_reference.commands import console

from .harness import GATE, PASSED, PROMISED, attempt, begin_anew, judge
from .surroundings import kept
from .targets import Case, Target


@dataclass(frozen=True)
class Finding:
    """A case that did not end as promised; ``kind`` says how it ended."""

    target: str
    seed: int
    number: int
    kind: str

    @property
    def again(self) -> str:
        """The command that tries this case alone."""
        return f"python -m tests.fuzz --target {self.target} --seed {self.seed} --case {self.number}"


@dataclass
class Counts:
    """How many cases of a target ended how, and those that did not end as promised."""

    ends: Counter[str] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)

    @property
    def tried(self) -> int:
        """How many cases ran."""
        return self.ends.total()


@dataclass(frozen=True)
class Prepared:
    """A target whose sound files lie in a folder; ``seeds`` are those that are damaged."""

    name: str
    target: Target
    folder: Path
    seeds: Sequence[Path]


def prepare(targets: Mapping[str, Target], folder: Path) -> list[Prepared]:
    """Make the sound files, each target's in a process of its own: this one stays without threads."""
    # What takes long is loaded once, not in every case.
    for entry in entry_points(group=console.COMMANDS):
        entry.load()
    for name in {name for target in targets.values() for name in target.loaded}:
        import_module(name)
    return [_prepared(name, target, folder / name) for name, target in targets.items()]


def _prepared(name: str, target: Target, folder: Path) -> Prepared:
    folder.mkdir(parents=True)
    names = folder / ".seeds"
    process = os.fork()
    if process == 0:
        code = 1
        try:
            begin_anew()
            names.write_text("\n".join(str(seed) for seed in target.make(folder)))
            code = 0
        except Exception:
            traceback.print_exc()
        finally:
            os._exit(code)
    if os.waitpid(process, 0)[1]:
        raise RuntimeError(f"the sound files of {name} could not be made")
    return Prepared(name, target, folder, [Path(line) for line in names.read_text().splitlines()])


def try_case(prepared: Prepared, seed: int, number: int, keep: Path | None = None) -> str:
    """Try one case and name how it ended; the damaged file is written into the folder ``keep``."""
    random = Random(f"{prepared.name} {seed} {number}")  # noqa: S311 - damage, no secrets
    file = random.choice(prepared.seeds)
    data = prepared.target.damage(file.read_bytes(), random)
    if keep:
        keep.mkdir(parents=True, exist_ok=True)
        (keep / file.name).write_bytes(data)
    return try_data(prepared, file, data)


def try_data(prepared: Prepared, file: Path, data: bytes) -> str:
    """Put ``data`` in the place of a sound file, and name how the command ended."""
    target = prepared.target
    with tempfile.TemporaryDirectory() as name:
        case = Case(prepared.folder, Path(name), file, data)
        if target.trial:
            return target.trial(case)
        command = [str(part) for part in target.command(case)]
        foreign = kept(case.work)

        def act() -> None:
            if target.program:
                os.environ["TMPDIR"] = str(case.work)
                os.execv(target.program, [str(target.program), *command])  # noqa: S606 - that is the point
            with target.enter(case):
                console.main(command)

        ended = attempt(act, case.work, target.bounds)
        lost = kept(case.work) != foreign
    kind = "lost: files of somebody else" if lost else judge(ended, target.bounds)
    if kind in (PASSED, GATE) and target.must_refuse(data):
        return f"false pass: {kind}" if kind == PASSED else f"not refused: {kind}"
    return kind


def campaign(
    prepared: Sequence[Prepared], seed: int, seconds: float, tell: Callable[[Finding], None], first: int = 0
) -> dict[str, Counts]:
    """Try cases of all targets in turns from ``first`` on until the time is over, at least one of each."""
    counts = {one.name: Counts() for one in prepared}
    end = time.monotonic() + seconds
    for number in count(first):
        for one in prepared:
            kind = try_case(one, seed, number)
            counts[one.name].ends[kind if kind in PROMISED else kind.partition(":")[0]] += 1
            if kind not in PROMISED:
                finding = Finding(one.name, seed, number, kind)
                counts[one.name].findings.append(finding)
                tell(finding)
        if time.monotonic() > end:
            break
    return counts
