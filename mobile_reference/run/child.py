"""Foreign bytes meet native code in a child process: a crash, a hang or a blow-up of memory is one line.

The child is forked once, and has the rights of its parent: it keeps mistakes apart, and is not a sandbox.
"""

import contextlib
import ctypes
import faulthandler
import multiprocessing
import os
import pickle
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import IO, Any, TextIO

from mien.mobile_reference.errors import ChildError, MienError
from mien.mobile_reference.output.text import say, shown

Tell = Callable[[Any], None]
"""Sends a message to the parent."""
_TAIL_BYTES = 4096
_CALM = ("INFO: ", "VERBOSE: ")
"""What LiteRT says while all is well begins so."""
_PR_SET_PDEATHSIG = 1  # prctl(2)


@dataclass(frozen=True)
class Limits:
    """What a child may use: bytes of memory of its own, and processor seconds from one message to the next.

    Processor time, because on a busy machine sound work takes long by the clock. 0 ``seconds`` do not limit.
    """

    memory: int = 3 << 29
    seconds: int = 300


class Child[R]:
    """A process that does ``work``: iterate over it for the messages, then read ``result``.

    ``work`` is given a function that sends a message. It runs from when the child is made, which should be
    before this process starts threads.

    Raises:
        ChildError: while iterating: the process died or passed a limit. Errors of ``work`` are raised too.
    """

    result: R

    def __init__(self, work: Callable[[Tell], R], limits: Limits) -> None:
        self._limits = limits
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - closed when the messages end
        context = multiprocessing.get_context("fork")
        self._messages, theirs = context.Pipe(duplex=False)
        self._process = context.Process(
            target=_enter, args=(work, theirs, self._messages, self._said, limits)
        )
        self._process.start()
        theirs.close()

    def __iter__(self) -> Iterator[Any]:
        """Yield the messages as they come."""
        try:
            while True:
                kind, value = self._receive()
                if kind == "result":
                    self.result = value
                    return
                if kind == "error":
                    raise value
                yield value
        finally:
            self.end()

    def wait(self) -> R:
        """Return the result when the process has ended; nobody reads its messages.

        Raises:
            ChildError: it died or passed a limit. Errors of ``work`` are raised too.
        """
        for _ in self:
            pass
        return self.result

    @property
    def was_killed(self) -> bool:
        """Whether it died by SIGKILL, which comes from outside: from the system, or from whoever ended it."""
        return self._process.exitcode == -signal.SIGKILL

    def end(self) -> None:
        """End the process, whatever it does; one that has ended stays so."""
        self._process.kill()
        self._process.join()
        self._messages.close()
        self._said.close()

    def _receive(self) -> tuple[str, Any]:
        try:
            kind, value = self._messages.recv()
        except Exception as error:  # the pipe ended, or what a dying process wrote is not a message
            self._process.join(1)
            raise ChildError(self._death()) from error
        return kind, value

    def _death(self) -> str:
        code = self._process.exitcode
        if code == -signal.SIGPROF:
            return f"the process took more than {self._limits.seconds} s of processor time and was ended"
        size = self._said.seek(0, os.SEEK_END)
        self._said.seek(max(size - _TAIL_BYTES, 0))
        words = _telling(self._said.read())
        return f"the process was ended by {how_ended(code)}" + (f" ({words[-1]:.200})" if words else "")


def how_ended(code: int | None) -> str:
    """Name the signal of a process's exit code, as Python gives it, or the code."""
    if code is not None and code < 0:
        with contextlib.suppress(ValueError):
            return signal.Signals(-code).name
    return f"exit {code}"


def in_child[R](work: Callable[[], R], limits: Limits, subject: object) -> R:
    """Do ``work`` that has no messages in a child, and return its result; ``subject`` is what it opens.

    Raises:
        ChildError: the process died or passed a limit. Errors of ``work`` are raised too.
    """
    return each_in_child(lambda _: work(), [subject], limits)[0]


def each_in_child[S, R](work: Callable[[S], R], subjects: Sequence[S], limits: Limits) -> list[R]:
    """Do ``work`` for each subject in one child; ``limits`` are for each of them.

    Raises:
        ChildError: the process died or passed a limit, at the subject that it names. Errors of ``work`` are
            raised too.
    """

    def do_each(tell: Tell) -> list[R]:
        made = []
        for place, subject in enumerate(subjects):
            tell(place)
            made.append(work(subject))
        return made

    child, place = Child(do_each, limits), 0
    try:
        for place in child:  # noqa: B007 - the last one is named
            pass
    except ChildError as error:
        raise ChildError(f"{subjects[place]}: {error}; it is damaged or too large, make it again") from error
    return child.result


