"""Every Core ML variant of a network as an export makes it: weights and ranges by its TFLite graph."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from mien.export.component import Component
from mien.export.coreml.activations import WeightsRange, weights_ranges
from mien.export.coreml.convert import package_of, to_coreml, to_int8, to_palettes
from mien.export.tflite.conversion import convert_proven
from mien.export.tflite.converters.flatbuffer_direct import WAYS
from mien.export.tflite.graph_moments import round_graph
from mien.export.tflite.precision import REST, Choice, Precision
from mien.export.tflite.quantise import chosen_ranges
from mien.export.tflite.ranges import Method, histograms
from mien.export.variants import COREML, VARIANTS
from mien.export.weights.gptq import Roundings
from mien.mobile_reference.coreml import load_package
from mien.mobile_reference.coreml.program import Function
from mien.mobile_reference.metrics import METRICS, allowed, measured
from mien.mobile_reference.run.models import CoreMLModel
from mien.models.exported_program import open_program
from mien.models.gates import default_gates
from mien.models.pipeline import CoreMLChoices
from tests.networks import NETWORKS, Network, component_of, inputs_of, samples_of

PALETTES = tuple(one.name for one in VARIANTS if one.platform == COREML and one.bits is not None)
Samples = Sequence[Mapping[str, NDArray[np.generic]]]


@dataclass(frozen=True)
class Graph:
    """A network with what it is calibrated and judged by, and what its float TFLite graph gave."""

    component: Component
    network: Network
    samples: Samples
    others: Samples
    roundings: Roundings
    known: Sequence[WeightsRange]


@dataclass(frozen=True)
class Variants:
    """The packages of a network under ``folder``, and what their making said."""

    component: Component
    folder: Path
    said: tuple[str, ...]

    def package(self, variant: str) -> Path:
        return package_of(self.folder, variant, self.component)

    def function(self, variant: str) -> Function:
        program = load_package(self.package(variant))
        return program.functions[program.default_function]


def run(component: Component, package: Path, samples: Samples) -> Samples:
    """Execute a package."""
    inputs, outputs = component.specs(component.inputs), component.specs(component.outputs)
    model = CoreMLModel(package, inputs, outputs, threads=1)
    return [model({n: np.ascontiguousarray(sample[n]) for n in component.inputs}) for sample in samples]


def graph_of(name: str, folder: Path, networks: Mapping[str, Network] = NETWORKS) -> Graph:
    """Convert a network to float TFLite, round its weights, and see what it reads."""
    one = component_of(name, networks)
    samples, others = samples_of(one, 8, 1000, networks), samples_of(one, 8, 2000, networks)
    model = convert_proven(WAYS, one, None, samples, folder)
    content = model.read_bytes()
    eight = {REST: Choice(Precision.INT8, Method.MIN_MAX)}
    ranges = chosen_ranges(model, eight, histograms(one, content, samples))
    roundings = round_graph(one, content, samples)
    return Graph(one, networks[name], samples, others, roundings, weights_ranges(content, ranges))


def variants_of(graph: Graph, module: nn.Module, folder: Path) -> Variants:
    """Make every variant of a graph's network, of a module that computes the same."""
    one, choices, samples = replace(graph.component, module=module), CoreMLChoices(), graph.samples
    said = [*to_coreml(one, choices, graph.roundings, samples, folder)]
    said += to_int8(one, choices, graph.roundings, graph.known, samples, folder)
    for palette in PALETTES:
        said += to_palettes(one, choices, palette, samples, folder)
    return Variants(one, folder, tuple(said))


def program_of(graph: Graph, folder: Path) -> nn.Module:
    """Return a network as it is after it was written as a .pt2 file and read again."""
    file = folder / "network.pt2"
    torch.export.save(torch.export.export(graph.component.module, tuple(inputs_of(graph.network, 0))), file)
    return open_program(file)


def excesses(
    graph: Graph, variant: str, made: Samples, expected: Samples | None = None
) -> Iterator[tuple[str, float]]:
    """Give the loss of every gate that a pipeline without gates has, in units of what it allows a variant."""
    one, wanted = graph.component, expected or graph.others
    for gate in default_gates(one.specs(one.outputs)):
        metric, limit = METRICS[gate.metric], allowed(gate, variant)
        span = float(np.ptp(np.stack([sample[gate.tensor] for sample in graph.others])))
        losses = [
            measured(metric, sample[gate.tensor], other[gate.tensor], span)
            for sample, other in zip(wanted, made, strict=True)
        ]
        loss = metric.combine(losses)
        if loss is not None and limit:
            yield f"{gate.metric} of {gate.tensor}", loss / limit
