"""What of a pipeline is measured: what a run begins with, the models that an app runs, the gates."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.mobile_reference.bundle.reader import Bundle, Golden, sha256
from mien.mobile_reference.contract import SCALAR, GateSpec, PipelineSpec, StageSpec, TensorSpec
from mien.mobile_reference.errors import UsageError
from mien.mobile_reference.run.models import Arrays

_POINTS = 100
JUDGED: Mapping[str, str] = {SCALAR: "the largest difference"}
"""Metrics of gates that are held here, by the words for them; ``mien verify`` holds the others."""


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
        return Given(photo.name, sha256(photo) if photo.is_file() else "", photo, next(known, None))
    golden = bundle.goldens[0]
    if golden.source is not None and bundle.spec.front is not None:
        return Given(golden.source.name, sha256(golden.source), golden.source, golden)
    return Given(golden.name, _hash_of_inputs(golden), None, golden)


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


def judged_gates(spec: PipelineSpec, variant: str) -> Iterator[tuple[GateSpec, float]]:
    """Yield the gates that a measurement holds, with their limits for a variant."""
    for gate in spec.gates:
        limit = gate.limit(variant)
        if gate.metric in JUDGED and limit is not None:
            yield gate, limit


def unjudged_note(spec: PipelineSpec, variant: str) -> Iterator[str]:
    """Say which gates a measurement does not hold."""
    held = {(gate.metric, gate.tensor) for gate, _ in judged_gates(spec, variant)}
    others = [f"{g.metric} of {g.tensor}" for g in spec.gates if (g.metric, g.tensor) not in held]
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
