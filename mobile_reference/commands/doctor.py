"""The command ``mien doctor``."""

import os
import platform
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from mien.mobile_reference.files import default_cache
from mien.mobile_reference.output.json_text import json_text
from mien.mobile_reference.setups import setups

from .options import examples

_LIGHT = "pip install ."
_EXPORT = "pip install '.[export]'"
_EXPORT_BYTES = 8e9
_PACKAGES = (
    ("LiteRT", "ai-edge-litert", "run TFLite models", _LIGHT),
    ("matplotlib", "matplotlib", "draw the charts of pages", "pip install '.[page]'"),
    ("uvicorn", "uvicorn", "serve a page", "pip install '.[serve]'"),
    ("PyTorch", "torch", "export, train and evaluate", _EXPORT),
    ("ai-edge-quantizer", "ai-edge-quantizer", "export to int8 TFLite", _EXPORT),
    ("coremltools", "coremltools", "export to Core ML", _EXPORT),
    ("onnxruntime", "onnxruntime", "export ONNX files", _EXPORT),
)
_PROGRAMS = (
    ("adb", "adb", "measure an Android phone", "apt-get install adb"),
    ("ARM64 emulator", "qemu-aarch64", "bench --target arm64", "apt-get install qemu-user"),
    ("browser", "chromium", "test pages", "apt-get install chromium"),
    ("C compiler", "gcc", "count emulated instructions", "apt-get install gcc libc6-dev"),
)


@dataclass(frozen=True)
class Part:
    """One thing that mien can use: what was ``found`` of it, None where it is missing.

    ``serves`` says what it is for, ``install`` the line that brings it.
    """

    name: str
    found: str | None
    serves: str
    install: str = ""


def parts() -> Iterator[Part]:
    """Look at this machine; no program is started, no heavy package imported, nothing changed."""
    yield Part("Python", platform.python_version(), "run mien")
    yield Part("system", f"{platform.system()} {platform.release()}, {platform.machine()}", "run mien")
    yield Part("processor", f"{os.cpu_count() or 1} cores", "export and verify")
    yield _disk()
    for name, package, serves, install in _PACKAGES:
        yield Part(name, _installed(package), serves, install)
    for name, program, serves, install in _PROGRAMS:
        yield Part(name, shutil.which(program), serves, install)
    for one in setups():
        ready = "set up" if one.is_ready(default_cache()) else None
        yield Part(one.name, ready, one.serves, f"mien setup {one.name}")
    yield _cache()


def _installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _disk() -> Part:
    free = shutil.disk_usage(Path.cwd()).free
    enough = free >= _EXPORT_BYTES
    serves = f"install and export: {_EXPORT_BYTES / 1e9:.0f} GB"
    return Part("disk", f"{free / 1e9:.0f} GB free" if enough else None, serves, "free some space")


def _cache() -> Part:
    """Say what lies in mien's cache, which need not be there."""
    folder = default_cache()
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file() and not file.is_symlink())
    return Part("cache", f"{folder}, {size / 1e6:.0f} MB", "keep what was fetched")


@click.command(epilog=examples("doctor", "doctor --json"))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def doctor(
    as_json: bool,  # noqa: FBT001 - click passes flags so
) -> None:
    """Say what mien finds on this machine, what is missing, and the line that installs it.

    What is missing is needed for what its line says alone: an install without PyTorch rates, verifies
    and measures. Lines for programs are those of Debian and Ubuntu.
    """
    found = list(parts())
    if as_json:
        click.echo(json_text({"parts": [asdict(part) for part in found]}, indent=1))
    else:
        Console().print(_table(found))


def _table(found: list[Part]) -> Table:
    table = Table("", "found", "needed to", box=None, pad_edge=False)
    for part in found:
        state = part.found or f"missing: {part.install}"
        # As text: the brackets of an extra are not markup.
        table.add_row(part.name, Text(state), part.serves, style=None if part.found else "bold")
    return table
