"""Environments of their own, for converters whose versions do not live beside the others'."""

import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from mien.mobile_reference.setups import Setup

from .errors import ExportError

_READY = "ready"
# Some 6 GB over a slow line.
_LIMIT_S = 3600


@dataclass(frozen=True)
class Environment:
    """A virtual environment in a cache folder, of the packages that the file ``lock`` beside this one pins.

    ``size`` says how much is fetched.
    """

    name: str
    lock: str
    size: str

    def folder(self, cache: Path) -> Path:
        """Return its folder, which need not exist."""
        return cache / self.name

    def python(self, cache: Path) -> Path:
        """Return its interpreter, which need not exist."""
        return self.folder(cache) / "bin" / "python"

    def is_ready(self, cache: Path) -> bool:
        """Tell whether it was set up, to the end and for these packages and this Python."""
        ready = self.folder(cache) / _READY
        return ready.is_file() and ready.read_text() == self._wanted()

    def set_up(self, cache: Path, progress: Callable[[str], None]) -> None:
        """Make it; does nothing when it is there.

        Raises:
            ExportError: the packages could not be installed.
        """
        if self.is_ready(cache):
            return
        folder = self.folder(cache)
        progress(f"making the environment {self.name}")
        shutil.rmtree(folder, ignore_errors=True)
        venv.create(folder, with_pip=_uv() is None)
        lock = folder / "packages.lock"
        lock.write_text(self._locked())
        progress(f"installing {self.name}, {self.size}")
        self._install(lock, self.python(cache))
        # Written last: a set-up that was interrupted begins anew.
        (folder / _READY).write_text(self._wanted())

    def _locked(self) -> str:
        return files(__package__).joinpath(self.lock).read_text()

    def _wanted(self) -> str:
        """Name what the environment is made from: the packages and the Python."""
        return hashlib.sha256((self._locked() + sys.version).encode()).hexdigest()

    def _install(self, lock: Path, python: Path) -> None:
        """Install with uv, which shares files with other environments, or else with pip."""
        uv = _uv()
        program = [uv, "pip", "install", "--python", python] if uv else [python, "-m", "pip", "install"]
        command = [*map(str, program), "--quiet", "--requirement", str(lock)]
        try:
            done = subprocess.run(  # noqa: S603 - our own argument list
                command, capture_output=True, text=True, timeout=_LIMIT_S, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise ExportError(
                f"installing took over {_LIMIT_S} s; try again, what was fetched is kept"
            ) from error
        if done.returncode:
            raise ExportError(
                f"{command[0]} could not install {self.name}: {last_words(done)}; "
                f"is there a network, and {self.size} of disk?"
            )


def last_words(done: subprocess.CompletedProcess[str]) -> str:
    """Return the last line that a program wrote about its failure."""
    return (done.stderr.strip().splitlines() or ["it said nothing"])[-1]


def _uv() -> str | None:
    return shutil.which(
        "uv", path=os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", "")])
    )


LITERT_TORCH = Environment("litert-torch", "litert_torch.lock", "6 GB")
LITERT_TORCH_SETUP = Setup(
    LITERT_TORCH.name, "compare converters", LITERT_TORCH.size, LITERT_TORCH.is_ready, LITERT_TORCH.set_up
)
