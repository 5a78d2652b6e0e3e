"""Running a converter in a process of its own: a crash, a hang or a memory blow-up costs one graph."""

import contextlib
import json
import multiprocessing
import os
import resource
import signal
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from multiprocessing.context import ForkServerContext
from pathlib import Path

import torch

from mien.export.errors import ConversionError
from mien.mobile_reference.output.json_text import json_text

_TAIL_LINES = 3
_USAGE = ".usage"
_REASON = ".reason"


@dataclass(frozen=True)
class Limits:
    """What a converter may use: seconds of time, and bytes of memory of its own.

    A program that it starts has the same limit of memory, and ends when the time does.
    """

    seconds: float = 600.0
    memory: int = 4 << 30


@dataclass(frozen=True)
class Usage:
    """What a converter and the programs that it started used: processor seconds, and peak memory in bytes.

    Unlike the time until it ends, the first is not the longer the busier the machine is.
    """

    seconds: float
    peak_memory: int


def converter_context() -> ForkServerContext:
    """Return the context in which converters run, its imports under way."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["mien.export.running.preload"])
    return context


def run_isolated(task: Callable[[], None], log: Path, limits: Limits, title: str) -> Usage:
    """Run ``task`` (picklable, such as a ``functools.partial``) in a process of its own.

    Its output goes to ``log``.

    Raises:
        ConversionError: the task says why it failed, or the process was killed, exceeded a limit, or ended
            otherwise, and the message has the end of its log.
    """
    process = converter_context().Process(target=_enter, args=(task, log, limits.memory))
    process.start()
    process.join(limits.seconds)
    late = process.is_alive()
    # By itself too: it may not have made its group yet.
    process.kill()
    _end_group(process.pid)
    process.join()
    if late:
        raise ConversionError(f"{title}: the converter took over {limits.seconds:.0f} s; its log: {log}")
    if process.exitcode:
        raise ConversionError(f"{title}: {_reason(process.exitcode, log)}")
    return Usage(**json.loads(log.with_suffix(_USAGE).read_text()))


def _end_group(leader: int | None) -> None:
    """End the process and every program that it started and left behind."""
    if leader is not None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(leader, signal.SIGKILL)


def _reason(exitcode: int, log: Path) -> str:
    said = log.with_suffix(_REASON)
    if said.is_file():
        return said.read_text()
    how = f"signal {-exitcode}" if exitcode < 0 else f"exit {exitcode}"
    lines = log.read_text(errors="replace").strip().splitlines() if log.is_file() else []
    return f"the converter ended with {how}: {' | '.join(lines[-_TAIL_LINES:])[-500:]}"


def _enter(task: Callable[[], None], log: Path, memory: int) -> None:
    """Become the converter's process: a group of its own, output to the log, memory limited."""
    os.setsid()
    stream = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(stream, sys.stdout.fileno())
    os.dup2(stream, sys.stderr.fileno())
    resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    # What a converter leaves behind goes with the export's own scratch folder.
    tempfile.tempdir = str(log.parent)
    # One thread for each converter: as many converters run as there are cores.
    torch.set_num_threads(1)
    try:
        task()
    except ConversionError as error:
        log.with_suffix(_REASON).write_text(str(error))
        raise
    log.with_suffix(_USAGE).write_text(json_text(asdict(_used())))


def _used() -> Usage:
    """Say what this process and its children used so far."""
    parts = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    # Linux counts in kilobytes.
    peak = max(part.ru_maxrss for part in parts) * 1024
    return Usage(sum(part.ru_utime + part.ru_stime for part in parts), peak)
