"""A full disk: a tmpfs of this process's own where the system lets one be mounted, or else a limit.

The mount lives in a namespace of the process, and is gone with it. Nobody else sees it.
"""

import ctypes
import os
import resource
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

TMPFS, LIMIT = "a tmpfs", "a limit of a file's length"
_LONGEST_FILE = 2000
_PRIVATE, _REMOUNT = 0x4000 | 0x40000, 0x20  # of mount(2): MS_REC | MS_PRIVATE, and MS_REMOUNT
_AMPLE = 64 << 20


@contextmanager
def full_disk(place: Path, free: int) -> Iterator[None]:
    """Let a folder and all below it have so many bytes free; only in a process that ends soon.

    Without a tmpfs no file may be longer than some bytes, which is what a full disk does to most of them.
    """
    below = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
    try:
        _mount(place)
    except OSError:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (_LONGEST_FILE, _LONGEST_FILE))
        yield
        return
    # What lies below the mount can still be reached by what was opened before.
    hidden = Path(f"/proc/{os.getpid()}/fd/{below}")
    _copy(hidden, place)
    disk = os.statvfs(place)
    _call_mount(place, _REMOUNT, (disk.f_blocks - disk.f_bfree) * disk.f_frsize + free)
    os.chdir(place)
    try:
        yield
    finally:
        # Others look for what the command left when this process, and the tmpfs with it, has gone.
        for old in hidden.iterdir():
            shutil.rmtree(old) if old.is_dir() and not old.is_symlink() else old.unlink()
        _copy(place, hidden)


def kind_of_full_disk() -> str:
    """Tell which of the two this machine has, by trying in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        process = os.fork()
        if process == 0:
            code = 1
            try:
                _mount(Path(folder))
                code = 0
            finally:
                os._exit(code)
        return LIMIT if os.waitpid(process, 0)[1] else TMPFS


def _mount(place: Path) -> None:
    """Mount a tmpfs in a namespace of this process's own, as root or as root of a namespace of users."""
    user, group = os.getuid(), os.getgid()
    try:
        os.unshare(os.CLONE_NEWNS)
    except PermissionError:
        os.unshare(os.CLONE_NEWUSER | os.CLONE_NEWNS)
        for name, text in (
            ("setgroups", "deny"),
            ("uid_map", f"{user} {user} 1"),
            ("gid_map", f"{group} {group} 1"),
        ):
            Path("/proc/self", name).write_text(text)
    _call_mount(Path("/"), _PRIVATE)
    _call_mount(place, 0, _AMPLE)


def _call_mount(place: Path, flags: int, size: int | None = None) -> None:
    system = ctypes.CDLL(None, use_errno=True)
    options = None if size is None else f"size={size}".encode()
    if system.mount(b"none", os.fsencode(place), b"tmpfs", ctypes.c_ulong(flags), options):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(place))


def _copy(source: Path, target: Path) -> None:
    """Copy all of a folder, pipes and links as they are."""
    subprocess.run(["cp", "-a", f"{source}/.", str(target)], check=True)
