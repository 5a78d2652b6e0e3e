"""Runs a command in a process of its own and says how it ended: as promised, or a finding."""

import faulthandler
import io
import json
import math
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

from mien.mobile_reference.output.unfinished import _PREFIX

PASSED, GATE, REFUSED = "passed", "gate failed", "refused in one line"
KILLED, INTERRUPTED = "killed", "interrupted"
PROMISED = (PASSED, GATE, REFUSED, KILLED, INTERRUPTED)
"""How a command may end; everything else is a finding."""
LONGEST_LINE = 1600


@dataclass(frozen=True)
class Bounds:
    """What one command may take: seconds on the clock, and bytes of memory that are resident at one time.

    ``memory`` holds for each process of it, beyond the data that the forking process held.
    """

    seconds: float = 120.0
    memory: int = 5 << 28


@dataclass(frozen=True)
class Ended:
    """How a process ended: ``code`` is negative for a signal, as Python has it; ``peak`` is in bytes."""

    code: int
    out: str
    err: str
    peak: int
    in_time: bool
    left: tuple[str, ...]


def attempt(act: Callable[[], Any], folder: Path, bounds: Bounds) -> Ended:
    """Run ``act`` in a forked process; ``left`` are unfinished files that it leaves in ``folder``."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        sys.stdout.flush()
        sys.stderr.flush()
        inherited = _own_data()
        process = os.fork()
        if process == 0:
            become(act, folder, out.fileno(), err.fileno())
        code, peak, in_time = _wait(process, bounds.seconds)
        with suppress(ProcessLookupError):
            os.killpg(process, signal.SIGKILL)
        left = tuple(path.name for path in folder.rglob(f"{_PREFIX}*"))
        words = []
        for stream in (out, err):
            stream.seek(0)
            words.append(stream.read().decode(errors="replace"))
        return Ended(code, words[0], words[1], peak - inherited, in_time, left)


def _own_data() -> int:
    """Count the resident bytes of this process that no file backs: a forked process begins with them."""
    _, resident, shared, *_ = Path("/proc/self/statm").read_text().split()
    return (int(resident) - int(shared)) * os.sysconf("SC_PAGESIZE")


def become(act: Callable[[], Any], folder: Path, out: int, err: int) -> None:
    """Be the process, which does ``act``; never returns."""
    code = 70
    try:
        os.setsid()
        begin_anew()
        faulthandler.disable()  # pytest's would write into its own output
        os.dup2(out, 1)
        os.dup2(err, 2)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        sys.stdout = io.TextIOWrapper(io.FileIO(1, "w", closefd=False), encoding="utf-8")
        sys.stderr = io.TextIOWrapper(
            io.FileIO(2, "w", closefd=False), encoding="utf-8", errors="backslashreplace"
        )
        os.chdir(folder)
        tempfile.tempdir = str(folder)
        act()
        code = 0
    except SystemExit as left:
        code = left.code if isinstance(left.code, int) else 0 if left.code is None else 70
    except BaseException:
        traceback.print_exc()
    finally:
        with suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def begin_anew() -> None:
    """Leave what belongs to the process that forked this one: PyTorch's threads, the server of conversions.

    The threads are not here, and OpenMP would wait for them for ever. The server is nobody's child here.
    """
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)
    forkserver._forkserver = forkserver.ForkServer()  # type: ignore[attr-defined]
    for name in ("ensure_running", "get_inherited_fds", "connect_to_new_process", "set_forkserver_preload"):
        setattr(forkserver, name, getattr(forkserver._forkserver, name))  # type: ignore[attr-defined]


def _wait(process: int, seconds: float) -> tuple[int, int, bool]:
    """Wait for a process: its code, the peak of its memory, and whether it ended in time."""
    end, in_time = time.monotonic() + seconds, True
    while True:
        ended, status, used = os.wait4(process, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status), used.ru_maxrss * 1024, in_time
        if in_time and time.monotonic() > end:
            in_time = False
            os.killpg(process, signal.SIGKILL)
        time.sleep(0.005)


def judge(ended: Ended, bounds: Bounds) -> str:
    """Name how a command ended: one of ``PROMISED``, or a kind of finding."""
    found: Sequence[tuple[bool, str]] = (
        (not ended.in_time, f"hang: over {bounds.seconds:g} s"),
        ("Traceback (most recent call last)" in ended.err, f"traceback: {_last(ended.err)}"),
        (ended.code < 0, f"crash: signal {-ended.code}"),
        (ended.peak > bounds.memory, f"memory: {ended.peak >> 20} MiB"),
        (bool(ended.left), f"left over: {', '.join(ended.left)}"),
        (ended.code not in (0, 1, 2), f"exit code {ended.code}"),
    )
    for is_so, name in found:
        if is_so:
            return name
    fault = _fault_of_output(ended)
    return fault or (PASSED, GATE, REFUSED)[ended.code]


def _last(text: str) -> str:
    return (text.strip().splitlines() or [""])[-1][:160]


def _fault_of_output(ended: Ended) -> str | None:
    """Say what is wrong with what was printed: rows of JSON, or one line that says why there are none."""
    try:
        rows = _documents(ended.out)
    except ValueError as error:
        return f"not JSON: {error}"
    errors = [row["error"] for row in rows if isinstance(row, dict) and row.get("error")]
    lines = [line for line in ended.err.splitlines() if line.strip()]
    if any(len(line) > LONGEST_LINE for line in lines):
        return "a line too long"
    if ended.code == 2 and not errors and len(lines) != 1:
        return f"refused in {len(lines)} lines: {' | '.join(lines)[:120]}"
    scores = [row["score"] for row in rows if isinstance(row, dict) and row.get("score") is not None]
    odd = [score for score in scores if not isinstance(score, int | float) or not math.isfinite(score)]
    return f"a score of {odd[0]!r}" if odd else None


def _documents(text: str) -> list[Any]:
    """Read JSON as it is printed: one document, or one a line."""

    def no_number(name: str) -> Any:
        raise ValueError(f"{name} is not a number")

    text = text.strip()
    if not text.startswith(("{", "[")):
        return []
    try:
        return [json.loads(text, parse_constant=no_number)]
    except json.JSONDecodeError:
        return [json.loads(line, parse_constant=no_number) for line in text.splitlines()]
