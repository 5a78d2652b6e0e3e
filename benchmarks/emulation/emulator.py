"""LiteRT's real ARM64 kernels on an emulated processor: models run once, instructions counted."""

import json
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

from mien.benchmarks.errors import TargetError
from mien.benchmarks.results.records import ARM64_EMULATION, Device, Work
from mien.mobile_reference.tflite.model_file import read_tflite

from .profile import Symbols, read_symbols, work_of
from .sysroot import QEMU, Sysroot

_TIME_LIMIT_S = 1800


@dataclass(frozen=True)
class Preset:
    """A processor of QEMU and the phones that it stands for; ``pages`` is the memory page in bytes."""

    cpu: str
    pages: int
    features: tuple[str, ...]
    stands_for: str


PRESETS = {
    "baseline": Preset("cortex-a53", 4096, (), "old and low-end phones: NEON alone"),
    "typical": Preset("cortex-a76", 4096, ("asimddp",), "most phones since 2019: dot products"),
    # SME exists in a few very new phones only, and its float kernels are different ones.
    "modern": Preset("max,sme=off", 16384, ("asimddp", "i8mm"), "ARMv9 phones: int8 matrices, 16 KB pages"),
}
DEFAULT_PRESET = "typical"


class Emulator:
    """An emulated processor of the name ``preset`` with the programs of a ``sysroot``."""

    def __init__(self, preset: str, sysroot: Sysroot) -> None:
        self.name = preset
        self._preset = PRESETS[preset]
        self._sysroot = sysroot

    def probe(self) -> Device:
        """Describe the emulated system."""
        return Device(
            kind=ARM64_EMULATION,
            name=f"{self.name} ({self._preset.cpu})",
            isa="aarch64",
            cores=1,
            system=f"{_qemu_version()}, {self._preset.pages // 1024} KB pages",
            runtime=f"ai-edge-litert {version('ai-edge-litert')}",
        )

    def run(self, folder: Path, models: Mapping[str, Path], what: str) -> tuple[Work, ...]:
        """Run every model once, one after the other in one process, and count its instructions.

        Args:
            folder: Where the inputs are and the outputs go, as ``emulated_main.py`` says.
            models: Files by the names that their counts shall have, in the order of their numbers there.
            what: What an error shall call them together.

        Raises:
            TargetError: the emulated program failed, took too long or ran on another processor.
            BundleError: a file is not a TFLite model.
        """
        base = self._base(self._emulate(folder, models, what))
        return tuple(self._work(folder, models, base))

    def _emulate(self, folder: Path, models: Mapping[str, Path], what: str) -> dict[str, Any]:
        with as_file(files(__package__).joinpath("emulated_main.py")) as program:
            paths = [str(model.resolve()) for model in models.values()]
            command = [*self._command(folder), str(program), str(folder), *paths]
            try:
                done = subprocess.run(  # noqa: S603 - our own argument list
                    command, capture_output=True, text=True, timeout=_TIME_LIMIT_S, check=False
                )
            except subprocess.TimeoutExpired as error:
                raise TargetError(
                    f"{what} did not finish on {self.name} within {_TIME_LIMIT_S} s; measure less at once"
                ) from error
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
            raise TargetError(
                f"{what} ended with {done.returncode} on {self.name}: {last}; see whether it runs on the host"
            )
        facts: dict[str, Any] = json.loads((folder / "system.json").read_text())
        return facts

    def _command(self, folder: Path) -> list[str]:
        sysroot = self._sysroot
        emulator = [QEMU, "-cpu", self._preset.cpu, "-p", str(self._preset.pages), "-L", str(sysroot.root)]
        plugin = ["-plugin", f"{sysroot.plugin},out={folder / 'count'}"]
        environment = [f"PYTHONPATH={sysroot.packages}", "PYTHONHASHSEED=0", "LC_ALL=C.UTF-8"]
        settings = [word for setting in environment for word in ("-E", setting)]
        return [*emulator, *plugin, *settings, str(sysroot.python), "-S", "-B"]

    def _base(self, facts: Mapping[str, Any]) -> int:
        """Return where LiteRT was loaded, once it is sure that the processor was the preset's."""
        wanted = {"machine": "aarch64", "page_size": self._preset.pages}
        missing = [name for name in self._preset.features if name not in facts["features"]]
        if missing or any(facts[key] != value for key, value in wanted.items()):
            raise TargetError(f"the emulated system is not {self.name}: {facts}; update qemu-user")
        return int(facts["base"])

    @cached_property
    def _symbols(self) -> Symbols:
        return read_symbols(self._sysroot.litert)

    def _work(self, folder: Path, models: Mapping[str, Path], base: int) -> Iterator[Work]:
        for number, (name, file) in enumerate(models.items()):
            uses_dot = bool(self._preset.features) and read_tflite(file).has_integer_convolution
            yield work_of(name, folder / f"count.{number}", self._symbols, base, expect_dot=uses_dot)


def _qemu_version() -> str:
    program = shutil.which(QEMU)
    if program is None:
        return "no qemu"
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)  # noqa: S603
    return "qemu-user " + done.stdout.partition("version ")[2].split()[0]
