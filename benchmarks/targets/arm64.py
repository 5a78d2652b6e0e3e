"""The target ``arm64-emulation``: LiteRT's real ARM64 kernels on an emulated processor.

It shows that the kernels a phone would choose give the right answer, and how many instructions they
need. It says nothing about time: an emulator has no caches, no memory bus and no pipeline.
"""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.benchmarks.emulation.emulator import Emulator
from mien.benchmarks.emulation.sysroot import Userland
from mien.benchmarks.results.records import BenchSpec, Device, Parity, Result
from mien.mobile_reference.bundle.reader import APPRAISAL, DETECTOR, Bundle, Tensor, Variant
from mien.mobile_reference.front.alignment import align
from mien.mobile_reference.front.photograph import Pixels, read_photograph
from mien.mobile_reference.run.models import load_graph
from mien.mobile_reference.run.runner import as_detector
from mien.mobile_reference.tflite.model_file import TFLiteFile, read_tflite

from .host import score_parity

Arrays = Mapping[str, NDArray[Any]]
_GRAPHS = (DETECTOR, APPRAISAL)


@dataclass(frozen=True)
class _Tolerance:
    """The largest difference that is allowed, as a share of the ``scale`` of a tensor or its values."""

    limit: float
    unit: str
    scale: Callable[[Tensor, NDArray[Any]], float]


def _largest(_: Tensor, expected: NDArray[Any]) -> float:
    return max(float(np.abs(expected).max()), 1e-30)


def _full_scale(tensor: Tensor, _: NDArray[Any]) -> float:
    return tensor.full_scale


_EXACT = _Tolerance(0.0, "of the largest", _largest)
# The order of additions in float kernels differs between processors; 24-bit mantissas, a few thousand
# terms: measured up to 9.4e-6 of the largest output.
_FLOAT = _Tolerance(1e-5, "of the largest", _largest)
# Where a graph has both, such a difference before a rounding to int8 may move a value by one step of it. A
# step is a share of what all faces reach: the heat of an untouched face is no larger than one.
_MIXED = _Tolerance(1 / 255, "of full scale", _full_scale)


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
                *_parity(spec.bundle, variant, expected, found),
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
    bundle: Bundle, variant: Variant, expected: Mapping[str, Arrays], found: Mapping[str, Arrays]
) -> Iterator[Parity]:
    """Compare with the host."""
    for graph in _GRAPHS:
        allowed = _tolerance(read_tflite(variant.files[graph]))
        for tensor in bundle.graphs[graph].outputs:
            exact, other = (outputs[graph][tensor.name] for outputs in (expected, found))
            error = largest_difference(exact, other) / allowed.scale(tensor, exact)
            yield Parity(f"{graph} {tensor.name}", error, allowed.limit, allowed.unit)


def _tolerance(model: TFLiteFile) -> _Tolerance:
    """Choose how exact a graph must be: integers to the bit, floats to their rounding."""
    if model.integer_only:
        return _EXACT
    return _MIXED if model.has_integer_convolution else _FLOAT


def largest_difference(expected: NDArray[Any], found: NDArray[Any]) -> float:
    """Return the largest difference; infinite for what is no number or has another shape."""
    exact, other = expected.astype(np.float64), found.astype(np.float64)
    if exact.shape != other.shape or not np.isfinite(other).all():
        return float("inf")
    return float(np.abs(exact - other).max())
