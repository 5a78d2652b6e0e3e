"""The target ``arm64-emulation``: LiteRT's real ARM64 kernels on an emulated processor.

It shows that the kernels a phone would choose give the right answer, and how many instructions they
need. It says nothing about time: an emulator has no caches, no memory bus and no pipeline.
"""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.benchmarks.emulation.emulator import Emulator
from mien.benchmarks.emulation.profile import products_by_kind
from mien.benchmarks.emulation.sysroot import Sysroot
from mien.benchmarks.pipeline import Given, differences, largest_difference, models_behind
from mien.benchmarks.results.records import BenchSpec, Device, Parity, Result
from mien.mobile_reference.bundle.reader import Bundle, Variant
from mien.mobile_reference.contract import PipelineSpec, StageSpec, TensorSpec
from mien.mobile_reference.front.photograph import read_photograph
from mien.mobile_reference.run.child import Limits, in_child
from mien.mobile_reference.run.models import Arrays
from mien.mobile_reference.run.runner import BundleRunner
from mien.mobile_reference.tflite.model_file import TFLiteFile, read_tflite

from .host import gate_parity, unjudged_notes


@dataclass(frozen=True)
class _Tolerance:
    """The largest difference that is allowed, as a share of the ``scale`` of a tensor or its values."""

    limit: float
    unit: str
    scale: Callable[[TensorSpec, NDArray[Any]], float]


def _largest(_: TensorSpec, expected: NDArray[Any]) -> float:
    return max(float(np.abs(expected).max()), 1e-30)


def _full_scale(tensor: TensorSpec, _: NDArray[Any]) -> float:
    return tensor.full_scale


_EXACT = _Tolerance(0.0, "of the largest", _largest)
# The order of additions in float kernels differs between processors; 24-bit mantissas, a few thousand
# terms: measured up to 9.4e-6 of the largest output.
_FLOAT = _Tolerance(1e-5, "of the largest", _largest)
# Where a graph has both, such a difference before a rounding to int8 may move a value by one step of it. A
# step is a share of what all faces reach: the heat of an untouched face is no larger than one.
_MIXED = _Tolerance(1 / 255, "of full scale", _full_scale)
# Half floats are summed in fewer digits on ARM than on x86: over six faces maps differed by up to 0.015.
_HALF = _Tolerance(8 / 255, "of full scale", _full_scale)


class Arm64Target:
    """Runs the models that an app runs on an emulated processor."""

    def __init__(self, preset: str, sysroot: Sysroot, progress: Callable[[str], None]) -> None:
        self._emulator = Emulator(preset, sysroot)
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
        variant, pipeline = spec.bundle.variant(spec.variant), spec.bundle.spec
        models = models_behind(pipeline, spec.given)
        on_host = _on_host(spec.bundle, variant, spec.given)
        with tempfile.TemporaryDirectory(prefix="mien-arm64-") as name:
            folder = Path(name)
            for number, model in enumerate(models):
                _save(folder, number, model, on_host.given[model.name])
            files = {model.name: variant.files[model.name] for model in models}
            counted = self._emulator.run(folder, files, variant.name)
            found = {model.name: _load(folder, number, model) for number, model in enumerate(models)}
        golden = spec.given.golden
        served = {name: array for model in pipeline.served for name, array in found[model.name].items()}
        return Result(
            target=f"arm64-{self._emulator.name}",
            variant=spec.variant,
            device=self.probe(),
            threads=1,
            latency=None,
            parity=(
                *_parity(pipeline, variant, on_host.made, found),
                *gate_parity(spec, [differences(golden, served)] if golden else []),
            ),
            notes=tuple(unjudged_notes(spec)),
            work=tuple(
                replace(one, products=products_by_kind(read_tflite(files[one.graph]))) for one in counted
            ),
        )


class _Recorder(BundleRunner):
    """Keeps what went into each model when it first ran, and what came out."""

    def __init__(self, bundle: Bundle, variant: str) -> None:
        super().__init__(bundle, variant)
        self.given: dict[str, Arrays] = {}
        self.made: dict[str, Arrays] = {}

    def run(self, model: StageSpec, known: Arrays) -> dict[str, NDArray[Any]]:
        outputs = super().run(model, known)
        self.given.setdefault(model.name, {name: known[name] for name in model.inputs})
        self.made.setdefault(model.name, outputs)
        return outputs


@dataclass(frozen=True)
class _Recorded:
    """What went into each model, and what came out."""

    given: Mapping[str, Arrays]
    made: Mapping[str, Arrays]


def _on_host(bundle: Bundle, variant: Variant, given: Given) -> _Recorded:
    """Run everything once on the host, in a child process: the bundle may be foreign."""

    def work() -> _Recorded:
        recorder = _Recorder(bundle.in_full(), variant.name)
        inputs = given.arrays
        if given.photograph:
            inputs = dict(recorder.prepare(read_photograph(given.photograph)).inputs)
        recorder.rate(inputs)
        return _Recorded(recorder.given, recorder.made)

    return in_child(work, Limits(), bundle.path)


def _save(folder: Path, number: int, model: StageSpec, inputs: Arrays) -> None:
    for position, name in enumerate(model.inputs):
        np.save(folder / f"{number}.in{position}.npy", inputs[name])


def _load(folder: Path, number: int, model: StageSpec) -> Arrays:
    return {
        name: np.load(folder / f"{number}.out{position}.npy", allow_pickle=False)
        for position, name in enumerate(model.outputs)
    }


def _parity(
    spec: PipelineSpec, variant: Variant, expected: Mapping[str, Arrays], found: Mapping[str, Arrays]
) -> Iterator[Parity]:
    """Compare with the host."""
    for model in (spec.model(name) for name in expected):
        allowed = _tolerance(read_tflite(variant.files[model.name]))
        for tensor in spec.tensors_of(model.outputs):
            exact, other = (outputs[model.name][tensor.name] for outputs in (expected, found))
            error = largest_difference(exact, other) / allowed.scale(tensor, exact)
            yield Parity(f"{model.name}: {tensor.name}", error, allowed.limit, allowed.unit)


def _tolerance(model: TFLiteFile) -> _Tolerance:
    """Choose how exact a graph must be: integers to the bit, floats to their rounding."""
    if model.integer_only:
        return _EXACT
    if model.asks_for_half:
        return _HALF
    return _MIXED if model.has_integer_convolution else _FLOAT
