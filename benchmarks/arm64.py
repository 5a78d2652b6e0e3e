"""The target ``arm64-emulation``: LiteRT's real ARM64 kernels on an emulated processor.

It shows that the kernels a phone would choose give the right answer, and how many instructions they
need. It says nothing about time: an emulator has no caches, no memory bus and no pipeline.
"""

import json
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.mobile_reference.alignment import align
from mien.mobile_reference.bundle import APPRAISAL, DETECTOR, Bundle, Variant
from mien.mobile_reference.graphs import load_graph
from mien.mobile_reference.photograph import Pixels, read_photograph
from mien.mobile_reference.runner import as_detector

from .errors import TargetError
from .host import score_parity
from .profile import read_symbols, work_of
from .records import ARM64_EMULATION, BenchSpec, Device, Parity, Result, Work
from .tflitefile import TFLiteFile, read_tflite
from .userland import QEMU, Userland

Arrays = Mapping[str, NDArray[Any]]
_TIME_LIMIT_S = 1800
_GRAPHS = (DETECTOR, APPRAISAL)
# The order of additions in float kernels differs between processors; 24-bit mantissas, a few thousand
# terms: measured up to 7e-7 of the largest output.
_FLOAT_GATE = 1e-5
# Where a graph has both, such a difference before a rounding to int8 may move a value by one step of it.
_MIXED_GATE = 1 / 255


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


class Arm64Target:
    """Runs detector and one graph of a variant on an emulated processor."""

    def __init__(self, preset: str, userland: Userland, progress: Callable[[str], None]) -> None:
        self._name = preset
        self._preset = PRESETS[preset]
        self._userland = userland
        self._progress = progress

    def probe(self) -> Device:
        """Describe the emulated system."""
        return Device(
            kind=ARM64_EMULATION,
            name=f"{self._name} ({self._preset.cpu})",
            isa="aarch64",
            cores=1,
            system=f"{_qemu_version()}, {self._preset.pages // 1024} KB pages",
            runtime=f"ai-edge-litert {version('ai-edge-litert')}",
        )

    def run(self, spec: BenchSpec) -> Result:
        """Compare with the host's results and count instructions; there is no time.

        Raises:
            TargetError: the emulated program failed, took too long or ran on another processor.
        """
        self._progress(f"{spec.variant}: {self._name}")
        variant = spec.bundle.variant(spec.variant)
        inputs, expected = _on_host(spec.bundle, variant, spec.photograph)
        with tempfile.TemporaryDirectory(prefix="mien-arm64-") as name:
            folder = Path(name)
            for number, graph in enumerate(_GRAPHS):
                _save(folder, number, spec.bundle, graph, inputs[graph])
            base = self._base(self._emulate(folder, variant))
            found = {graph: _load(folder, n, spec.bundle, graph) for n, graph in enumerate(_GRAPHS)}
            work = tuple(self._work(folder, variant, base))
        return Result(
            target=f"arm64-{self._name}",
            variant=spec.variant,
            device=self.probe(),
            threads=1,
            latency=None,
            parity=(
                *_parity(variant, expected, found),
                *score_parity(spec, [float(found[APPRAISAL]["score"][0])]),
            ),
            work=work,
        )

    def _emulate(self, folder: Path, variant: Variant) -> dict[str, Any]:
        models = [str(variant.files[graph].resolve()) for graph in _GRAPHS]
        with as_file(files(__package__).joinpath("guest.py")) as guest:
            command = [*self._command(folder), str(guest), str(folder), *models]
            try:
                done = subprocess.run(  # noqa: S603 - our own argument list
                    command, capture_output=True, text=True, timeout=_TIME_LIMIT_S, check=False
                )
            except subprocess.TimeoutExpired as error:
                raise TargetError(
                    f"{variant.name} did not finish on {self._name} within {_TIME_LIMIT_S} s; "
                    "measure the int8 variant alone"
                ) from error
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
            raise TargetError(
                f"{variant.name} ended with {done.returncode} on {self._name}: {last}; "
                "run 'mien verify' first"
            )
        facts: dict[str, Any] = json.loads((folder / "guest.json").read_text())
        return facts

    def _command(self, folder: Path) -> list[str]:
        userland = self._userland
        emulator = [QEMU, "-cpu", self._preset.cpu, "-p", str(self._preset.pages), "-L", str(userland.root)]
        plugin = ["-plugin", f"{userland.plugin},out={folder / 'count'}"]
        environment = [f"PYTHONPATH={userland.packages}", "PYTHONHASHSEED=0", "LC_ALL=C.UTF-8"]
        settings = [word for setting in environment for word in ("-E", setting)]
        return [*emulator, *plugin, *settings, str(userland.python), "-S", "-B"]

    def _base(self, facts: Mapping[str, Any]) -> int:
        """Return where LiteRT was loaded, once it is sure that the processor was the preset's."""
        wanted = {"machine": "aarch64", "page_size": self._preset.pages}
        missing = [name for name in self._preset.features if name not in facts["features"]]
        if missing or any(facts[key] != value for key, value in wanted.items()):
            raise TargetError(f"the emulated system is not {self._name}: {facts}; update qemu-user")
        return int(facts["base"])

    def _work(self, folder: Path, variant: Variant, base: int) -> Iterator[Work]:
        symbols = read_symbols(self._userland.litert)
        for number, graph in enumerate(_GRAPHS):
            model = read_tflite(variant.files[graph])
            uses_dot = bool(self._preset.features) and model.has_integer_convolution
            yield work_of(graph, folder / f"count.{number}", symbols, base, expect_dot=uses_dot)


