"""The phone runner: a program for a phone's processor with everything it needs, in one folder.

LiteRT ships no program for Android, and no package has Android's C library. So the runner brings glibc
and its loader along, besides LiteRT's own Linux library of the wheel: it needs nothing of Android but
the kernel. It is built on the user's machine; mien ships its source alone (``runner/``).
"""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from importlib.resources import as_file, files
from importlib.util import find_spec
from pathlib import Path

from mien.benchmarks.emulation.sysroot import call_tool, unpack_packages, unpack_wheels
from mien.benchmarks.errors import SetupError
from mien.mobile_reference.bundle.reader import sha256
from mien.mobile_reference.output.json_text import json_text

RUNNER = "runner"
LITERT = "2.3.0"
"""The release whose interface ``runner/graph.c`` speaks; it is not stable yet."""
_READY = "runner.json"
_PACKAGES = ("libstdc++6", "libgcc-s1", "libpng16-16", "libturbojpeg0", "zlib1g")
_LINKED = ("libLiteRt.so", "libturbojpeg.so.0", "libpng16.so.16", "libz.so.1")
_LIBRARIES = (*_LINKED[1:], "libstdc++.so.6", "libc.so.6", "libm.so.6", "libgcc_s.so.1")


@dataclass(frozen=True)
class Abi:
    """One of Android's processor families, as Debian and the compilers call it."""

    debian: str
    processor: str
    loader: str
    install: str

    @property
    def compiler(self) -> str:
        """The C compiler for it."""
        return f"{self.processor}-linux-gnu-gcc"


ABIS: Mapping[str, Abi] = {
    "arm64-v8a": Abi(
        "arm64", "aarch64", "ld-linux-aarch64.so.1", "gcc-aarch64-linux-gnu libc6-dev-arm64-cross"
    ),
    # Emulators on PCs.
    "x86_64": Abi("amd64", "x86_64", "ld-linux-x86-64.so.2", "gcc libc6-dev"),
}


@dataclass(frozen=True)
class PhoneRunner:
    """A built phone runner; ``hashes`` are those of its files by name."""

    folder: Path
    abi: str
    hashes: Mapping[str, str]

    @property
    def command(self) -> tuple[str, ...]:
        """How the runner is started from inside the folder, by the runner's own loader."""
        return (f"./{ABIS[self.abi].loader}", "--library-path", ".", f"./{RUNNER}")


def _folder(cache: Path, abi: str) -> Path:
    sources = files(__package__).joinpath("runner")
    code = b"".join(part.read_bytes() for part in sorted(sources.iterdir(), key=lambda part: part.name))
    return cache / f"android-{abi}-litert-{LITERT}-{hashlib.sha256(code).hexdigest()[:12]}"


def is_phone_runner_ready(cache: Path, abi: str) -> bool:
    """Tell whether ``set_up_phone_runner`` ended well in this folder."""
    return (_folder(cache, abi) / _READY).is_file()


def open_phone_runner(cache: Path, abi: str) -> PhoneRunner:
    """Find what ``set_up_phone_runner`` made, and check its files.

    Raises:
        SetupError: there is no runner for the processor, it was not built, or it was changed.
    """
    if abi not in ABIS:
        raise SetupError(f"there is no runner for {abi}, only for {' and '.join(ABIS)}; use another phone")
    folder = _folder(cache, abi)
    if not is_phone_runner_ready(cache, abi):
        raise SetupError(f"{folder} has not been set up; run 'mien setup android'")
    runner = PhoneRunner(folder, abi, json.loads((folder / _READY).read_text()))
    for name, known in runner.hashes.items():
        if not (folder / name).is_file() or sha256(folder / name) != known:
            raise SetupError(f"{folder / name} was changed; delete {folder} and set the target up again")
    return runner


def set_up_phone_runner(cache: Path, abi: str, progress: Callable[[str], None]) -> PhoneRunner:
    """Build the runner for one processor family, some 25 MB of downloads; does nothing when it is there.

    Raises:
        SetupError: a tool is missing, a download failed, or LiteRT is of another release.
    """
    if is_phone_runner_ready(cache, abi):
        return open_phone_runner(cache, abi)
    _check_tools(ABIS[abi])
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache, prefix="setup-") as name:
        part = Path(name) / "runner"
        part.mkdir()
        _collect(ABIS[abi], part, Path(name), lambda text: progress(f"{abi}: {text}"))
        progress(f"{abi}: compiling the runner")
        _compile(ABIS[abi], part)
        hashes = {file.name: sha256(file) for file in sorted(part.iterdir())}
        (part / _READY).write_text(json_text(hashes, indent=1))
        shutil.rmtree(_folder(cache, abi), ignore_errors=True)
        part.rename(_folder(cache, abi))
    return open_phone_runner(cache, abi)


def _check_tools(abi: Abi) -> None:
    if version("ai-edge-litert") != LITERT:
        found = version("ai-edge-litert")
        raise SetupError(f"ai-edge-litert is {found}, the runner is written for {LITERT}; install that one")
    tools = {"apt-get": "use Debian, or a container of it", abi.compiler: f"apt-get install {abi.install}"}
    for tool, remedy in tools.items():
        if shutil.which(tool) is None:
            raise SetupError(f"'{tool}' was not found, the runner for phones needs it; {remedy}")
    if find_spec("pip") is None:
        raise SetupError("this Python has no pip to fetch LiteRT with; python -m ensurepip")


def _collect(abi: Abi, part: Path, scratch: Path, progress: Callable[[str], None]) -> None:
    progress("fetching the C library")
    root, wheels = scratch / "root", scratch / "wheels"
    unpack_packages(_PACKAGES, root, scratch / "apt", abi.debian)
    progress("fetching LiteRT")
    wanted = [f"ai-edge-litert=={LITERT}"]
    unpack_wheels(wanted, wheels, scratch / "pip", processor=abi.processor, python="3.12")
    shutil.copy(wheels / "ai_edge_litert" / "libLiteRt.so", part)
    for name in (*_LIBRARIES, abi.loader):
        found = [path for path in root.glob(f"**/{name}") if path.is_file()]
        if not found:
            raise SetupError(f"Debian's packages hold no {name}; report this")
        shutil.copy(found[0], part / name)


def _compile(abi: Abi, part: Path) -> None:
    with as_file(files(__package__).joinpath("runner")) as sources:
        code = [str(path) for path in sorted(sources.glob("*.c"))]
        libraries = [str(part / name) for name in _LINKED]
        # The libraries' own needs are met on the phone, by the runner's loader.
        linking = ["-lm", f"-Wl,-rpath-link,{part}", "-Wl,--allow-shlib-undefined"]
        command = [abi.compiler, "-O2", "-std=c17", "-Wall", "-Wextra", "-s", "-o", str(part / RUNNER)]
        call_tool([*command, *code, *libraries, *linking])
