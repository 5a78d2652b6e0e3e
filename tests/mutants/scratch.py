"""A copy of the working tree in which faults are put and tests are run; the working tree is never changed."""

import os
import resource
import shutil
import signal
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

MEMORY = 12 << 30
_FAILED = (1, 2, 3, 4)  # pytest's codes: a test failed, or what it needs does not even import


class ScratchError(Exception):
    """The copy cannot be made or does not work."""


@dataclass(frozen=True)
class Outcome:
    """How tests ended: ``survived``, ``killed`` or ``timed out``, and what pytest wrote."""

    status: str
    output: str


class Scratch:
    """A copy of a tree below ``folder``, with the packages under the names that they are installed by."""

    def __init__(self, source: Path, folder: Path) -> None:
        self.tree = folder / "tree"
        self._packages = folder / "packages"
        shutil.rmtree(self.tree, ignore_errors=True)
        shutil.rmtree(self._packages, ignore_errors=True)
        listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        names = subprocess.run(listed, cwd=source, check=True, capture_output=True, text=True).stdout
        for name in filter(None, names.split("\0")):
            if (source / name).is_file():
                (self.tree / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source / name, self.tree / name)
        self._link_packages()
        self._check_imports()

    def _link_packages(self) -> None:
        project = tomllib.loads((self.tree / "pyproject.toml").read_text())
        rooms: dict[str, str] = project["tool"]["setuptools"]["package-dir"]
        for name, folder in sorted(rooms.items()):  # a package before those inside it
            place = self._packages.joinpath(*name.split("."))
            if "." not in name:  # mien itself: its own files, and the rooms beside them
                place.mkdir(parents=True)
                for file in (self.tree / folder).iterdir():
                    (place / file.name).symlink_to(file)
            else:
                place.parent.mkdir(parents=True, exist_ok=True)
                place.symlink_to(self.tree / folder, target_is_directory=True)

    def _check_imports(self) -> None:
        """Make sure that the faults are felt: the installed packages lie in the working tree."""
        code = "import mien.mobile_reference as m, pathlib; print(pathlib.Path(m.__file__).resolve())"
        found = self._run([sys.executable, "-c", code], seconds=60).output.strip()
        if not Path(found).is_relative_to(self.tree.resolve()):
            raise ScratchError(f"the copy imports {found}, not its own files in {self.tree}")

    def trace(self, layers: Sequence[str], paths: Sequence[str], output: Path) -> Outcome:
        """Run the tests of some layers without a fault and write the map of what they execute."""
        return self._pytest(
            ["-p", "tests.mutants.tracing", "-m", " or ".join(layers), *paths],
            seconds=3600,
            environment={"MUTANTS_MAP": str(output)},
        )

    def run_tests(self, file: str, content: bytes, tests: Sequence[str], seconds: float) -> Outcome:
        """Run tests in their order, until one fails, with other content in one file."""
        place = self.tree / file
        before = place.read_bytes()
        place.write_bytes(content)
        try:
            return self._pytest(["-x", *tests], seconds)
        finally:
            place.write_bytes(before)

    def _pytest(
        self, arguments: Sequence[str], seconds: float, environment: dict[str, str] | None = None
    ) -> Outcome:
        options = ["-q", "--tb=line", "-p", "no:cacheprovider", "--disable-warnings"]
        return self._run([sys.executable, "-m", "pytest", *options, *arguments], seconds, environment)

    def _run(
        self, command: Sequence[str], seconds: float, environment: dict[str, str] | None = None
    ) -> Outcome:
        """Run with a limit of user CPU seconds, and ten times as many on the clock for what only waits."""
        process = subprocess.Popen(
            command,
            cwd=self.tree,
            # A compiled file is taken for current if time and size agree, as a fault's may; so none is kept.
            env=os.environ
            | {"PYTHONPATH": str(self._packages), "PYTHONDONTWRITEBYTECODE": "1"}
            | (environment or {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
            preexec_fn=lambda: _limit(seconds),
        )
        try:
            output, _ = process.communicate(timeout=10 * seconds)
        except subprocess.TimeoutExpired:
            return Outcome("timed out", "")
        finally:
            _end_group(process)
        return Outcome(_status(process.returncode, output), output)


def _limit(seconds: float) -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (int(seconds) + 1, int(seconds) + 5))
    # The soft one alone: a process with a hard one takes itself for confined.
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, hard))


def _end_group(process: subprocess.Popen[str]) -> None:
    """End what is left of a run: only its own group of processes."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _status(code: int, output: str) -> str:
    if code == 0:
        return "survived"
    if code in (-signal.SIGXCPU, -signal.SIGKILL):
        return "timed out"
    if code in _FAILED or code < 0:
        return "killed"
    raise ScratchError(f"pytest ended with {code}: {output[-400:]}")
