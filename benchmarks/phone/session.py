"""Work on a phone: files that are surely the right ones, jobs that surely end, heat before and after."""

import shlex
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mien.benchmarks.errors import DeviceError, DeviceLost, ProgramTimeout
from mien.benchmarks.programs import Answer
from mien.benchmarks.results.records import UNSTABLE_NOTE, Condition
from mien.mobile_reference.bundle.reader import sha256
from mien.mobile_reference.report.steps import Part

from .adb import Adb
from .phone import CONDITION, Phone, read_condition

FOLDER = "/data/local/tmp/mien"
_PID, _AFTER = f"{FOLDER}/pid", "=== after the job ==="
_WARMER = 2.0
_LOW_BATTERY = 20
_POLL_S = 5.0
# How much longer than the job's own limit the host waits before it kills the job.
_GRACE_S = 10
# What a shell makes of a program that its own alarm ended: 128 + SIGALRM.
_ALARM = 142


@dataclass(frozen=True)
class Mode:
    """How much to measure: each of ``blocks`` has at least ``runs`` runs and ``seconds`` seconds.

    ``limit`` is when a block counts as hung, ``cool`` how long to wait for the phone to cool, in seconds.
    """

    blocks: int
    warmup: int
    runs: int
    seconds: int
    limit: int
    cool: float


MODES = {
    "quick": Mode(blocks=5, warmup=3, runs=10, seconds=0, limit=120, cool=60),
    # Every block keeps the rule of MLPerf Mobile for a single stream, and five show whether it repeats.
    "full": Mode(blocks=5, warmup=3, runs=1024, seconds=60, limit=3600, cool=300),
}


@dataclass(frozen=True)
class PhoneCommand:
    """One block: a command line that is started in a folder of the phone."""

    name: str
    folder: str
    words: Sequence[str]


@dataclass(frozen=True)
class Measured[T]:
    """What the finished blocks answered, how the phone was meanwhile, and what is missing."""

    answers: tuple[T, ...]
    trace: tuple[Condition, ...]
    missing: tuple[str, ...]


