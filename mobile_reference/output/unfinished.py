"""What is being written lies beside its place until it is whole; what a killed process left is swept.

An unfinished file or folder is named ``.mien-*.partial``. Its process holds a lock on it, which the kernel
releases when the process ends in whatever way: the next one that writes there removes what has no lock.
"""

import fcntl
import os
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

_PREFIX, _SUFFIX = ".mien-", ".partial"


@contextmanager
def unfinished(parent: Path, make: Callable[[Path], object]) -> Iterator[Path]:
    """Have ``make`` make a file or folder in ``parent``; what is still of its name at the end is removed.

    An interruption may come at any moment, also while it is made or removed.
    """
    sweep(parent)
    made: list[Path] = []
    with ExitStack() as held:
        try:
            yield _locked(parent, make, made, held)
        finally:
            try:
                _remove_all(made)
            finally:
                _remove_all(made)  # the first time may have been cut short


def make_file(path: Path) -> None:
    """Make an empty file where there is nothing."""
    path.touch(exist_ok=False)


def sweep(parent: Path) -> None:
    """Remove what processes that have ended left unfinished in a folder."""
    for path in parent.glob(f"{_PREFIX}*{_SUFFIX}"):
        with suppress(OSError):
            lock = _lock(path)
            remove(path)
            os.close(lock)


def remove(path: Path) -> None:
    """Remove a file, or a folder with all that is in it, if it is there; links are not followed."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Have a file or the names in a folder on the disk, where its file system can."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        with suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove_all(paths: Iterable[Path]) -> None:
    for path in paths:
        remove(path)


def _locked(parent: Path, make: Callable[[Path], object], made: list[Path], held: ExitStack) -> Path:
    """Make something new and lock it while ``held`` lasts; ``made`` gets its name before it is there."""
    while True:
        path = parent / f"{_PREFIX}{secrets.token_hex(4)}{_SUFFIX}"
        made.append(path)
        make(path)
        # Another process that sweeps may have been quicker than the lock.
        with suppress(FileNotFoundError, BlockingIOError):
            held.callback(os.close, _lock(path))
            return path


def _lock(path: Path) -> int:
    """Lock what is named ``path``, and return the descriptor that holds the lock.

    Raises:
        OSError: it is locked (``BlockingIOError``), gone (``FileNotFoundError``), or cannot be locked.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not os.path.samestat(os.fstat(descriptor), path.stat(follow_symlinks=False)):
            raise FileNotFoundError(path)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
