"""What is asked of every Core ML package before it is packed: that it computes what its module does.

A converter can be wrong without a word. So each package is executed on samples that went through the float
pipeline, and every output is compared, before gates judge what a precision costs. The limits here tell a
wrong package from a right one that is rounded; whether it is good enough is what gates say.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mien.export.component import Component
from mien.export.errors import ConversionError
from mien.export.variants import variant_named
from mien.export.whole_numbers import share_changed
from mien.mobile_reference.run.models import CoreMLModel
from mien.models.pipeline import as_contract, to_module

SAMPLES = 2
"""As many samples are executed, evenly taken of all; one run finds a wrong conversion."""


@dataclass(frozen=True)
class Allowance:
    """What may be lost: shares of how much an output varies, and of how large it is.

    Both are root mean squares. An output that hardly varies is judged by the second, which is the grain of
    its numbers. Of an output of whole numbers a share of the places may be ``changed``.
    """

    of_variation: float
    of_size: float
    changed: float


# Torchvision's networks lose up to 1e-5 in float32 and 2e-2 in float16, and 0.2 with int8 activations.
_ALLOWED: Mapping[str, Allowance] = {
    "fp32": Allowance(1e-3, 5e-6, 1e-3),
    "fp16": Allowance(5e-2, 2e-3, 0.05),
    "int8w": Allowance(0.1, 1e-2, 0.1),
    "w8a8": Allowance(0.5, 2e-2, 0.3),
    "pal6": Allowance(0.2, 2e-2, 0.2),
    "pal4": Allowance(0.5, 5e-2, 0.5),
}

Arrays = Mapping[str, NDArray[Any]]


def prove(component: Component, package: Path, variant: str, samples: Sequence[Arrays]) -> None:
    """Execute a package on some of the samples and compare every output with what the module made.

    Raises:
        ConversionError: an output is of another shape or type, not finite where the module's is, or far off.
    """
    inputs, outputs = component.specs(component.inputs), component.specs(component.outputs)
    model = CoreMLModel(package, inputs, outputs, threads=1)
    made, wanted = [], []
    for sample in some(samples):
        given = {tensor.name: np.ascontiguousarray(sample[tensor.name]) for tensor in inputs}
        made.append(model(given))
        wanted.append(_computed(component, given))
    for name in component.outputs:
        usual = [one[name] for one in samples]
        fault = _fault([one[name] for one in made], [one[name] for one in wanted], usual, variant)
        if fault:
            raise ConversionError(
                f"{variant} {component.name}: {name} {fault}; "
                "the package does not compute what the module does"
            )


@torch.inference_mode()
def _computed(component: Component, given: Arrays) -> dict[str, NDArray[Any]]:
    """Run the float module: its outputs by name, as the contract has them."""
    made = component.module(*(to_module(given[one.name], one) for one in component.specs(component.inputs)))
    tensors = made if isinstance(made, tuple | list) else (made,)
    outputs = component.specs(component.outputs)
    return {one.name: as_contract(tensor, one.layout) for one, tensor in zip(outputs, tensors, strict=True)}


def some(samples: Sequence[Arrays]) -> Sequence[Arrays]:
    """Take a few samples, evenly."""
    return samples[:: max(len(samples) // SAMPLES, 1)][:SAMPLES]


def _fault(
    made: Sequence[NDArray[Any]], wanted: Sequence[NDArray[Any]], usual: Sequence[NDArray[Any]], variant: str
) -> str | None:
    """Say what is wrong with one output.

    How much it varies and how large it is, all samples say, the ``usual`` values: the few that are executed
    may be those in which there is nothing to see.
    """
    shapes = [array.shape for array in made], [array.shape for array in wanted]
    if shapes[0] != shapes[1]:
        return f"has shape {made[0].shape}, expected {wanted[0].shape}"
    allowed = _ALLOWED[variant_named(variant).precision]
    if share_changed(np.stack(wanted), np.stack(made)) <= allowed.changed:
        return None
    have, want = (np.stack(arrays).astype(np.float64) for arrays in (made, wanted))
    finite = np.isfinite(want)
    if not np.array_equal(np.isfinite(have), finite):
        return f"is NaN or infinite at {int((~np.isfinite(have)).sum())} of {have.size} places"
    have, want = have[finite], want[finite]
    if not want.size:
        return None
    values = np.stack(usual).astype(np.float64)
    values = values[np.isfinite(values)]
    limit = allowed.of_variation * values.std() + allowed.of_size * _size(values)
    error = _size(have - want)
    return None if error <= limit else f"is off by {error:.3g}, allowed is {limit:.3g}"


def _size(values: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.mean(values**2)))