def _qemu_version() -> str:
    program = shutil.which(QEMU)
    if program is None:
        return "no qemu"
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)  # noqa: S603
    return "qemu-user " + done.stdout.partition("version ")[2].split()[0]


def _on_host(
    bundle: Bundle, variant: Variant, photograph: Path
) -> tuple[dict[str, Arrays], dict[str, Arrays]]:
    """Appraise on the host; return what went into each graph and what came out."""
    graphs = {graph: load_graph(bundle, variant, graph) for graph in _GRAPHS}
    looks: list[Pixels] = []

    def detect(picture: Pixels) -> NDArray[np.float32]:
        looks.append(picture)
        return as_detector(graphs[DETECTOR])(picture)

    face = align(read_photograph(photograph), detect, bundle.alignment).pixels
    inputs: dict[str, Arrays] = {DETECTOR: {"picture": looks[0][None]}, APPRAISAL: {"face": face[None]}}
    return inputs, {graph: graphs[graph](inputs[graph]) for graph in _GRAPHS}


def _save(folder: Path, number: int, bundle: Bundle, graph: str, inputs: Arrays) -> None:
    for position, tensor in enumerate(bundle.graphs[graph].inputs):
        np.save(folder / f"{number}.in{position}.npy", inputs[tensor.name])


def _load(folder: Path, number: int, bundle: Bundle, graph: str) -> Arrays:
    return {
        tensor.name: np.load(folder / f"{number}.out{position}.npy", allow_pickle=False)
        for position, tensor in enumerate(bundle.graphs[graph].outputs)
    }


def _parity(
    variant: Variant, expected: Mapping[str, Arrays], found: Mapping[str, Arrays]
) -> Iterator[Parity]:
    """Compare with the host."""
    for graph in _GRAPHS:
        gate = _gate(read_tflite(variant.files[graph]))
        for name, value in expected[graph].items():
            yield Parity(f"{graph} {name}", relative_error(value, found[graph][name]), gate, "of the largest")


def _gate(model: TFLiteFile) -> float:
    """Choose how exact a graph must be: integers to the bit, floats to their rounding."""
    if model.integer_only:
        return 0.0
    return _MIXED_GATE if model.has_integer_convolution else _FLOAT_GATE


def relative_error(expected: NDArray[Any], found: NDArray[Any]) -> float:
    """Return the largest difference as a share of the largest magnitude; infinite for what is no number."""
    exact, other = expected.astype(np.float64), found.astype(np.float64)
    if exact.shape != other.shape or not np.isfinite(other).all():
        return float("inf")
    difference = float(np.abs(exact - other).max())
    return difference / max(float(np.abs(exact).max()), 1e-30)