class Session:
    """One phone while it is measured. ``progress`` hears of every block."""

    def __init__(self, adb: Adb, phone: Phone, mode: Mode, progress: Callable[[Part], None]) -> None:
        self.adb = adb
        self.phone = phone
        self.mode = mode
        self._progress = progress

    def install(self, name: str, folders: Mapping[str, Sequence[Path]], programs: Sequence[str]) -> None:
        """Make the phone's files those that are meant, by their hashes; asking is one call, so is checking.

        Args:
            name: What it is for.
            folders: The files of each folder under ``FOLDER``.
            programs: Which of them are started, as paths under ``FOLDER``.

        Raises:
            DeviceError: the phone takes no files, or they arrive changed.
        """
        self._progress(Part(f"{name}: copying to the phone"))
        wanted = {
            f"{FOLDER}/{folder}/{file.name}": file for folder, files in folders.items() for file in files
        }
        places = shlex.join(f"{FOLDER}/{folder}" for folder in folders)
        made = self.adb.shell(f"mkdir -p {places} || exit; {_hash(wanted)}; true")
        if made.code:
            raise DeviceError(f"{self.adb.serial}: cannot write to {FOLDER} ({made.last}); free its storage")
        stale = _differing(wanted, made.out)
        if not stale:
            return
        for folder, files in folders.items():
            if late := [file for file in files if f"{FOLDER}/{folder}/{file.name}" in stale]:
                self.adb.push(late, f"{FOLDER}/{folder}")
        started = shlex.join(f"{FOLDER}/{program}" for program in programs)
        checked = self.adb.shell(f"chmod 755 {started}; {_hash(stale)}; true")
        if wrong := _differing(stale, checked.out):
            raise DeviceError(f"{next(iter(wrong))} is not what was pushed to it; try another cable")

    def measure[T](
        self, jobs: Sequence[PhoneCommand], read: Callable[[PhoneCommand, Answer], T]
    ) -> Measured[T]:
        """Run the jobs one after the other, each when the phone is cool.

        Blocks that were finished before the phone went away are kept.

        Args:
            jobs: The blocks in their order.
            read: Makes sense of what a job said; it may fetch files that the job left.

        Raises:
            DeviceError: a job failed or hung, or nothing could be measured.
        """
        answers: list[T] = []
        trace: list[Condition] = []
        missing: tuple[str, ...] = ()
        try:
            for block, job in enumerate(jobs):
                self._progress(Part(f"{job.name}: block {block + 1} of {len(jobs)}", block, len(jobs)))
                trace.append(self._cool(job.name, block, len(jobs), trace))
                answer, after = self._run(job)
                answers.append(read(job, answer))
                trace.append(read_condition(after, block, "after"))
        except DeviceLost as error:
            if not answers:
                raise
            lost = ", ".join(str(n + 1) for n in range(len(answers), len(jobs))) or "none"
            missing = (f"blocks missing: {lost} of {len(jobs)}; {error}",)
        return Measured(tuple(answers), tuple(trace), missing)

    def _cool(self, name: str, block: int, blocks: int, trace: Sequence[Condition]) -> Condition:
        """Wait until the phone is as cool as at the start, or the wait is over.

        What was read right after the last block is how the phone is before this one.
        """
        end = time.monotonic() + self.mode.cool
        now = replace(trace[-1], block=block, when="before") if trace else self._condition(block)
        while is_hot(now, trace) and time.monotonic() < end:
            self._progress(Part(f"{name}: waiting for the phone to cool", block, blocks))
            time.sleep(min(_POLL_S, max(end - time.monotonic(), 0)))
            now = self._condition(block)
        return now

    def _condition(self, block: int) -> Condition:
        return read_condition(self.adb.shell(CONDITION).out, block, "before")

    def _run(self, job: PhoneCommand) -> tuple[Answer, str]:
        """Run a job to its end; gives its answer and what the phone then said of its condition.

        Both come by one call, so that the phone is asked while it is still warm.
        """
        started = f"cd {job.folder} && {{ {shlex.join(job.words)} & echo $! > {_PID}; wait $!; }}"
        script = f"{started}; code=$?; echo; echo '{_AFTER}'; {{ {CONDITION}; }} 2>/dev/null; exit $code"
        try:
            answer = self.adb.shell(script, self.mode.limit + _GRACE_S)
        except ProgramTimeout as error:
            self.adb.shell(f"kill -9 $(cat {_PID})")
            raise DeviceError(f"{job.name}: {error}; the job was killed, try --mode quick") from error
        if answer.code == _ALARM:
            raise DeviceError(
                f"{job.name}: a block took longer than {self.mode.limit} s and ended itself; try --mode quick"
            )
        out, mark, after = answer.out.partition(_AFTER)
        # When the cable is pulled in the middle, adb may well say that all is well.
        if not mark:
            raise DeviceLost(f"{self.adb.serial} is gone, its shell ended early; plug it in again")
        return replace(answer, out=out), after


def _hash(paths: Mapping[str, Path]) -> str:
    return f"sha256sum {shlex.join(paths)} 2>/dev/null"


def _differing(wanted: Mapping[str, Path], listed: str) -> dict[str, Path]:
    """Find the files that are not on the phone as they are here, in what its ``sha256sum`` listed."""
    there = {path: known for known, _, path in (line.partition("  ") for line in listed.splitlines())}
    return {path: file for path, file in wanted.items() if there.get(path) != sha256(file)}


def is_hot(now: Condition, trace: Sequence[Condition]) -> bool:
    """Tell whether a phone throttles, or is warmer than when its first block began."""
    if now.thermal_status:
        return True
    start = trace[0].temperatures if trace else {}
    return any(value > start[name] + _WARMER for name, value in now.temperatures.items() if name in start)


def thermal_notes(trace: Sequence[Condition]) -> Iterator[str]:
    """Say what makes the times of a phone doubtful."""
    status = max((c.thermal_status or 0 for c in trace), default=0)
    if status:
        yield f"{UNSTABLE_NOTE}: the phone throttled, thermal status {status} of 6"
    if any(is_hot(now, trace) for now in trace if now.when == "before"):
        yield f"{UNSTABLE_NOTE}: the phone did not cool down before a block"
    for cpu, khz in trace[0].max_khz.items():
        low = min(now.max_khz.get(cpu, khz) for now in trace)
        if low < khz:
            cut = f"from {khz / 1e6:.2f} to {low / 1e6:.2f} GHz"
            yield f"{UNSTABLE_NOTE}: the clock of processor {cpu} was cut {cut}"
    if any(now.power_saver for now in trace):
        yield f"{UNSTABLE_NOTE}: the battery saver is on"
    if any((now.battery_percent or 100) < _LOW_BATTERY for now in trace):
        yield f"{UNSTABLE_NOTE}: the battery is below {_LOW_BATTERY} %"
