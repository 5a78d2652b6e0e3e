"""PyTorch -> Core ML ML Programs: float32, mostly float16, weights of fewer bits, int8 activations.

Nothing of Apple's runs on Linux: ``mien verify`` executes what is made here with an evaluator of our own.
"""

import math
import re
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mien.export.graphs import Graph, TensorSpec
from mien.export.tflite.ranges import Range, write_ranges
from mien.export.weights.fold_batch_norm import fold_batch_norm
from mien.export.weights.gptq import Rounded, Roundings, round_in_place
from mien.models.appraisal.checkpoint import Checkpoint
from mien.models.appraisal.networks.appraisal import FACE_SIZE

from .activations import quantise_activations, ranges_of_tensors
from .canonical_package import canonicalise
from .weights import int8_weights, palette_weights

MINIMUM = "iOS16"
QUANTISED_MINIMUM = "iOS17"
"""The first system whose ML Programs have int8 activations."""
VARIANTS = ("coreml-fp32", "coreml-fp16", "coreml-int8w", "coreml-w8a8")
PALETTES = {"coreml-pal6": 6, "coreml-pal4": 4}
"""Bits of an index by variant, the mildest first: these are tried, and packed where parity allows."""
# What stays float32 in a float16 graph was found by the score: rounding the weights of the first stages, 0.4
# of 1.4 million numbers, cost 0.6 points on the worst of 132 held-out faces; the ends of the refinement,
# where it meets the photograph, most of what was left. The names are those of modules, without the names of
# module lists: teacher.2 is the teacher's stages.2, refine.0 the first of down, context and up alike. The one
# graph runs the net, a stage its parts.
_SINGLE = re.compile(
    r"module\.(net\.)?(teacher\.(stem|[0-3]|4\.0)|student\.(stem|0|1)|head|inpainter\.refine\.(0|to_rgb))\b"
)

# Found by the score as well. Rounded weights of the teacher cost most of what all would: with its last stage
# one held-out face erred by 0.75 points. Those of the head and of the student's first stages are few and cost
# 0.4; depthwise ones are few, and their errors cannot cancel.
_WEIGHTS = re.compile(r"net\.(student\.stages\.2|inpainter)\.")
# Of int8 activations the teacher's, whose linear outputs span ten times what eight bits resolve, cost three
# quarters of the error, those of the student's first stages and of the refinement's large maps the most of
# the rest.
_EIGHT = re.compile(r"net\.(student\.stages\.2|inpainter\.(coarse\.(down|context|up\.0)|refine\.context))\.")


def to_coreml(graph: Graph, checkpoint: Checkpoint, roundings: Roundings, folder: Path) -> None:
    """Make the variants of a graph whose activations are float: ``folder``/<variant>/<graph>.mlpackage.

    uint8 inputs become RGB images, so that an app passes pixels; the other tensors are float32 arrays,
    channels second. A graph that is not worth quantising is the same float32 package in all variants.
    """
    import coremltools as ct

    packages = {variant: folder / variant / f"{graph.name}.mlpackage" for variant in VARIANTS}
    traced = _traced(graph, checkpoint)
    single = packages["coreml-fp32"]
    _save(_converted(graph, traced, ct.precision.FLOAT32, MINIMUM), single)
    if not graph.int8:
        for package in packages.values():
            if package != single:
                shutil.copytree(single, package)
        return
    _save(_converted(graph, traced, _mostly_float16(), MINIMUM), packages["coreml-fp16"])
    rounded = _chosen(roundings, _WEIGHTS)
    model = _converted(graph, _traced(graph, checkpoint, rounded), _mostly_float16(), MINIMUM)
    names = [_in_package(f"{name}.weight") for name in rounded]
    _save(int8_weights(model, names), packages["coreml-int8w"])