def confine(limits: Limits) -> int:
    """Limit this process, at most to what it was limited to; its processor time counts anew.

    Returns:
        The bytes of data that it has already, which may be its parent's and do not count.
    """
    held = _held()
    with contextlib.suppress(ImportError):  # Windows
        import resource

        _, allowed = resource.getrlimit(resource.RLIMIT_DATA)
        memory = held + limits.memory
        memory = memory if allowed == resource.RLIM_INFINITY else min(memory, allowed)
        resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        # The signal of this timer ends a process that does not heed it.
        signal.setitimer(signal.ITIMER_PROF, limits.seconds)
    return held


def keep_below(memory: int) -> None:
    """Limit this process to so many bytes more than it has until the next call, within its own limits."""
    with contextlib.suppress(ImportError):  # Windows
        import resource

        _, allowed = resource.getrlimit(resource.RLIMIT_DATA)
        if allowed != resource.RLIM_INFINITY:  # it is not confined: nobody's own process is limited
            resource.setrlimit(resource.RLIMIT_DATA, (min(_held() + memory, allowed), allowed))


def _held() -> int:
    """Return the bytes of data that this process has, 0 where the system does not tell."""
    with contextlib.suppress(OSError):
        lines = Path("/proc/self/status").read_text().splitlines()
        return next((int(line.split()[1]) << 10 for line in lines if line.startswith("VmData:")), 0)
    return 0


def _allowed(limits: Limits, before: int) -> int:
    """Return the bytes of data that this process may have now beside those that it had ``before``."""
    with contextlib.suppress(ImportError):  # Windows
        import resource

        return resource.getrlimit(resource.RLIMIT_DATA)[0] - before
    return limits.memory


def _enter(
    work: Callable[[Tell], Any], theirs: Connection, ours: Connection, said: IO[bytes], limits: Limits
) -> None:
    ours.close()
    for interruption in (signal.SIGINT, signal.SIGTERM):
        signal.signal(interruption, signal.SIG_DFL)
    faulthandler.disable()  # a death is told in one line
    end_with_parent()
    sys.stderr = _apart_from_native_words(said)

    def tell(message: Any) -> None:
        theirs.send(("message", message))
        signal.setitimer(signal.ITIMER_PROF, limits.seconds)

    try:
        answer = ("result", _in_new_thread(lambda: _limited(work, tell, limits)))
    except BrokenPipeError:  # the parent is gone
        return
    except Exception as error:
        answer = ("error", _sendable(error))
    try:
        theirs.send(answer)
    except BrokenPipeError:
        return
    sys.stdout.flush()
    sys.stderr.flush()


def _limited[R](work: Callable[[Tell], R], tell: Tell, limits: Limits) -> R:
    """Do ``work`` within limits.

    Raises:
        ChildError: it needs more memory. Its own errors are raised too.
    """
    before = confine(limits)
    try:
        return work(tell)
    except MemoryError:
        mib = _allowed(limits, before) >> 20
        raise ChildError(f"the process needs more than {mib} MiB of memory, which is its limit") from None


def _in_new_thread[R](work: Callable[[], R]) -> R:
    """Do ``work`` in a thread that this process has started.

    OpenMP would have the forking thread wait for ever for threads that PyTorch started in its parent, which
    are not here. A new thread starts its own.
    """
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(copy_context().run, work).result()


def _sendable(error: Exception) -> Exception:
    """Return an error as it can be sent: a defect with its traceback, what cannot be pickled in words."""
    if not hasattr(error, "exit_code"):
        error.add_note(traceback.format_exc())
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
    except Exception:
        return MienError(str(error)) if hasattr(error, "exit_code") else RuntimeError(traceback.format_exc())
    return error


def end_with_parent() -> None:
    """Let this process end when the thread that started it does, where the system can.

    Elsewhere the next message finds nobody.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


@contextmanager
def calm() -> Iterator[None]:
    """Keep off standard error what libraries print while all is well; their other words are told at the end.

    For what opens models in this very process. What Python code prints goes where it went.
    """
    with tempfile.TemporaryFile() as said:
        before = sys.stderr
        apart = _apart_from_native_words(said)
        if _number(before) == 2:
            sys.stderr = apart
        try:
            yield
        finally:
            sys.stderr = before
            os.dup2(apart.fileno(), 2)
            apart.close()
            said.seek(0)
            for words in _telling(said.read()):
                say(words)


def _number(stream: TextIO | None) -> int | None:
    """Return the descriptor that a stream writes to; none of one that is in memory, or closed."""
    try:
        return stream.fileno() if stream is not None else None
    except (OSError, ValueError):
        return None


def _telling(said: bytes) -> list[str]:
    """Return the lines that libraries print when something is wrong, as they are shown."""
    lines = said.decode(errors="replace").split("\n")
    return [shown(line) for line in lines if line.strip() and not line.startswith(_CALM)]


def _apart_from_native_words(said: IO[bytes]) -> TextIO:
    """Let what libraries print go to the file ``said``; what is returned leads where Python's words went."""
    stderr = os.dup(_number(sys.stderr) or 2)
    os.dup2(said.fileno(), 2)
    return open(stderr, "w", buffering=1, encoding="utf-8", errors="backslashreplace")  # noqa: PTH123
