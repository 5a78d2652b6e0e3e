"""What of a pipeline is measured: what a run begins with, the models that an app runs, the gates."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.mobile_reference.bundle.reader import Bundle, Golden, sha256
from mien.mobile_reference.contract import RELATIVE, SCALAR, PipelineSpec, StageSpec, TensorSpec
from mien.mobile_reference.errors import UsageError
from mien.mobile_reference.output.text import path_text
from mien.mobile_reference.run.models import Arrays, timed

_POINTS = 100
_JUDGED: Mapping[str, Callable[[TensorSpec], float]] = {
    SCALAR: lambda _: 1.0,
    RELATIVE: lambda tensor: tensor.full_scale,
}
"""Metrics of gates that are held here, with what their limits count in; ``mien verify`` holds the others."""


@dataclass(frozen=True)
class Given:
    """What every run of a measurement begins with: a photograph, or the tensors of a golden input.

    ``golden`` has the float values that the results are compared with; it is None for a photograph that is
    not the bundle's. ``sha256`` is the hash of the photograph or of the tensors.
    """

    name: str
    sha256: str
    photograph: Path | None
    golden: Golden | None

    @property
    def arrays(self) -> dict[str, NDArray[Any]]:
        """Read the pipeline's inputs, where a run begins with tensors."""
        return self.golden.inputs() if self.golden else {}


def first_given(bundle: Bundle, photo: Path | None = None) -> Given:
    """Return what a measurement of a bundle begins with: ``photo``, or the first golden input.

    Raises:
        UsageError: the bundle has no golden input, or its pipeline takes no photographs.
    """
    if photo is not None and bundle.spec.front is None:
        raise UsageError(
            f"--photo was given, but pipeline {bundle.name} has no front, so it takes no photographs; "
            "leave it out"
        )
    if photo is not None:
        known = (golden for golden in bundle.kept if golden.source == photo)
        digest = sha256(photo) if photo.is_file() else ""
        return Given(path_text(photo.name), digest, photo, next(known, None))
    golden = bundle.goldens[0]
    if golden.source is not None and bundle.spec.front is not None:
        return Given(golden.source.name, sha256(golden.source), golden.source, golden)
    return Given(golden.name, _hash_of_inputs(golden), None, golden)


def timed_variants(bundle: Bundle, names: Sequence[str] = ()) -> list[str]:
    """Return the variants of those ``names``, or all of a bundle whose times mean something here.

    Raises:
        UsageError: there is none.
    """
    if names:
        return list(dict.fromkeys(bundle.variant(name).name for name in names))
    ready = [variant.name for variant in bundle.variants if timed(variant)]
    if not ready:
        raise UsageError("no variant of this bundle can be executed here; export a tflite variant too")
    return ready


def _hash_of_inputs(golden: Golden) -> str:
    lines = (f"{name} {sha256(golden.vectors[name])}\n" for name in golden.spec.inputs)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def front_models(spec: PipelineSpec) -> tuple[StageSpec, ...]:
    """List the models of the front."""
    return spec.front.models if spec.front else ()


def models_of_app(spec: PipelineSpec) -> tuple[StageSpec, ...]:
    """List the models that an app runs for one input: those of the front, then the served ones."""
    return (*front_models(spec), *spec.served)


def models_behind(spec: PipelineSpec, given: Given) -> tuple[StageSpec, ...]:
    """List the models that run on what a measurement begins with: tensors stand behind the front."""
    return models_of_app(spec) if given.photograph else spec.served


def outputs_of(spec: PipelineSpec) -> tuple[TensorSpec, ...]:
    """List the tensors that an app gets: all that the served models make."""
    return spec.tensors_of(tuple(name for model in spec.served for name in model.outputs))


def judged_limits(spec: PipelineSpec, variant: str) -> dict[str, float]:
    """Return the largest difference that a measurement allows, by tensor, in the tensor's own units."""
    limits: dict[str, float] = {}
    for gate in spec.gates:
        limit, tensor = gate.limit(variant), spec.tensor(gate.tensor)
        if gate.metric in _JUDGED and limit is not None:
            allowed = limit * _JUDGED[gate.metric](tensor)
            limits[tensor.name] = min(allowed, limits.get(tensor.name, allowed))
    return limits


def unjudged_note(spec: PipelineSpec, variant: str) -> Iterator[str]:
    """Say which gates a measurement does not hold."""
    others = [
        f"{gate.metric} of {gate.tensor}"
        for gate in spec.gates
        if gate.metric not in _JUDGED or gate.limit(variant) is None
    ]
    if others:
        yield f"not judged here, but by 'mien verify': {', '.join(others)}"


def differences(golden: Golden, outputs: Arrays) -> dict[str, float]:
    """Return the largest difference of each output from the float pipeline's; infinite for no number."""
    return {
        tensor.name: largest_difference(_float_values(golden, tensor), outputs[tensor.name])
        for tensor in outputs_of(golden.spec)
        if tensor.name in outputs
    }


def _float_values(golden: Golden, tensor: TensorSpec) -> NDArray[Any]:
    """Return a float tensor; the manifest itself states those of one value."""
    if tensor.name in golden.values:
        return np.full(tensor.shape, golden.values[tensor.name])
    return golden.read(tensor.name)


def largest_difference(expected: NDArray[Any], found: NDArray[Any]) -> float:
    """Return the largest difference; infinite for another shape or what is not a number."""
    exact, other = expected.astype(np.float64), found.astype(np.float64)
    if exact.shape != other.shape or not np.isfinite(other).all():
        return float("inf")
    return float(np.abs(exact - other).max())


def unit_of(tensor: TensorSpec) -> str:
    """Name the unit of a tensor's differences: points of 100, or the full scale that they are parts of."""
    return "points" if tensor.full_scale == _POINTS else f"of {tensor.full_scale:g}"


def worst(found: Sequence[float]) -> float:
    """Return the largest of several differences; infinite when one is not finite, or there are none."""
    # Not max alone, which loses what is not a number behind one that is.
    return max(found) if found and np.isfinite(found).all() else float("inf")
