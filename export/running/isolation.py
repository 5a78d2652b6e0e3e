"""Running a converter in a process of its own: a crash, a hang or a memory blow-up costs one graph."""

import contextlib
import faulthandler
import json
import multiprocessing
import os
import re
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from multiprocessing import connection
from multiprocessing.context import ForkServerContext
from pathlib import Path

from mien.export.errors import ConversionError
from mien.mobile_reference.output.json_text import json_text

from .threads import one_thread

_TAIL_LINES, _TAIL_LENGTH = 3, 500
_EXCEPTION = re.compile(r"[A-Za-z_][\w.]*(Error|Exception)\b")
_TOP_FRAME = re.compile(r'hread 0x\w+ .*\(most recent call first\):\n  File "(.+)", line (\d+) in (.+)')
_USAGE = ".usage"
_REASON = ".reason"
_PROC = Path("/proc")
_PRELOAD = "mien.export.running.preload"
_COMPILER = "torch._dynamo"
"""PyTorch's compiler, which takes two seconds to import, and without which a ``.pt2`` file is not read."""
_LOOK_EVERY = 1.0
_TO_SAY_WHERE = 1.0
"""Seconds that a process gets to write where it is."""


@dataclass(frozen=True)
class Limits:
    """What a converter and the programs that it starts may use.

    ``seconds`` of processor time, not of the clock: on a busy machine work takes longer, and is as sound.
    ``memory`` in bytes, of each process. Whoever uses no second of processor time in ``idle`` seconds of the
    clock hangs (where the system tells: Linux).
    """

    seconds: float = 1200.0
    memory: int = 4 << 30
    idle: float = 120.0


@dataclass(frozen=True)
class Usage:
    """What a converter and the programs that it started used: processor seconds, and peak memory in bytes.

    Unlike the time until it ends, which ``clock`` has, the first is not the longer the busier the machine is.
    ``imports`` are the processor seconds before it, of the imports that all converters share.
    """

    seconds: float
    peak_memory: int
    clock: float = 0.0
    imports: float = 0.0


def converter_context() -> ForkServerContext:
    """Return the context in which converters run, its imports under way."""
    context = multiprocessing.get_context("forkserver")
    # Whatever needed the compiler to be opened will need it in every converter.
    context.set_forkserver_preload([_PRELOAD, *({_COMPILER} & sys.modules.keys())])
    return context


def run_isolated(task: Callable[[], None], log: Path, limits: Limits, title: str) -> Usage:
    """Run ``task`` (picklable, such as a ``functools.partial``) in a process of its own.

    Its output goes to ``log``.

    Raises:
        ConversionError: the task says why it failed, or the process was killed, exceeded a limit, or ended
            otherwise, and the message has the end of its log.
    """
    conversion = Conversion(task, log, limits, title)
    try:
        while not finished([conversion]):
            pass
        return conversion.result()
    finally:
        conversion.end()


class Watch:
    """Tells from processor seconds, looked at again and again, whether limits of time are exceeded."""

    def __init__(self, limits: Limits, now: float) -> None:
        self._limits = limits
        self._worked = 0.0
        self._worked_at = now

    def excess(self, used: float, now: float) -> str | None:
        """Say which limit is exceeded, if one is, when ``used`` processor seconds were used until ``now``."""
        if used >= self._worked + 1:
            self._worked, self._worked_at = used, now
        if used > self._limits.seconds:
            return _over_time(self._limits)
        if now - self._worked_at > self._limits.idle:
            return f"the converter hangs: no second of processor time in {self._limits.idle:.0f} s"
        return None


def _over_time(limits: Limits) -> str:
    return (
        f"the converter used over {limits.seconds:.0f} s of processor time; allow more with --converter-cpu"
    )


