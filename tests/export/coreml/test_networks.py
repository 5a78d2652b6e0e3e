"""Networks of an engineer's own in every Core ML variant: right in every precision, compressed, proven."""

import copy
import shutil
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from mien.export.component import Component
from mien.export.coreml.convert import FP16, FP32, INT8, INT8_WEIGHTS
from mien.export.coreml.editing import block_of, edited, set_value
from mien.export.coreml.proof import prove
from mien.export.errors import ConversionError
from mien.mobile_reference.coreml.package import root_model
from mien.mobile_reference.coreml.products import share_compressed, share_int8
from mien.mobile_reference.coreml.program import BlobValue, Constant, Function
from tests.export.coreml.conversions import (
    PALETTES,
    Graph,
    Variants,
    excesses,
    graph_of,
    program_of,
    run,
    variants_of,
)
from tests.networks import NETWORKS, samples_of

COMPRESSED = (INT8_WEIGHTS, INT8, *PALETTES)
# What attention multiplies by each other has no weights.
SHARES = {"attended": 0.84}
# An untrained scorer's grades span less than ten steps of a float16 near 50; an index is right or wrong.
UNGATED = {"grader": {"out1"}, "several": {"out1"}}
PROGRAMS = ("several", "grader", "attended", "shuffled")


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory):
    return cache(lambda name: graph_of(name, tmp_path_factory.mktemp("graph")))


@pytest.fixture(scope="module")
def made(graph, tmp_path_factory: pytest.TempPathFactory):
    return cache(
        lambda name: variants_of(graph(name), graph(name).component.module, tmp_path_factory.mktemp(name))
    )


@pytest.fixture(autouse=True)
def _programs() -> None:
    pass


def losses(graph: Graph, variant: str, package: Path) -> dict[str, float]:
    return dict(excesses(graph, variant, run(graph.component, package, graph.others)))


def holds(excess: dict[str, float]) -> bool:
    """What is not a number is beyond every limit."""
    return all(one <= 1 for one in excess.values())


def check(graph: Graph, variants: Variants) -> None:
    """Hold variants to what the proof, the default gates and their names ask."""
    name = graph.component.name
    assert variants.said == ()
    for variant in (FP32, FP16, INT8_WEIGHTS, INT8):
        for gate, excess in losses(graph, variant, variants.package(variant)).items():
            assert excess <= 1 or gate.split()[-1] in UNGATED.get(name, ()), (variant, gate, excess)
    for variant in COMPRESSED:
        # A convolution of less than ten weights stays as it is.
        assert share_compressed([variants.function(variant)]) > 0.998, variant
    assert share_int8([variants.function(INT8)]) >= SHARES.get(name, 0.99)
    assert share_int8([variants.function(INT8_WEIGHTS)]) == 0


@pytest.mark.parametrize("name", NETWORKS)
def test_every_variant_of_a_network_holds(graph, made, name: str) -> None:
    check(graph(name), made(name))


@pytest.mark.parametrize("name", PROGRAMS)
def test_every_variant_of_an_exported_program_holds(graph, tmp_path: Path, name: str) -> None:
    check(graph(name), variants_of(graph(name), program_of(graph(name), tmp_path), tmp_path))


@pytest.mark.parametrize("name", NETWORKS)
def test_other_weights_are_refused_in_every_variant(graph, made, name: str) -> None:
    torch.manual_seed(5)
    module = copy.deepcopy(made(name).component.module)
    for parameter in (one for one in module.parameters() if one.ndim > 1):
        torch.nn.init.normal_(parameter, std=2 * float(parameter.std()))
    other = replace(made(name).component, module=module)
    for variant in (FP32, FP16, *COMPRESSED):
        refuse(other, made(name).package(variant), variant, graph(name))


def refuse(component: Component, package: Path, variant: str, graph: Graph) -> None:
    with pytest.raises(ConversionError, match="does not compute what the module does"):
        prove(component, package, variant, graph.samples)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_layer_a_tenth_too_loud_fails_a_gate_in_float16(graph, made, name: str) -> None:
    found = graph(name)
    louder = the_loudest(found)
    refuse(louder, made(name).package(FP32), FP32, found)
    packaged = run(found.component, made(name).package(FP16), found.others)
    expected = samples_of(louder, len(found.others), 2000)
    assert not holds(dict(excesses(found, FP16, packaged, expected)))


def the_loudest(graph: Graph) -> Component:
    """Make the weights of one layer a tenth larger, of that which then moves the outputs most."""
    weights = [path for path, value in graph.component.module.named_parameters() if value.ndim > 1]
    exact = graph.others[0]

    def moved(one: Component) -> float:
        (other,) = samples_of(one, 1, 2000)
        return max(float(np.abs(other[n] - exact[n]).max() / np.ptp(exact[n])) for n in one.outputs[:1])

    return max((with_louder(graph.component, path) for path in weights), key=moved)


def with_louder(component: Component, path: str) -> Component:
    module = copy.deepcopy(component.module)
    with torch.no_grad():
        module.get_parameter(path).mul_(1.1)
    return replace(component, module=module)


@pytest.mark.parametrize("name", NETWORKS)
def test_weights_of_twice_the_scale_fail_a_gate(graph, made, tmp_path: Path, name: str) -> None:
    package = tmp_path / "sabotaged.mlpackage"
    shutil.copytree(made(name).package(INT8_WEIGHTS), package)
    scales = scales_of(made(name).function(INT8_WEIGHTS))
    with edited(package) as function:
        packed = {one.outputs[0].name: one for one in block_of(function).operations}
        for operation, scale in scales.items():
            twice = np.asarray(scale.load()) * 2
            if isinstance(scale.value, BlobValue):
                overwrite(package, scale.value, twice.tobytes())
            else:
                set_value(packed[operation].attributes["scale"], twice)
    assert not holds(losses(graph(name), INT8_WEIGHTS, package))


def scales_of(function: Function) -> dict[str, Constant]:
    packed = (one for one in function.body.operations if one.type.startswith("constexpr"))
    arguments = ((one.name, argument) for one in packed for argument in one.arguments["scale"])
    return {name: argument for name, argument in arguments if isinstance(argument, Constant)}


def overwrite(package: Path, blob: BlobValue, content: bytes) -> None:
    with (root_model(package).parent / "weights" / blob.file.name).open("r+b") as stream:
        stream.seek(blob.file.record(blob.offset).offset)
        stream.write(content)
