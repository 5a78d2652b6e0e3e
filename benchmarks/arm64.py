"""The target ``arm64-emulation``: LiteRT's real ARM64 kernels on an emulated processor.

It shows that the kernels a phone would choose give the right answer, and how many instructions they
need. It says nothing about time: an emulator has no caches, no memory bus and no pipeline.
"""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.mobile_reference.alignment import align
from mien.mobile_reference.bundle import APPRAISAL, DETECTOR, Bundle, Variant
from mien.mobile_reference.graphs import load_graph
from mien.mobile_reference.photograph import Pixels, read_photograph
from mien.mobile_reference.runner import as_detector

from .emulator import Emulator
from .host import score_parity
from .records import BenchSpec, Device, Parity, Result
from .tflitefile import TFLiteFile, read_tflite
from .userland import Userland

Arrays = Mapping[str, NDArray[Any]]
_GRAPHS = (DETECTOR, APPRAISAL)
# The order of additions in float kernels differs between processors; 24-bit mantissas, a few thousand
# terms: measured up to 7e-7 of the largest output.
_FLOAT_GATE = 1e-5
# Where a graph has both, such a difference before a rounding to int8 may move a value by one step of it.
_MIXED_GATE = 1 / 255


class Arm64Target:
    """Runs detector and one graph of a variant on an emulated processor."""

    def __init__(self, preset: str, userland: Userland, progress: Callable[[str], None]) -> None:
        self._emulator = Emulator(preset, userland)
        self._progress = progress

    def probe(self) -> Device:
        """Describe the emulated system."""
        return self._emulator.probe()

    def run(self, spec: BenchSpec) -> Result:
        """Compare with the host's results and count instructions; there is no time.

        Raises:
            TargetError: the emulated program failed, took too long or ran on another processor.
        """
        self._progress(f"{spec.variant}: {self._emulator.name}")
        variant = spec.bundle.variant(spec.variant)
        inputs, expected = _on_host(spec.bundle, variant, spec.photograph)
        with tempfile.TemporaryDirectory(prefix="mien-arm64-") as name:
            folder = Path(name)
            for number, graph in enumerate(_GRAPHS):
                _save(folder, number, spec.bundle, graph, inputs[graph])
            models = {graph: variant.files[graph] for graph in _GRAPHS}
            work = self._emulator.run(folder, models, variant.name)
            found = {graph: _load(folder, n, spec.bundle, graph) for n, graph in enumerate(_GRAPHS)}
        return Result(
            target=f"arm64-{self._emulator.name}",
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
