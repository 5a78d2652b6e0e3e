"""The ARM64 programs that the emulation runs: Debian's Python and libc, LiteRT's own ARM64 wheel.

They are unpacked into a cache folder. The host's own packages are left as they are: apt works on a
state of its own in that folder, for the architecture arm64, and nothing is installed.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from importlib.resources import as_file, files
from importlib.util import find_spec
from pathlib import Path

from mien.benchmarks.errors import SetupError
from mien.mobile_reference.output.json_text import json_text

QEMU = "qemu-aarch64"
_READY = "ready.json"
_PACKAGES = ("python3-minimal", "libpython3-stdlib", "libstdc++6", "libgcc-s1", "zlib1g")
_TOOLS = {
    QEMU: "apt-get install qemu-user",
    "gcc": "apt-get install gcc libc6-dev",
    "nm": "apt-get install binutils",
    "apt-get": "use Debian, or a container of it",
    "dpkg": "use Debian, or a container of it",
}
_TIME_LIMIT_S = 900
_NO_SOURCE = "apt knows no Debian source; run 'apt-get update' on a Debian system first"
_PLUGIN = "qcount.so"
# QEMU 9 took the call away that adds to a counter without looking which processor it runs on.
_QEMU_MAJORS = (7, 8)
# QEMU shows programs the host's /proc/cpuinfo, and LiteRT 2.3 crashes where that is not of an ARM processor.
# What the emulated one can do it learns from the auxiliary vector, which is QEMU's own. A Cortex-A72 has no
# kernels to itself, nor does LiteRT add anything to what that vector says.
_CPUINFO = """\
processor\t: 0
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x0
CPU part\t: 0xd08
CPU revision\t: 3
"""


@dataclass(frozen=True)
class Sysroot:
    """A folder with everything that the emulation needs; ``root`` is the emulated system's file tree."""

    folder: Path

    @property
    def root(self) -> Path:
        """The ARM64 system."""
        return self.folder / "root"

    @property
    def plugin(self) -> Path:
        """The instruction counter, for the host's processor."""
        return self.folder / _PLUGIN

    @property
    def python(self) -> Path:
        """The ARM64 Python."""
        (found,) = sorted((self.root / "usr/bin").glob("python3.*[0-9]"))
        return found

    @property
    def packages(self) -> Path:
        """The folder of the unpacked wheels, as the emulated Python sees it."""
        return self.folder / "wheels"

    @property
    def litert(self) -> Path:
        """The ARM64 library that holds LiteRT and its kernels, with symbols."""
        return self.packages / "ai_edge_litert/libpywrap_litert_common.so"


def _name() -> str:
    return f"arm64-litert-{version('ai-edge-litert')}"


def is_set_up(cache: Path) -> bool:
    """Tell whether ``set_up`` ended well in this folder."""
    return (cache / _name() / _READY).is_file()


def open_sysroot(cache: Path) -> Sysroot:
    """Find what ``set_up`` made.

    Raises:
        SetupError: it is not there, or the emulator is not.
    """
    folder = cache / _name()
    if not is_set_up(cache):
        raise SetupError(f"{folder} has not been set up; run 'mien setup arm64'")
    _require(QEMU)
    return Sysroot(folder)


def set_up(cache: Path, progress: Callable[[str], None]) -> Sysroot:
    """Fetch and unpack what the emulation needs, about 60 MB; does nothing when it is there.

    Raises:
        SetupError: a tool is missing, or a download failed.
    """
    for tool in _TOOLS:
        _require(tool)
    _check_qemu()
    if find_spec("pip") is None:
        raise SetupError("this Python has no pip to fetch LiteRT for ARM64 with; python -m ensurepip")
    folder = cache / _name()
    if is_set_up(cache):
        return Sysroot(folder)
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache, prefix="setup-") as name:
        part = Sysroot(Path(name) / "sysroot")
        part.root.mkdir(parents=True)
        progress("fetching Debian's ARM64 packages")
        packages = unpack_packages(_PACKAGES, part.root, Path(name) / "apt")
        (part.root / "proc").mkdir()
        (part.root / "proc/cpuinfo").write_text(_CPUINFO)
        progress("fetching LiteRT for ARM64")
        wheels = _unpack_wheels(part, Path(name) / "pip")
        progress("compiling the instruction counter")
        compile_plugin(part.plugin)
        (part.folder / _READY).write_text(json_text({"packages": packages, "wheels": wheels}, indent=1))
        shutil.rmtree(folder, ignore_errors=True)
        part.folder.rename(folder)
    return Sysroot(folder)


def _require(tool: str) -> None:
    if shutil.which(tool) is None:
        raise SetupError(f"'{tool}' was not found, the ARM64 emulation needs it; {_TOOLS[tool]}")


def _check_qemu() -> None:
    first = call_tool([QEMU, "--version"]).split("version ")[-1]
    major = int(first.split(".")[0])
    if major not in _QEMU_MAJORS:
        raise SetupError(f"{QEMU} is version {major}, the instruction counter needs 7 or 8; use Debian 12's")
    if "-plugin" not in call_tool([QEMU, "--help"]):
        raise SetupError(f"this {QEMU} takes no plugins (a static build?); {_TOOLS[QEMU]}")


