"""Environments of their own, for converters whose versions do not live beside the others'."""

import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import Distribution, distributions
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
        """Return its folder, which need not exist; other packages or another Python have another one."""
        return cache / f"{self.name}-{self._wanted()[:12]}"

    def python(self, cache: Path) -> Path:
        """Return its interpreter, which need not exist."""
        return self.folder(cache) / "bin" / "python"

    def is_ready(self, cache: Path) -> bool:
        """Tell whether it was set up, to the end and for these packages and this Python."""
        ready = self.folder(cache) / _READY
        return ready.is_file() and ready.read_text() == self._wanted() and self.python(cache).exists()

    def checked(self, cache: Path) -> Path:
        """Return its interpreter.

        Raises:
            ExportError: it was not set up, or for other packages or another Python.
        """
        if not self.is_ready(cache):
            raise ExportError(
                f"the environment {self.name} of these packages and this Python is not set up; "
                f"mien setup {self.name}"
            )
        return self.python(cache)

    def remedy(self, cache: Path) -> str:
        """Say what helps where it was set up and does not work."""
        return f"delete {self.folder(cache)} and run mien setup {self.name}"

    def packages(self, cache: Path) -> Iterator[Distribution]:
        """Find what is installed in it, nothing where it was not set up."""
        return iter(distributions(path=[str(part) for part in self._site_packages(cache)]))

    def version(self, package: str) -> str:
        """Return the version of a package that its lock pins."""
        pinned = (line.split()[0] for line in self._locked().splitlines() if "==" in line)
        return next(pin.partition("==")[2] for pin in pinned if pin.startswith(f"{package}=="))

    def set_up(self, cache: Path, progress: Callable[[str], None]) -> None:
        """Make it; does nothing when it is there.

        Raises:
            ExportError: the packages could not be installed.
        """
        if self.is_ready(cache):
            return
        folder = self.folder(cache)
        cache.mkdir(parents=True, exist_ok=True)
        with _alone(cache / f"{folder.name}.lock"):
            if not self.is_ready(cache):  # another process may just have made it
                self._make(folder, progress)

    def _make(self, folder: Path, progress: Callable[[str], None]) -> None:
        progress(f"making the environment {self.name}")
        shutil.rmtree(folder, ignore_errors=True)
        venv.create(folder, with_pip=_uv() is None)
        lock = folder / "packages.lock"
        lock.write_text(self._locked())
        progress(f"installing {self.name}, {self.size}")
        self._install(lock, folder / "bin" / "python")
        # Written last: a set-up that was interrupted begins anew.
        (folder / _READY).write_text(self._wanted())

    def _site_packages(self, cache: Path) -> list[Path]:
        return sorted(self.folder(cache).glob("lib/python*/site-packages"))

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


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """Let one process at a time make what a file stands for."""
    import fcntl  # Windows, where `mien doctor` loads this module too, has none

    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield


def last_words(done: subprocess.CompletedProcess[str]) -> str:
    """Return the last line that a program wrote about its failure."""
    return (done.stderr.strip().splitlines() or ["it said nothing"])[-1]


def _uv() -> str | None:
    return shutil.which(
        "uv", path=os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", "")])
    )


def _setup(environment: Environment, serves: str) -> Setup:
    return Setup(environment.name, serves, environment.size, environment.is_ready, environment.set_up)


TFLITE = Environment("tflite", "tflite.lock", "170 MB")
TENSORFLOW = Environment("tensorflow", "tensorflow.lock", "900 MB")
"""That of tflite with TensorFlow, which onnx2tf's other back end needs."""
LITERT_TORCH = Environment("litert-torch", "litert_torch.lock", "6 GB")
COREAI = Environment("coreai", "coreai.lock", "3 GB")
"""Apple's own packages; PyTorch is the newest that they were tried with."""

TFLITE_SETUP = _setup(TFLITE, "export to TFLite")
TENSORFLOW_SETUP = _setup(TENSORFLOW, "compare converters")
LITERT_TORCH_SETUP = _setup(LITERT_TORCH, "compare converters")
COREAI_SETUP = _setup(COREAI, "coreai")
