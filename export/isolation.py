"""Running a converter in a process of its own: a crash, a hang or a memory blow-up costs one graph."""

import multiprocessing
import os
import resource
import sys
import sysconfig
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.context import ForkServerContext
from pathlib import Path

import torch

from .errors import ConversionError

_TAIL_LINES = 3
_PEAK = ".peak"


@dataclass(frozen=True)
class Limits:
    """What a converter may use: seconds of time, and bytes of memory of its own."""

    seconds: float = 600.0
    memory: int = 4 << 30


def converter_context() -> ForkServerContext:
    """Return the context in which converters run, its imports under way."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["mien.export.preload"])
    return context


def run_isolated(task: Callable[[], None], log: Path, limits: Limits, title: str) -> int:
    """Run ``task`` (picklable, such as a ``functools.partial``) in a process of its own.

    Its output goes to ``log``. Returns its peak memory in bytes.

    Raises:
        ConversionError: the process failed, was killed, or exceeded a limit; the message has the end of
            its log.
    """
    process = converter_context().Process(target=_enter, args=(task, log, limits.memory))
    process.start()
    process.join(limits.seconds)
    if process.is_alive():
        process.kill()
        process.join()
        raise ConversionError(f"{title}: the converter took over {limits.seconds:.0f} s; its log: {log}")
    if process.exitcode:
        reason = f"signal {-process.exitcode}" if process.exitcode < 0 else f"exit {process.exitcode}"
        lines = log.read_text(errors="replace").strip().splitlines()[-_TAIL_LINES:]
        raise ConversionError(f"{title}: the converter ended with {reason}: {' | '.join(lines)[-500:]}")
    return int(log.with_suffix(_PEAK).read_text())


def _enter(task: Callable[[], None], log: Path, memory: int) -> None:
    """Become the converter's process: output to the log, memory limited, onnxsim found."""
    stream = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(stream, sys.stdout.fileno())
    os.dup2(stream, sys.stderr.fileno())
    resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    # onnx2tf calls the program onnxsim from PATH, and without it makes a model that cannot be loaded.
    os.environ["PATH"] = os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", "")])
    # What a converter leaves behind goes with the export's own scratch folder.
    tempfile.tempdir = str(log.parent)
    # One thread for each converter: as many converters run as there are cores.
    torch.set_num_threads(1)
    task()
    # Linux counts in kilobytes.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    log.with_suffix(_PEAK).write_text(str(peak))
