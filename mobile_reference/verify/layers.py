"""Where a converted model parts from float: every tensor of one beside the other (TFLite only).

The models run without XNNPACK, which keeps what is between its layers to itself.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.mobile_reference.bundle.reader import Bundle, Variant
from mien.mobile_reference.contract import StageSpec
from mien.mobile_reference.report.steps import Part, counted
from mien.mobile_reference.run.models import TFLITE
from mien.mobile_reference.tflite.litert import Kernels, LiteRTModel

POOR_DB = 39.0
"""Decibels below which a tensor has diverged: ten times the error of rounding it to eight bits (59 dB)."""


@dataclass(frozen=True)
class FirstPoorLayer:
    """The first layer of a variant whose output differs from float: its name, and how much.

    ``decibels`` is the span of the float tensor over the root mean square error, of the worst golden face.
    A variant of which no layer has diverged has an empty ``layer`` and the least decibels of all.
    """

    variant: str
    layer: str
    decibels: float


@dataclass(frozen=True)
class LayerErrors:
    """How far every layer of one graph of a variant is from float.

    ``stage`` is the stage that the graph computes, or the whole pipeline's name. ``decibels`` are those of
    the worst golden input, by the names of the tensors that layers make, in the order in which they run;
    infinite where nothing differs.
    """

    variant: str
    stage: str
    decibels: Mapping[str, float]


def comparable(bundle: Bundle, exact: Variant) -> tuple[Variant, ...]:
    """Return the variants whose layers can be held against those of ``exact``."""
    if exact.platform != TFLITE:
        return ()
    return tuple(one for one in bundle.variants if one.platform == TFLITE and one.name != exact.name)


def layer_errors(bundle: Bundle, exact: Variant, progress: Callable[[Part], None]) -> tuple[LayerErrors, ...]:
    """Compare the models of every TFLite variant with those of ``exact``, layer by layer.

    The end-to-end model is looked into; of a pipeline without one, that of every stage, which is given what
    the float pipeline made.
    """
    graphs = (bundle.spec.whole,) if bundle.spec.whole else bundle.spec.stages
    variants = comparable(bundle, exact)
    tell = counted(progress, len(graphs) * len(bundle.goldens))
    found = [_of_graph(bundle, exact, variants, graph, tell) for graph in graphs if variants]
    return tuple(one for variant in variants for some in found for one in some if one.variant == variant.name)


def _of_graph(
    bundle: Bundle,
    exact: Variant,
    variants: Sequence[Variant],
    graph: StageSpec,
    tell: Callable[[str], None],
) -> list[LayerErrors]:
    inputs = [[golden.read(name) for name in graph.inputs] for golden in bundle.goldens]
    reference = Layers(exact.files[graph.name])
    others = {variant.name: Layers(variant.files[graph.name]) for variant in variants}
    least: dict[str, dict[str, float]] = {name: {} for name in others}
    for number, given in enumerate(inputs, start=1):
        tell(f"layers of golden input {number} of {len(inputs)}, {graph.name}")
        reference.run(given)
        for name, layers in others.items():
            layers.run(given)
            for layer, decibels in compare(reference, layers):
                least[name][layer] = _lesser(decibels, least[name].get(layer, decibels))
    return [LayerErrors(name, graph.name, found) for name, found in least.items()]


def first_poor_layers(errors: Sequence[LayerErrors]) -> tuple[FirstPoorLayer, ...]:
    """Name the first layer of each variant that has diverged."""
    layers: dict[str, dict[str, float]] = {}
    for one in errors:
        known = layers.setdefault(one.variant, {})
        known.update({layer: value for layer, value in one.decibels.items() if layer not in known})
    return tuple(first_below(variant, found) for variant, found in layers.items())


def _lesser(one: float, other: float) -> float:
    """Return the lesser of two; what is not a number is less than any."""
    return min(one, other, key=lambda value: (value == value, value))


def first_below(variant: str, decibels: Mapping[str, float]) -> FirstPoorLayer:
    """Name the first layer, in the order of ``decibels``, that has diverged."""
    for layer, value in decibels.items():
        if not value >= POOR_DB:
            return FirstPoorLayer(variant, layer, value)
    return FirstPoorLayer(variant, "", min(decibels.values(), default=float("inf")))


class Layers:
    """A TFLite model whose every tensor can be read after a run."""

    def __init__(self, model: Path) -> None:
        self._model = LiteRTModel(model, kernels=Kernels.LITERT)
        self._made = {tensor.name: tensor for tensor in self._model.made}

    def run(self, inputs: Sequence[NDArray[Any]]) -> None:
        """Run once, inputs in the file's order."""
        self._model.run(inputs)

    @property
    def names(self) -> Iterable[str]:
        """What the operations make, in the order in which they run."""
        return self._made

    def value(self, name: str) -> NDArray[np.float64]:
        """Return a tensor of the last run, integers brought back to what they stand for."""
        tensor = self._made[name]
        value = self._model.value(tensor).astype(np.float64)
        return np.asarray((value - tensor.zero) * tensor.scale if tensor.scale else value)


def compare(exact: Layers, other: Layers) -> Iterable[tuple[str, float]]:
    """Yield the layers that both models have in the order of ``exact``, with decibels."""
    for name in exact.names:
        if name in other.names:
            reference, value = exact.value(name), other.value(name)
            error = float(np.sqrt(np.square(value - reference).mean()))
            span = float(np.ptp(reference))
            # A constant has no span to lose.
            if span:
                yield name, float(20 * np.log10(span / error)) if error else float("inf")
