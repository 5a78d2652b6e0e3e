"""PyTorch -> Core ML ML Programs: float32, mostly float16, weights of fewer bits, int8 activations.

Nothing of Apple's runs on Linux: ``mien verify`` executes what is made here with an evaluator of our own.
"""

import math
import re
import shutil
import warnings
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mien.export.component import Component
from mien.export.tflite.ranges import Range, write_ranges
from mien.export.variants import COREML, VARIANTS, variant_named
from mien.export.weights.fold_batch_norm import fold_batch_norm
from mien.export.weights.gptq import Rounded, Roundings, round_in_place
from mien.mobile_reference.contract import TensorSpec
from mien.models.modules import as_tuple
from mien.models.pipeline import CoreMLChoices

from .activations import quantise_activations, ranges_of_tensors
from .canonical_package import canonicalise
from .weights import int8_weights, palette_weights

FP32, FP16, INT8_WEIGHTS, INT8 = (v.name for v in VARIANTS if v.platform == COREML and v.bits is None)


def to_coreml(component: Component, choices: CoreMLChoices, roundings: Roundings, folder: Path) -> None:
    """Make the variants of a graph whose activations are float: ``folder``/<variant>/<graph>.mlpackage.

    uint8 inputs become RGB images, so that an app passes pixels; the other tensors are float32 arrays,
    channels second. A graph that is not worth quantising is the same float32 package in all variants.
    """
    import coremltools as ct

    packages = {
        variant: folder / variant / f"{component.name}.mlpackage"
        for variant in (FP32, FP16, INT8_WEIGHTS, INT8)
    }
    traced = _traced(component)
    single = packages[FP32]
    _save(_converted(component, traced, ct.precision.FLOAT32, FP32), single)
    if not component.quantise:
        for package in packages.values():
            if package != single:
                shutil.copytree(single, package)
        return
    _save(_converted(component, traced, _mostly_float16(choices), FP16), packages[FP16])
    rounded = _chosen(roundings, choices.weights)
    model = _converted(component, _traced(component, rounded), _mostly_float16(choices), INT8_WEIGHTS)
    names = [_in_package(f"{name}.weight") for name in rounded]
    _save(int8_weights(model, names), packages[INT8_WEIGHTS])


def to_int8(
    component: Component,
    choices: CoreMLChoices,
    roundings: Roundings,
    ranges: Mapping[str, Range],
    folder: Path,
) -> None:
    """Make the variant of a graph whose int8 parts have int8 weights and activations.

    ``ranges`` are those of what the convolutions read, by their names in the pipeline's net. Written beside
    the variant are those that it took, by the names of the package's tensors.
    """
    package = folder / INT8 / f"{component.name}.mlpackage"
    weights = _eight(component, choices)
    traced = _traced(component, _chosen(roundings, choices.activations))
    model = _converted(component, traced, _mostly_float16(choices), INT8)
    _save(int8_weights(model, weights), package)
    named = {_in_package(f"net.{name}.weight"): reach for name, reach in ranges.items()}
    taken = ranges_of_tensors(package, weights, named)
    write_ranges(taken, folder / "ranges" / f"{component.name}.coreml.json")
    quantise_activations(package, taken)
    canonicalise(package)


def to_palettes(component: Component, choices: CoreMLChoices, variant: str, folder: Path) -> None:
    """Make a palette ``variant`` of a component from its float16 package under ``folder``."""
    import coremltools as ct

    source = folder / FP16 / f"{component.name}.mlpackage"
    target = folder / variant / source.name
    if not component.quantise:
        shutil.copytree(source, target)
        return
    model = ct.models.MLModel(str(source), skip_model_load=True)
    _save(palette_weights(model, _eight(component, choices), variant_named(variant).bits or 8), target)


def _chosen(roundings: Roundings, pattern: str) -> dict[str, Rounded]:
    """Take the roundings of the convolutions that are int8, by their names in a graph's module."""
    named = {f"net.{name}": rounded for name, rounded in roundings.items()}
    return {name: rounded for name, rounded in named.items() if re.match(pattern, f"{name}.")}


def _traced(component: Component, rounded: Roundings | None = None) -> Any:
    examples = tuple(torch.rand(spec.channels_second) for spec in component.specs(component.inputs))
    folded = fold_batch_norm(component.module, examples)
    round_in_place(folded, rounded or {})
    module = _Single(folded)
    with warnings.catch_warnings():
        # Tracing warns of shapes taken as constants, which is what a graph of fixed size wants.
        warnings.simplefilter("ignore")
        return torch.jit.trace(module.eval(), examples)  # type: ignore[no-untyped-call]


def _converted(component: Component, traced: Any, precision: Any, variant: str) -> Any:
    import coremltools as ct

    return ct.convert(
        traced,
        convert_to="mlprogram",
        minimum_deployment_target=getattr(ct.target, variant_named(variant).minimum),
        compute_precision=precision,
        inputs=[_input(spec) for spec in component.specs(component.inputs)],
        outputs=[ct.TensorType(name=name, dtype=np.float32) for name in component.outputs],
        skip_model_load=True,
    )


def _save(model: Any, package: Path) -> None:
    package.parent.mkdir(parents=True, exist_ok=True)
    model.save(str(package))
    canonicalise(package)


def _mostly_float16(choices: CoreMLChoices) -> Any:
    import coremltools as ct

    return ct.transform.FP16ComputePrecision(partial(_fits_float16, choices))


def _fits_float16(choices: CoreMLChoices, operation: Any) -> bool:
    """Keep sensitive parts, single numbers, maps of one channel, and maps as large as the face, in float32.

    A float16 score near 100 has steps of a sixteenth of a point. The square of a heat of 0.007 lies below
    float16's normal numbers, and a typical face has little more: its score erred by up to 0.1 points. And
    where nothing is masked, the composite must give back the photograph's own pixels, or the comparison sees
    a change.
    """
    from coremltools.converters.mil.mil.scope import ScopeSource

    shapes = [output.shape for output in operation.outputs]
    module = ".".join(operation.scopes.get(ScopeSource.TORCHSCRIPT_MODULE_NAME, ()))
    return (
        not re.match(choices.single, module)
        and any(math.prod(shape) != 1 for shape in shapes)
        and not any(
            len(shape) == 4 and (shape[1] == 1 or shape[-1] >= choices.largest_map) for shape in shapes
        )
    )


def _eight(component: Component, choices: CoreMLChoices) -> frozenset[str]:
    """Name the weights of the parts whose activations may be int8, as the package has them."""
    parameters = component.module.named_parameters()
    return frozenset(
        _in_package(name) for name, p in parameters if p.ndim == 4 and re.match(choices.activations, name)
    )


def _in_package(name: str) -> str:
    """Return the name that the converter gives a parameter, without a suffix for float16."""
    return f"module_{name}".replace(".", "_")


class _Single(nn.Module):
    """Returns a tensor where there is one alone, as Core ML's converter wants."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        # The first of a bare tensor would be that of its batch.
        outputs = as_tuple(self.module(*inputs))
        return outputs[0] if len(outputs) == 1 else outputs


def _input(spec: TensorSpec) -> Any:
    import coremltools as ct

    if spec.dtype == "uint8":
        return ct.ImageType(name=spec.name, shape=spec.channels_second, color_layout=ct.colorlayout.RGB)
    return ct.TensorType(name=spec.name, shape=spec.channels_second, dtype=np.float32)
