"""PyTorch -> Core ML ML Programs: float32, mostly float16, weights of fewer bits, int8 activations.

Nothing of Apple's runs on Linux: ``mien verify`` executes what is made here with an evaluator of our own.
"""

import logging
import re
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mien.export.component import Component
from mien.export.errors import ConversionError
from mien.export.tflite.converters.unsupported import naming_operations
from mien.export.tflite.ranges import write_ranges
from mien.export.tracing import FixedShapes
from mien.export.variants import COREML, VARIANTS, variant_named
from mien.export.weights.fold_batch_norm import fold_batch_norm
from mien.export.weights.gptq import Roundings
from mien.mobile_reference.contract import TensorSpec
from mien.mobile_reference.coreml import load_package
from mien.mobile_reference.coreml.products import Product, products
from mien.models.modules import as_tuple
from mien.models.pipeline import CoreMLChoices, to_module

from .activations import WeightsRange, quantise_activations, ranges_of_products
from .canonical_package import canonicalise
from .decomposition import decomposed
from .passes import mended_passes
from .precision import Samples, mostly_float16
from .proof import prove
from .rounding import store_rounded
from .weights import int8_weights, palette_weights

_LOG = logging.getLogger(__name__)
FP32, FP16, INT8_WEIGHTS, INT8 = (v.name for v in VARIANTS if v.platform == COREML and v.bits is None)

# Core ML's arrays have no other whole numbers.
_ARRAYS = {"float32": np.float32, "float16": np.float32, "float64": np.float32}


_COLOURS = {3: "RGB", 1: "GRAYSCALE"}


def package_of(folder: Path, variant: str, component: Component) -> Path:
    """Say where a package lies under the folder of an export's conversions."""
    return folder / variant / f"{component.name}.mlpackage"


def to_coreml(
    component: Component, choices: CoreMLChoices, roundings: Roundings, samples: Samples, folder: Path
) -> Sequence[str]:
    """Make the variants of a graph whose activations are float: ``folder``/<variant>/<graph>.mlpackage.

    uint8 pictures are images, so that an app passes pixels; the other tensors are arrays of float32 or int32,
    channels second. A graph that is not worth quantising is the same float32 package in all variants.

    Returns:
        What was left out because it does not compute what the module does, and why.

    Raises:
        ConversionError: the float32 package does not.
    """
    import coremltools as ct

    traced, model = _first(component, choices, samples, ct.precision.FLOAT32, FP32)
    single = package_of(folder, FP32, component)
    _save(model, single)
    prove(component, single, FP32, samples)
    if not component.quantise:
        for variant in (FP16, INT8_WEIGHTS, INT8):
            shutil.copytree(single, package_of(folder, variant, component))
        return ()
    half = package_of(folder, FP16, component)
    _save(_converted(component, traced, mostly_float16(component, choices, samples), FP16), half)
    _compress(half, package_of(folder, INT8_WEIGHTS, component), component, choices.weights, roundings)
    return _unproven(component, (FP16, INT8_WEIGHTS), samples, folder)


def _compress(source: Path, target: Path, component: Component, pattern: str, roundings: Roundings) -> None:
    """Store the weights of a float package's products in eight bits, those rounded that can be."""
    names = _weights(source, component, pattern)
    with tempfile.TemporaryDirectory() as scratch:
        rounded = Path(scratch) / source.name
        shutil.copytree(source, rounded)
        store_rounded(rounded, names, roundings)
        _save(int8_weights(_loaded(rounded), names), target)


def to_int8(
    component: Component,
    choices: CoreMLChoices,
    roundings: Roundings,
    known: Sequence[WeightsRange],
    samples: Samples,
    folder: Path,
) -> Sequence[str]:
    """Make the variant of a graph whose products have int8 weights and read int8 activations.

    ``known`` are the ranges of what the products read, by their weights. A product without one stays float.
    Written beside the variant are the ranges that it took, by the names of the package's tensors.

    Returns:
        What stays float, and why, and what was left out.
    """
    target = package_of(folder, INT8, component)
    with tempfile.TemporaryDirectory() as scratch:
        plain = Path(scratch) / "plain.mlpackage"
        _, model = _first(component, choices, samples, mostly_float16(component, choices, samples), INT8)
        _save(model, plain)
        chosen = _weights(plain, component, choices.activations)
        found = [one for one in _products(plain) if one.stored is not None and one.stored.name in chosen]
        ranges = ranges_of_products(found, known)
        ranged = frozenset(one.stored.name for one in found if one.stored and one.operation.name in ranges)
        rounded = Path(scratch) / "rounded.mlpackage"
        shutil.copytree(plain, rounded)
        store_rounded(rounded, ranged, roundings)
        _save(int8_weights(_loaded(rounded), ranged), target)
    taken = quantise_activations(target, ranges)
    canonicalise(target)
    write_ranges(taken, folder / "ranges" / f"{component.name}.coreml.json")
    lost = [
        f"{one.operation.name} stays float in {INT8}: no range; the TFLite graph has no such weights"
        for one in found
        if one.operation.name not in ranges
    ]
    return [*lost, *_unproven(component, (INT8,), samples, folder)]


