"""Exports that are killed, interrupted or terminated at any moment, and what they leave behind."""

import hashlib
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random
from types import ModuleType

from mien.mobile_reference.commands import console
from tests.fuzz.harness import INTERRUPTED, KILLED, PASSED, Bounds, Ended, attempt, become, judge

_SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGINT, signal.SIGTERM)
_MARK = "MIEN_FUZZ_EXPORT"
"""In the environment of an export and of all that it starts, as it is begun: by it orphans are found."""
_GRACE = 20.0
_PROC = Path("/proc")
_ROOT = Path(__file__).parent.parent.parent.parent


@dataclass(frozen=True)
class Blow:
    """A signal, so many seconds after an export began."""

    signal: signal.Signals
    after: float

    @classmethod
    def drawn(cls, data: bytes, longest: float) -> "Blow":
        """Draw one."""
        random = Random(data)  # noqa: S311 - damage, no secrets
        return cls(random.choice(_SIGNALS), random.uniform(0, longest))


@dataclass(frozen=True)
class Export:
    """What is exported: a pipeline beside pictures; ``prepare`` changes the process that exports it."""

    sound: Path
    source: str
    options: Sequence[str]
    prepare: Callable[[Path], None] = lambda _: None


def exported(
    export: Export, work: Path, mark: str, begin: Callable[[], None] = lambda: None
) -> Callable[[], None]:
    """Return what exports a pipeline over ``work``/out, in a process of its own.

    It calls ``begin`` when it is about to call the command.
    """

    def act() -> None:
        # Processes of conversions would import what this process began with.
        sys.modules["__main__"] = ModuleType("__main__")
        os.environ[_MARK] = mark
        os.environ["PYTHONPATH"] = str(_ROOT)  # for the server that they are forked from
        os.environ["MIEN_CACHE"] = str(work / "cache")
        os.environ["TMPDIR"] = str(work)  # of the programs that converters start
        export.prepare(export.sound)
        given = ["--calibration", export.sound / "pictures", *export.options, "--fresh"]
        words = ["export", export.sound / export.source, "-o", work / "out", *given]
        begin()
        console.main([str(word) for word in words])

    return act


def how_it_ended(export: Export, work: Path, blow: Blow, bounds: Bounds) -> str:
    """Strike an export over a bundle, and look at what is left; then export again, and look once more."""
    ended, left = _struck(export, work, blow, bounds)
    if left:
        return f"orphans: {', '.join(left)}"
    right, name = (-signal.SIGKILL, KILLED) if blow.signal == signal.SIGKILL else (130, INTERRUPTED)
    if ended.code not in (right, 0):
        return f"{blow.signal.name}: {judge(ended, bounds)}, exit code {ended.code}, {ended.err[-200:]}"
    if blow.signal != signal.SIGKILL and ended.left:
        return f"left over: {', '.join(ended.left)}"
    if fault := _fault_of(work / "out"):
        return f"lost: {fault}"
    again = attempt(exported(export, work, "next"), work, bounds)
    if (kind := judge(again, bounds)) != PASSED:
        return f"the next export: {kind}, {again.err[-200:]}"
    # Python's own sockets lie in the system's folder for what is temporary, which the harness puts here.
    names = {path.name for path in work.iterdir() if not path.name.startswith("pymp-")}
    there = names - {"out", "cache"}
    if there or (fault := _fault_of(work / "out")):
        return f"left over after the next export: {', '.join(sorted(there))} {fault or ''}"
    return PASSED if ended.code == 0 else name


def _struck(export: Export, work: Path, blow: Blow, bounds: Bounds) -> tuple[Ended, Sequence[str]]:
    """Begin an export and strike it; returns how it ended, and what processes it left."""
    mark = f"{os.getpid()}-{time.monotonic_ns()}"
    begins, says = os.pipe()
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = os.fork()
        if process == 0:
            act = exported(export, work, mark, lambda: os.close(says))
            become(act, work, out.fileno(), err.fileno())
        os.close(says)
        with os.fdopen(begins, "rb") as ends:
            ends.read()  # to its end, when the other process has closed it too
        time.sleep(blow.after)
        os.kill(process, blow.signal)
        end, in_time = time.monotonic() + bounds.seconds, True
        while not (waited := os.waitpid(process, os.WNOHANG))[0]:
            if time.monotonic() > end:
                in_time = False
                os.kill(process, signal.SIGKILL)
            time.sleep(0.005)
        left = _orphans(mark)
        err.seek(0)
        said = err.read().decode(errors="replace")
    unfinished = tuple(path.name for path in work.glob(".mien-*"))
    return Ended(os.waitstatus_to_exitcode(waited[1]), "", said, 0, in_time, unfinished), left


def _orphans(mark: str) -> Sequence[str]:
    """Wait a while for the processes of an export to end; name those that do not, and end them."""
    end = time.monotonic() + _GRACE
    while (left := dict(_marked(mark))) and time.monotonic() < end:
        time.sleep(0.05)
    for number in left:
        with suppress(ProcessLookupError):
            os.kill(number, signal.SIGKILL)
    return sorted(left.values())


def _marked(mark: str) -> Iterator[tuple[int, str]]:
    wanted = f"{_MARK}={mark}".encode()
    for folder in _PROC.iterdir():
        with suppress(OSError, ValueError):
            if wanted in (folder / "environ").read_bytes().split(b"\0"):
                yield int(folder.name), (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()[:80]


def _fault_of(bundle: Path) -> str | None:
    """Say what is wrong with a bundle: one that is whole has all its files as they are listed."""
    try:
        listed = json.loads((bundle / "manifest.json").read_bytes())["files"]
        there = {path.relative_to(bundle).as_posix() for path in bundle.rglob("*") if path.is_file()}
        if there != {*listed, "manifest.json"}:
            return f"files {sorted(there ^ {*listed, 'manifest.json'})}"
        for name, entry in listed.items():
            if hashlib.sha256((bundle / name).read_bytes()).hexdigest() != entry["sha256"]:
                return f"{name} is not what is listed"
    except (OSError, ValueError, KeyError) as error:
        return str(error)
    return None