def call_tool(command: Sequence[str | Path], folder: Path | None = None, **environment: str) -> str:
    """Run a tool, in a folder if one is named, and return what it printed.

    Raises:
        SetupError: it failed.
    """
    done = subprocess.run(  # noqa: S603 - our own argument lists
        command,
        capture_output=True,
        text=True,
        cwd=folder,
        env=os.environ | environment,
        timeout=_TIME_LIMIT_S,
        check=False,
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise SetupError(f"'{command[0]}' failed: {last}; check the network and try again")
    return done.stdout


def _sources() -> Iterator[str]:
    """List the host's own Debian sources, so that its mirror is used."""
    form = "$(ORIGIN) $(SITE) $(RELEASE) $(COMPONENT)"
    for line in dict.fromkeys(
        call_tool(["apt-get", "indextargets", "--format", form, "Created-By: Packages"]).splitlines()
    ):
        origin, _, source = line.partition(" ")
        if origin == "Debian":
            yield f"deb {source}\n"


def backports() -> str:
    """Name the suite of newer packages for the host's own Debian.

    Raises:
        SetupError: apt knows no Debian source.
    """
    releases = [line.split()[2].partition("/")[0] for line in _sources()]
    plain = next((release for release in releases if "-" not in release), None)
    if plain is None:
        raise SetupError(_NO_SOURCE)
    return f"{plain}-backports"


def _apt_configuration(state: Path, architecture: str, preferred: str = "") -> Path:
    """Write an apt configuration whose every folder lies in ``state``; the host's keys are used.

    Packages of the suite ``preferred``, of the host's own mirror, come before others.
    """
    for name in ("lists/partial", "archives/partial"):
        (state / name).mkdir(parents=True)
    (state / "status").write_text("")
    sources = "".join(_sources())
    if not sources:
        raise SetupError(_NO_SOURCE)
    if preferred:
        sources += f"deb {sources.split()[1]} {preferred} main\n"
    (state / "sources.list").write_text(sources)
    configuration = state / "apt.conf"
    configuration.write_text(
        f'''APT::Architecture "{architecture}";
APT::Default-Release "{preferred}";
APT::Architectures {{ "{architecture}"; }};
APT::Install-Recommends "false";
APT::Sandbox::User "";
Dir::State "{state}";
Dir::State::status "{state}/status";
Dir::State::lists "{state}/lists";
Dir::Cache "{state}";
Dir::Cache::archives "{state}/archives";
Dir::Etc::sourcelist "{state}/sources.list";
Dir::Etc::sourceparts "-";
Dir::Log "{state}";
Debug::NoLocking "true";
'''
    )
    return configuration


def unpack_packages(
    names: Sequence[str], root: Path, state: Path, architecture: str = "arm64", preferred: str = ""
) -> list[str]:
    """Fetch Debian packages with all they depend on, and unpack them into ``root``.

    Those of the suite ``preferred`` come before others.

    Raises:
        SetupError: apt knows no Debian source, or a download failed.
    """
    configuration = str(_apt_configuration(state, architecture, preferred))
    call_tool(["apt-get", "-q", "update"], APT_CONFIG=configuration)
    call_tool(["apt-get", "-q", "-y", "--download-only", "install", *names], APT_CONFIG=configuration)
    archives = sorted((state / "archives").glob("*.deb"))
    for archive in archives:
        call_tool(["dpkg", "-x", archive, root])
    return [archive.name for archive in archives]


def unpack_alone(name: str, root: Path, state: Path, architecture: str) -> None:
    """Fetch one Debian package without what it depends on, and unpack it into ``root``.

    Raises:
        SetupError: apt knows no Debian source, or a download failed.
    """
    configuration = str(_apt_configuration(state, architecture))
    call_tool(["apt-get", "-q", "update"], APT_CONFIG=configuration)
    call_tool(["apt-get", "-q", "download", name], state / "archives", APT_CONFIG=configuration)
    (archive,) = (state / "archives").glob("*.deb")
    call_tool(["dpkg", "-x", archive, root])


def unpack_wheels(
    names: Sequence[str], target: Path, folder: Path, *, processor: str, python: str
) -> list[str]:
    """Fetch wheels for Linux on another processor, without what they depend on, and unpack them.

    Raises:
        SetupError: a download failed.
    """
    platforms = [f"manylinux{tag}_{processor}" for tag in ("_2_27", "_2_28", "2014")]
    selection = ["--no-deps", "--only-binary=:all:", "--python-version", python]
    selection += [f"--platform={name}" for name in platforms]
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--dest", str(folder)]
    call_tool([*pip, *selection, *names])
    wheels = sorted(folder.glob("*.whl"))
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(target)
    return [wheel.name for wheel in wheels]


def _unpack_wheels(part: Sysroot, folder: Path) -> list[str]:
    """Fetch LiteRT of the host's own version, and what it imports, for the emulated Python."""
    python = part.python.name.removeprefix("python")
    wanted = [f"ai-edge-litert=={version('ai-edge-litert')}", "numpy>=2,<3", "flatbuffers"]
    return unpack_wheels(wanted, part.packages, folder, processor="aarch64", python=python)


def compile_plugin(output: Path) -> None:
    """Compile the instruction counter for the host's processor."""
    with as_file(files(__package__).joinpath("qcount.c")) as source:
        call_tool(["gcc", "-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-o", output, source])