def to_int8(
    graph: Graph, checkpoint: Checkpoint, roundings: Roundings, ranges: Mapping[str, Range], folder: Path
) -> None:
    """Make the variant of a graph whose int8 parts have int8 weights and activations.

    ``ranges`` are those of what the convolutions read, by their names in the appraisal's net. Written beside
    the variant are those that it took, by the names of the package's tensors.
    """
    package = folder / "coreml-w8a8" / f"{graph.name}.mlpackage"
    weights = _eight(graph, checkpoint)
    traced = _traced(graph, checkpoint, _chosen(roundings, _EIGHT))
    model = _converted(graph, traced, _mostly_float16(), QUANTISED_MINIMUM)
    _save(int8_weights(model, weights), package)
    named = {_in_package(f"net.{name}.weight"): reach for name, reach in ranges.items()}
    taken = ranges_of_tensors(package, weights, named)
    write_ranges(taken, folder / "ranges" / f"{graph.name}.coreml.json")
    quantise_activations(package, taken)
    canonicalise(package)


def to_palettes(graph: Graph, checkpoint: Checkpoint, variant: str, folder: Path) -> None:
    """Make ``variant`` of a graph, one of ``PALETTES``, from its float16 package under ``folder``."""
    import coremltools as ct

    source = folder / "coreml-fp16" / f"{graph.name}.mlpackage"
    target = folder / variant / source.name
    if not graph.int8:
        shutil.copytree(source, target)
        return
    model = ct.models.MLModel(str(source), skip_model_load=True)
    _save(palette_weights(model, _eight(graph, checkpoint), PALETTES[variant]), target)


def _chosen(roundings: Roundings, pattern: re.Pattern[str]) -> dict[str, Rounded]:
    """Take the roundings of the convolutions that are int8, by their names in a graph's module."""
    named = {f"net.{name}": rounded for name, rounded in roundings.items()}
    return {name: rounded for name, rounded in named.items() if pattern.match(f"{name}.")}


def _traced(graph: Graph, checkpoint: Checkpoint, rounded: Roundings | None = None) -> Any:
    examples = tuple(torch.rand(spec.shape) for spec in graph.specs(graph.inputs))
    folded = fold_batch_norm(graph.build(checkpoint))
    round_in_place(folded, rounded or {})
    module = _Single(folded)
    with warnings.catch_warnings():
        # Tracing warns of shapes taken as constants, which is what a graph of fixed size wants.
        warnings.simplefilter("ignore")
        return torch.jit.trace(module.eval(), examples)  # type: ignore[no-untyped-call]


def _converted(graph: Graph, traced: Any, precision: Any, minimum: str) -> Any:
    import coremltools as ct

    return ct.convert(
        traced,
        convert_to="mlprogram",
        minimum_deployment_target=getattr(ct.target, minimum),
        compute_precision=precision,
        inputs=[_input(spec) for spec in graph.specs(graph.inputs)],
        outputs=[ct.TensorType(name=name, dtype=np.float32) for name in graph.outputs],
        skip_model_load=True,
    )


def _save(model: Any, package: Path) -> None:
    package.parent.mkdir(parents=True, exist_ok=True)
    model.save(str(package))
    canonicalise(package)


def _mostly_float16() -> Any:
    import coremltools as ct

    return ct.transform.FP16ComputePrecision(_fits_float16)


def _fits_float16(operation: Any) -> bool:
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
        not _SINGLE.match(module)
        and any(math.prod(shape) != 1 for shape in shapes)
        and not any(len(shape) == 4 and (shape[1] == 1 or shape[-1] >= FACE_SIZE) for shape in shapes)
    )


def _eight(graph: Graph, checkpoint: Checkpoint) -> frozenset[str]:
    """Name the weights of the parts whose activations may be int8, as the package has them."""
    parameters = graph.build(checkpoint).named_parameters()
    return frozenset(_in_package(name) for name, p in parameters if p.ndim == 4 and _EIGHT.match(name))


def _in_package(name: str) -> str:
    """Return the name that the converter gives a parameter, without a suffix for float16."""
    return f"module_{name}".replace(".", "_")


class _Single(nn.Module):
    """Returns a tensor where the module returns a tuple of one, as Core ML's converter wants."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        outputs: tuple[Tensor, ...] = self.module(*inputs)
        return outputs[0] if len(outputs) == 1 else outputs


def _input(spec: TensorSpec) -> Any:
    import coremltools as ct

    if spec.dtype == "uint8":
        return ct.ImageType(name=spec.name, shape=spec.shape, color_layout=ct.colorlayout.RGB)
    return ct.TensorType(name=spec.name, shape=spec.shape, dtype=np.float32)
