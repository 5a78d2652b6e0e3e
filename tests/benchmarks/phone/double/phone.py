"""Makes the phone behind the double: a folder with a shell's tools, and what Android would say."""

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

from mien.benchmarks.emulation.sysroot import unpack_packages

TOOLS = ("mkdir", "cat", "sha256sum", "rm", "chmod", "kill", "getconf", "sleep", "echo")
PROPERTIES = {
    "ro.product.manufacturer": "mien",
    "ro.product.model": "Double",
    "ro.build.version.release": "15",
    "ro.build.version.sdk": "35",
}
# Paths stay relative to the root: where it lies depends on the shell. One program each, as on a phone.
_PRINT = 'while IFS= read -r line; do echo "$line"; done < "{root}/fixtures/%s"'
SCRIPTS = {
    "getprop": _PRINT % "getprop",
    "dumpsys": _PRINT % "$1",
    "settings": "echo 0",
}
INSTALL = (
    "apt-get install adb qemu-user-static gcc-aarch64-linux-gnu libc6-dev-arm64-cross "
    "gcc libc6-dev util-linux"
)
NEEDED = ("adb", "qemu-aarch64-static", "aarch64-linux-gnu-gcc", "gcc", "unshare", "chroot")
MISSING = [tool for tool in NEEDED if shutil.which(tool) is None]


@dataclass(frozen=True)
class Shell:
    """What is behind the double. ``name`` is how its daemon calls it, ``what`` is for the reader."""

    name: str
    what: str
    abi: str
    soc: str
    command: tuple[str, ...]


NAMESPACE = Shell(
    name="namespace",
    what="ARM64 mksh and toybox under QEMU, in a namespace",
    abi="arm64-v8a",
    soc="cortex-a76 under QEMU",
    command=("unshare", "-Urmpf", "--kill-child"),
)
PLAIN = Shell(
    name="plain", what="a plain x86-64 shell, no namespace", abi="x86_64", soc="x86-64 host", command=()
)


@cache
def refusal() -> str:
    """Say why the kernel allows no ARM64 shell; it takes a binfmt_misc of a namespace's own (Linux 6.7)."""
    mount = ["unshare", "-Urm", "mount", "-t", "binfmt_misc", "none", "/mnt"]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    return done.stderr.strip() if done.returncode else ""


def best_shell() -> Shell:
    """Choose ARM64 where the kernel allows it; MIEN_TEST_DOUBLE=plain asks for the other one."""
    return PLAIN if os.environ.get("MIEN_TEST_DOUBLE") == PLAIN.name or refusal() else NAMESPACE


def make_system(folder: Path) -> Path:
    """Unpack the ARM64 shell and its tools; the packages come from Debian."""
    root = folder / "system-root"
    if not (root / "bin/toybox").exists():
        unpack_packages(("mksh", "toybox"), root, folder / "system-apt")
    return root


def make_phone(cache: Path, root: Path, shell: Shell) -> Path:
    """Make one phone of its own in ``root``; with the system's files where the shell is not the machine's."""
    if shell is NAMESPACE:
        shutil.copytree(make_system(cache), root, symlinks=True, copy_function=os.link)
    for name in ("system/bin", "data/local/tmp", "proc", "dev", "fixtures"):
        (root / name).mkdir(parents=True, exist_ok=True)
    if shell is NAMESPACE:
        (root / "system/bin/sh").symlink_to("/bin/mksh")
        for tool in TOOLS:
            (root / "system/bin" / tool).symlink_to("/bin/toybox")
    for name, script in SCRIPTS.items():
        write_program(root, shell, f"system/bin/{name}", script)
    write_properties(root, shell)
    (root / "fixtures/battery").write_text("Current Battery Service state:\n  level: 80\n")
    write_heat(root, 0, 30.0)
    write_clocks(root)
    return root


def write_clocks(root: Path) -> None:
    cpu = root / "sys/devices/system/cpu"
    cpu.mkdir(parents=True)
    for name in ("possible", "present"):
        (cpu / name).write_text("0-1\n")
    for number, khz in enumerate((1800000, 2800000)):
        (cpu / f"cpu{number}/cpufreq").mkdir(parents=True)
        for name in ("cpuinfo_max_freq", "scaling_max_freq", "scaling_cur_freq"):
            (cpu / f"cpu{number}/cpufreq/{name}").write_text(f"{khz}\n")


def write_program(root: Path, shell: Shell, name: str, script: str) -> Path:
    """Write a program of the phone; ``{root}`` in the script is where its paths begin."""
    file, start = root / name, "" if shell is NAMESPACE else str(root)
    interpreter = "/system/bin/sh" if shell is NAMESPACE else "/bin/sh"
    file.write_text(f"#!{interpreter}\n{script.replace('{root}', start)}\n")
    file.chmod(0o755)
    return file


def write_properties(root: Path, shell: Shell, **changed: str) -> None:
    own = {"ro.soc.model": shell.soc, "ro.product.cpu.abi": shell.abi}
    lines = [f"[{name}]: [{value}]\n" for name, value in (PROPERTIES | own | changed).items()]
    (root / "fixtures/getprop").write_text("".join(lines))


def write_heat(root: Path, status: int, skin: float) -> None:
    text = f"Thermal Status: {status}\nTemperature{{mValue={skin}, mType=3, mName=skin, mStatus={status}}}\n"
    (root / "fixtures/thermalservice").write_text(text)


@contextmanager
def own_server(home: Path) -> Iterator[None]:
    """Let adb start a server of our own, which looks for no emulator and keeps its key in ``home``."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    settings = {"ANDROID_ADB_SERVER_PORT": port, "ADB_LOCAL_TRANSPORT_MAX_PORT": "5554", "HOME": str(home)}
    with mock.patch.dict(os.environ, settings):
        try:
            yield
        finally:
            subprocess.run(["adb", "kill-server"], capture_output=True, check=False)


@contextmanager
def connected(root: Path, shell: Shell, **settings: Any) -> Iterator[tuple[str, int]]:
    """Start the double and let adb find it; gives serial number and process."""
    with running(root, shell, **settings) as (port, process):
        serial = f"127.0.0.1:{port}"
        subprocess.run(["adb", "connect", serial], capture_output=True, check=True, timeout=300)
        try:
            yield serial, process
        finally:
            subprocess.run(["adb", "disconnect"], capture_output=True, check=False)


@contextmanager
def running(
    root: Path, shell: Shell, *, auth: str = "allow", storage: str = "", page: int = 4096
) -> Iterator[tuple[int, int]]:
    """Start the double; gives its port and its process."""
    program = Path(__file__).with_name("adbd.py")
    command = [*shell.command, sys.executable, str(program), str(root), "0", auth, storage, shell.name]
    environment = os.environ | {"QEMU_CPU": "cortex-a76", "QEMU_PAGESIZE": str(page)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout
        try:
            yield int(process.stdout.readline()), process.pid
        finally:
            process.kill()
