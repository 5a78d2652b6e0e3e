"""Running a program of others: an argument list, limits of time and of bytes, its words in one line."""

import contextlib
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mien.mobile_reference.output.text import shown

from .errors import ProgramError, ProgramTimeout

MOST_BYTES = 16 << 20
"""Of what a program says on both its streams; a phone's longest answer has some 100 KB."""
_CHUNK = 1 << 16


@dataclass(frozen=True)
class Answer:
    """What a program said, without carriage returns; bytes that are not UTF-8 are replaced."""

    code: int
    out: str
    err: str

    @property
    def last(self) -> str:
        """The last line of what went wrong, as it may be shown."""
        lines = (self.err.strip() or self.out.strip()).splitlines() or ["it said nothing"]
        return shown(lines[-1])[:500]


def run_program(command: Sequence[str], seconds: float, most_bytes: int = MOST_BYTES) -> Answer:
    """Run a program to its end, with nothing on its standard input.

    Raises:
        ProgramTimeout: it took longer than ``seconds``, and was ended with all that it started.
        ProgramError: it could not be started, or said more than ``most_bytes``.
    """
    name = Path(command[0]).name
    try:
        process = subprocess.Popen(  # noqa: S603 - an argument list, never a shell
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ProgramError(
            f"{command[0]} cannot be started ({reason}); give a program that was made for this machine"
        ) from error
    try:
        with process:
            out, err = _read(process, name, seconds, most_bytes)
            return Answer(process.wait(), out, err)
    finally:
        _end(process)


def _read(process: subprocess.Popen[bytes], name: str, seconds: float, most_bytes: int) -> tuple[str, str]:
    """Read both streams until they end or a limit is passed."""
    end, parts = time.monotonic() + seconds, {process.stdout: bytearray(), process.stderr: bytearray()}
    with selectors.DefaultSelector() as selector:
        for stream in parts:
            if stream:
                selector.register(stream, selectors.EVENT_READ)
        while selector.get_map():
            ready = selector.select(max(end - time.monotonic(), 0))
            if not ready:
                _end(process)
                raise ProgramTimeout(
                    f"{name} took longer than {seconds:g} s and was ended; run it by hand to see why"
                )
            for key, _ in ready:
                chunk = os.read(key.fd, _CHUNK)
                if not chunk:
                    selector.unregister(key.fileobj)
                parts[key.fileobj] += chunk  # type: ignore[index]
            if sum(map(len, parts.values())) > most_bytes:
                _end(process)
                raise ProgramError(f"{name} said more than {most_bytes} bytes, and was ended; look at it")
    out, err = (part.decode(errors="replace").replace("\r", "") for part in parts.values())
    return out, err


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the program and whatever it started."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.kill()