class Conversion:
    """A task that runs in a process of its own; whoever starts one ends it."""

    def __init__(self, task: Callable[[], None], log: Path, limits: Limits, title: str) -> None:
        self.title = title
        self._log = log
        self._limits = limits
        # The server that converters are forked from has the environment of when it was started.
        environment = dict(os.environ)
        self._process = converter_context().Process(target=_enter, args=(task, log, limits, environment))
        self._process.start()
        self._watch = Watch(limits, time.monotonic())
        self.excess: str | None = None
        """Which limit was exceeded, once one is."""

    @property
    def sentinel(self) -> int:
        """What is ready when the process has ended."""
        return self._process.sentinel

    def look(self) -> None:
        """Find out whether a limit is exceeded."""
        used = _processor_seconds(self._process.pid)
        if used is not None:
            self.excess = self._watch.excess(used, time.monotonic())

    def end(self) -> None:
        """End the process and every program that it started and left behind."""
        # By itself too: it may not have made its group yet.
        self._process.kill()
        if self._process.pid is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.join()

    def result(self) -> Usage:
        """Return what was used, after the process has ended or a limit was exceeded.

        Raises:
            ConversionError: as ``run_isolated`` says.
        """
        if self.excess:
            self._ask_where()
        self.end()
        if self.excess or self._process.exitcode:
            raise ConversionError(f"{self.title}: {self._reason()}; log: {self._log.name}")
        return Usage(**json.loads(self._log.with_suffix(_USAGE).read_text()))

    def _ask_where(self) -> None:
        """Let the converter and the programs that it started write to the log where they are, and end."""
        if self._process.pid is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGXCPU)
        self._process.join(_TO_SAY_WHERE)

    def _reason(self) -> str:
        text = self._log.read_text(errors="replace") if self._log.is_file() else ""
        if self.excess:
            return self.excess + where(text)
        said, code = self._log.with_suffix(_REASON), self._process.exitcode or 0
        if said.is_file():
            return said.read_text()
        if code == -signal.SIGXCPU:
            return _over_time(self._limits) + where(text)
        how = f"signal {-code}" if code < 0 else f"exit {code}"
        return f"the converter ended with {how}: {telling(text)}"


def where(log: str) -> str:
    """Return what a log says of where its processes were when they were asked to end: nothing, if nothing."""
    places = [f"{Path(file).name}:{line} {name}" for file, line, name in _TOP_FRAME.findall(log)]
    return f"; it was in {' and '.join(dict.fromkeys(places))}"[:_TAIL_LENGTH] if places else ""


def telling(log: str) -> str:
    """Return what a log says of its end: the last exception from its name on, or the last lines."""
    lines = log.strip().splitlines()
    named = [place for place, line in enumerate(lines) if _EXCEPTION.match(line)]
    told = lines[named[-1] :] if named else lines[-_TAIL_LINES:]
    return " | ".join(line.strip() for line in told[:_TAIL_LINES])[:_TAIL_LENGTH]


def finished(running: Iterable[Conversion]) -> list[Conversion]:
    """Wait a moment, and return those of the conversions that ended or exceeded a limit."""
    running = list(running)
    pause = min([_LOOK_EVERY, *(one._limits.idle / 4 for one in running)])
    ready = connection.wait([one.sentinel for one in running], pause)
    for one in running:
        one.look()
    return [one for one in running if one.sentinel in ready or one.excess]


def own_group() -> None:
    """Lead a group of processes, which ends when the process that asked for this one has gone.

    Another process of the group waits for that: it is not held up by what a converter does, and the group is
    ended even if nobody else can do it any more.
    """
    os.setsid()
    parent = multiprocessing.parent_process()
    if parent is not None and os.fork() == 0:
        connection.wait([parent.sentinel])
        os.killpg(0, signal.SIGKILL)


def _enter(task: Callable[[], None], log: Path, limits: Limits, environment: Mapping[str, str]) -> None:
    """Become the converter's process: a group of its own, output to the log, time and memory limited."""
    begun = time.monotonic()
    own_group()
    os.environ.clear()
    os.environ.update(environment)
    stream = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(stream, sys.stdout.fileno())
    os.dup2(stream, sys.stderr.fileno())
    # Whoever ends this process for its time asks where it is, and so does the system.
    faulthandler.register(signal.SIGXCPU, file=stream, chain=True)
    resource.setrlimit(resource.RLIMIT_DATA, (limits.memory, limits.memory))
    seconds = int(limits.seconds) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    # What a converter leaves behind goes with the export's own scratch folder.
    tempfile.tempdir = str(log.parent)
    try:
        # As many converters run as there are cores.
        with one_thread():
            task()
    except ConversionError as error:
        log.with_suffix(_REASON).write_text(str(error))
        raise
    log.with_suffix(_USAGE).write_text(json_text(asdict(_used(begun))))


def _used(begun: float) -> Usage:
    """Say what this process and its children used since it ``begun``, by the clock."""
    parts = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    # Linux counts in kilobytes.
    peak = max(part.ru_maxrss for part in parts) * 1024
    seconds = sum(part.ru_utime + part.ru_stime for part in parts)
    imports = getattr(sys.modules.get(_PRELOAD), "SECONDS", 0.0)
    return Usage(seconds, peak, time.monotonic() - begun, imports)


def _processor_seconds(leader: int | None) -> float | None:
    """Return what the processes of a group used, those included that they waited for; None if unknown."""
    if leader is None or not _PROC.is_dir():
        return None
    ticks = 0
    for folder in _PROC.iterdir():
        if not folder.name.isdecimal():
            continue
        with contextlib.suppress(OSError, ValueError):  # it has just ended
            # Behind the name in brackets, which may hold anything: proc(5).
            fields = (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()
            if int(fields[2]) == leader:
                ticks += sum(map(int, fields[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")
