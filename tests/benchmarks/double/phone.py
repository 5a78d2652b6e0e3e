"""Makes the phone behind the double: a folder with ARM64 mksh and toybox, and what Android would say."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mien.benchmarks.userland import unpack_packages

TOOLS = ("mkdir", "cat", "sha256sum", "rm", "chmod", "kill", "getconf", "sleep", "echo")
PROPERTIES = {
    "ro.product.manufacturer": "mien",
    "ro.product.model": "Double",
    "ro.soc.model": "cortex-a76 under QEMU",
    "ro.product.cpu.abi": "arm64-v8a",
    "ro.build.version.release": "15",
    "ro.build.version.sdk": "35",
}
SCRIPTS = {
    "getprop": "cat /fixtures/getprop",
    "dumpsys": 'cat "/fixtures/$1"',
    "settings": "echo 0",
}
MISSING = [tool for tool in ("adb", "qemu-aarch64-static", "unshare", "chroot") if shutil.which(tool) is None]


def make_system(folder: Path) -> Path:
    """Unpack the shell and its tools; the packages come from Debian, for ARM64."""
    root = folder / "system-root"
    if not (root / "bin/toybox").exists():
        unpack_packages(("mksh", "toybox"), root, folder / "system-apt")
    return root


def make_phone(system: Path, root: Path) -> Path:
    """Make one phone of its own from the system's files."""
    shutil.copytree(system, root, symlinks=True, copy_function=os.link)
    for name in ("system/bin", "data/local/tmp", "proc", "dev", "fixtures", "sys/devices/system/cpu"):
        (root / name).mkdir(parents=True, exist_ok=True)
    (root / "system/bin/sh").symlink_to("/bin/mksh")
    for tool in TOOLS:
        (root / "system/bin" / tool).symlink_to("/bin/toybox")
    for name, script in SCRIPTS.items():
        (root / "system/bin" / name).write_text(f"#!/system/bin/sh\n{script}\n")
        (root / "system/bin" / name).chmod(0o755)
    write_properties(root)
    (root / "fixtures/battery").write_text("Current Battery Service state:\n  level: 80\n")
    write_heat(root, 0, 30.0)
    cpu = root / "sys/devices/system/cpu"
    for name in ("possible", "present"):
        (cpu / name).write_text("0-1\n")
    for number, khz in enumerate((1800000, 2800000)):
        (cpu / f"cpu{number}/cpufreq").mkdir(parents=True)
        for name in ("cpuinfo_max_freq", "scaling_max_freq", "scaling_cur_freq"):
            (cpu / f"cpu{number}/cpufreq/{name}").write_text(f"{khz}\n")
    return root


def write_properties(root: Path, **changed: str) -> None:
    lines = [f"[{name}]: [{value}]\n" for name, value in (PROPERTIES | changed).items()]
    (root / "fixtures/getprop").write_text("".join(lines))


def write_heat(root: Path, status: int, skin: float) -> None:
    text = f"Thermal Status: {status}\nTemperature{{mValue={skin}, mType=3, mName=skin, mStatus={status}}}\n"
    (root / "fixtures/thermalservice").write_text(text)


@contextmanager
def running(
    root: Path, *, auth: str = "allow", storage: str = "", page: int = 4096
) -> Iterator[tuple[int, int]]:
    """Start the double; gives its port and its process."""
    program = Path(__file__).with_name("adbd.py")
    command = [
        "unshare",
        "-Urmpf",
        "--kill-child",
        sys.executable,
        str(program),
        str(root),
        "0",
        auth,
        storage,
    ]
    environment = os.environ | {"QEMU_CPU": "cortex-a76", "QEMU_PAGESIZE": str(page)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout
        try:
            yield int(process.stdout.readline()), process.pid
        finally:
            process.kill()