def to_palettes(
    component: Component, choices: CoreMLChoices, variant: str, samples: Samples, folder: Path
) -> Sequence[str]:
    """Make a palette ``variant`` of a component from its float16 package under ``folder``.

    Returns:
        What was left out, and why.
    """
    source, target = (package_of(folder, name, component) for name in (FP16, variant))
    if not source.exists():
        return [f"{variant} is left out with {FP16}, which it is made of"]
    if not component.quantise:
        shutil.copytree(source, target)
        return ()
    names = _weights(source, component, choices.palettes)
    _save(palette_weights(_loaded(source), names, variant_named(variant).bits or 8), target)
    return _unproven(component, (variant,), samples, folder)


def _unproven(component: Component, variants: Sequence[str], samples: Samples, folder: Path) -> Sequence[str]:
    """Remove the packages that do not compute what the module does, and say why."""
    left_out = []
    for variant in variants:
        package = package_of(folder, variant, component)
        try:
            prove(component, package, variant, samples)
        except ConversionError as error:
            shutil.rmtree(package)
            left_out.append(f"left out: {error}")
    return left_out


def _products(package: Path) -> Iterator[Product]:
    program = load_package(package)
    return products(program.functions[program.default_function])


def _weights(package: Path, component: Component, pattern: str) -> frozenset[str]:
    """Name the constants of a float package that its products multiply by.

    With a ``pattern`` only those of the parameters whose names it matches.
    """
    found = frozenset(
        one.stored.name for one in _products(package) if one.weight() is not None and one.stored
    )
    if not pattern:
        return found
    named = {_in_package(n) for n, _ in component.module.named_parameters() if re.match(pattern, n)}
    return frozenset(name for name in found if name.removesuffix("_to_fp16") in named)


def _loaded(package: Path) -> Any:
    import coremltools as ct

    return ct.models.MLModel(str(package), skip_model_load=True)


def _first(
    component: Component, choices: CoreMLChoices, samples: Samples, precision: Any, variant: str
) -> tuple[Any, Any]:
    """Trace a component and convert it; where that fails, its operations are decomposed into known ones."""
    examples = tuple(_example(spec, samples) for spec in component.specs(component.inputs))
    # The converter folds batch normalisation too, and then names the weights anew.
    module = fold_batch_norm(component.module, examples) if choices.by_name else component.module
    traced = _traced(module, examples)
    try:
        return traced, _converted(component, traced, precision, variant)
    except Exception:  # a converter raises whatever it raises
        _LOG.exception("%s is decomposed, for it has an operation that is not converted", component.name)
    traced = _traced(decomposed(module, examples), examples)
    with naming_operations("coremltools", r"convert function for op '(\w+)' not implemented"):
        return traced, _converted(component, traced, precision, variant)


def _traced(module: nn.Module, examples: tuple[Tensor, ...]) -> Any:
    module = _Single(module)
    with warnings.catch_warnings(), _plain_attention(), FixedShapes():
        # Tracing warns of shapes taken as constants, which is what a graph of fixed size wants.
        warnings.simplefilter("ignore")
        # Every package is executed and compared with the module, which says more than a second trace would.
        return torch.jit.trace(module.eval(), examples, check_trace=False)  # type: ignore[no-untyped-call]


@contextmanager
def _plain_attention() -> Iterator[None]:
    """Trace attention as the operators that it is made of, not as the one that stands for a whole layer."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def _example(spec: TensorSpec, samples: Samples) -> Tensor:
    """Give what a module is traced with: whole numbers of a sample, since they may be indices."""
    if spec.dtype in _ARRAYS or spec.image:
        return torch.rand(spec.channels_second)
    return to_module(np.ascontiguousarray(samples[0][spec.name]), spec).to(torch.int32)


def _converted(component: Component, traced: Any, precision: Any, variant: str) -> Any:
    import coremltools as ct

    with mended_passes():
        return ct.convert(
            traced,
            convert_to="mlprogram",
            minimum_deployment_target=getattr(ct.target, variant_named(variant).minimum),
            compute_precision=precision,
            inputs=[input_type(spec) for spec in component.specs(component.inputs)],
            outputs=[
                ct.TensorType(name=one.name, dtype=_array(one)) for one in component.specs(component.outputs)
            ],
            skip_model_load=True,
        )


def _save(model: Any, package: Path) -> None:
    package.parent.mkdir(parents=True, exist_ok=True)
    model.save(str(package))
    canonicalise(package)


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
        outputs = _told_apart(inputs, as_tuple(self.module(*inputs)))
        return outputs[0] if len(outputs) == 1 else outputs


def _told_apart(inputs: Sequence[Tensor], outputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Refuse outputs that are an input or another output: the converter has one name for a tensor."""
    known = list(inputs)
    for place, output in enumerate(outputs):
        if any(output is one for one in known):
            raise ConversionError(
                f"output {place} is an input or another output as it is, which Core ML has no second name "
                "for; leave it out of the outputs, an app has it already"
            )
        known.append(output)
    return outputs


def _array(spec: TensorSpec) -> Any:
    return _ARRAYS.get(spec.dtype, np.int32)


def input_type(spec: TensorSpec) -> Any:
    """Say how an app passes a tensor: as an image, or as an array."""
    import coremltools as ct

    if spec.image:
        colours = getattr(ct.colorlayout, _COLOURS[spec.shape[3]])
        return ct.ImageType(name=spec.name, shape=spec.channels_second, color_layout=colours)
    return ct.TensorType(name=spec.name, shape=spec.channels_second, dtype=_array(spec))
