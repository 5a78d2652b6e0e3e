"""Core ML for networks that the converters know nothing of: weights are found in the package's own graph."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mien.export.component import Component
from mien.export.coreml import convert
from mien.export.coreml.activations import WeightsRange
from mien.export.coreml.convert import (
    FP16,
    FP32,
    INT8,
    package_of,
    to_coreml,
    to_int8,
)
from mien.export.coreml.proof import prove
from mien.export.errors import ConversionError
from mien.export.weights.gptq import Rounded
from mien.mobile_reference.coreml import load_package
from mien.mobile_reference.coreml.products import Product, loaded, products
from mien.mobile_reference.coreml.program import Function
from mien.mobile_reference.run.models import CoreMLModel
from mien.models.pipeline import CoreMLChoices
from tests.export.coreml.conversions import Samples
from tests.networks import Input, Network, component_of, samples_of

CHOICES = CoreMLChoices()
REACH = (-4.0, 4.0)


def function(package: Path) -> Function:
    program = load_package(package)
    return program.functions[program.default_function]


def with_weights(package: Path) -> list[Product]:
    return [one for one in products(function(package)) if one.stored is not None]


def known(package: Path) -> list[WeightsRange]:
    """What TFLite would say of every product with weights."""
    weights = [one.weight() for one in with_weights(package)]
    return [WeightsRange(weight.reshape(len(weight), -1), REACH) for weight in weights if weight is not None]


def small(name: str) -> tuple[Component, Samples]:
    component = component_of(name)
    return component, samples_of(component, 3, 7)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory):
    """Return the folder of the variants of a network whose activations are float, made once."""

    @cache
    def make(name: str) -> tuple[Component, Path]:
        component, samples = small(name)
        folder = tmp_path_factory.mktemp(name)
        assert not to_coreml(component, CHOICES, {}, samples, folder)
        return component, folder

    return make


@pytest.mark.parametrize("name", ["disordered", "attended", "several"])
def test_float16_is_float16_whatever_modules_are_called(made, name):
    component, folder = made(name)
    found = with_weights(package_of(folder, FP16, component))
    assert {one.stored.outputs[0].type.kind.name for one in found} == {"fp16"}
    assert {one.operation.outputs[0].type.kind.name for one in found} == {"fp16"}


class Graded(nn.Module):
    """A map, and a grade near 56 that hardly varies: float16 has steps of 0.03 there."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.last = nn.Conv2d(3, 8, 3, 2, 1), nn.Linear(8, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = torch.relu(self.body(x))
        return torch.tanh(x), 100 * torch.sigmoid(0.25 + self.last(x.mean((2, 3))))


def test_an_output_that_float16_has_too_few_numbers_for_is_made_in_float32(tmp_path):
    networks = {"graded": Network(Graded, {"image": Input((1, 32, 32, 3))})}
    component = component_of("graded", networks)
    samples = samples_of(component, 8, 7, networks)
    span = float(np.ptp([sample["out1"] for sample in samples]))
    assert 0.1 < span < 1
    grade = replace(component.tensors["out1"], full_scale=span)
    component = replace(component, tensors={**component.tensors, "out1": grade})
    assert not to_coreml(component, CHOICES, {}, samples, tmp_path)
    package = package_of(tmp_path, FP16, component)
    inputs, outputs = component.specs(component.inputs), component.specs(component.outputs)
    model = CoreMLModel(package, inputs, outputs, threads=1)
    errors = [abs(model({"image": one["image"]})["out1"] - one["out1"]).item() for one in samples]
    assert max(errors) / span < 0.01
    # What makes the map is of float16, which has numbers enough for it.
    kinds = {one.type: one.outputs[0].type.kind.name for one in function(package).body.operations}
    assert (kinds["conv"], kinds["tanh"], kinds["linear"], kinds["sigmoid"]) == (
        "fp16",
        "fp16",
        "fp32",
        "fp32",
    )


class Masked(nn.Module):
    """Keeps what lies above a threshold: of inputs that float16 cannot tell from it."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv2d(1, 4, 3, padding=1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mask = (0.5 + x / 1000 > 0.5005).float()
        made = torch.relu(self.body(x)) * mask
        return made, (made > 0.1).float()


def test_what_decides_by_inputs_is_of_float32(tmp_path):
    networks = {"masked": Network(Masked, {"image": Input((1, 16, 16, 1))})}
    component = component_of("masked", networks)
    samples = samples_of(component, 4, 7, networks)
    assert not to_coreml(component, CHOICES, {}, samples, tmp_path)
    package = package_of(tmp_path, FP16, component)
    inputs, outputs = component.specs(component.inputs), component.specs(component.outputs)
    model = CoreMLModel(package, inputs, outputs, threads=1)
    for one in samples:
        np.testing.assert_allclose(model({"image": one["image"]})["out0"], one["out0"], atol=0.01)
    # What decides by a product decides by what is rounded already, and need not be slower for it.
    operations = function(package).body.operations
    read = [one.arguments["x"][0].name for one in operations if one.type == "greater"]
    kinds = {made.name: made.type.kind.name for one in operations for made in one.outputs}
    assert [kinds[name] for name in read] == ["fp32", "fp16"]


def test_every_kind_of_convolution_is_a_product(made):
    component, folder = made("disordered")
    kinds = [one.operation.type for one in with_weights(package_of(folder, FP16, component))]
    assert sorted(kinds) == ["conv"] * 6 + ["conv_transpose"]


class Louder(nn.Module):
    """A module whose result is a tenth too large."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *inputs):
        return self.module(*inputs) * 1.1


def test_a_package_that_computes_something_else_is_refused(made):
    component, folder = made("attended")
    _, samples = small("attended")
    louder = replace(component, module=Louder(component.module))
    for variant in (FP32, FP16):
        with pytest.raises(ConversionError, match=f"{variant} attended: out0 is off by"):
            prove(louder, package_of(folder, variant, component), variant, samples)


def test_a_wrong_folding_ends_the_export(monkeypatch, tmp_path):
    component, samples = small("attended")
    monkeypatch.setattr(convert, "fold_batch_norm", lambda module, _: Louder(module))
    with pytest.raises(ConversionError, match="does not compute what the module does"):
        to_coreml(component, CoreMLChoices(weights="by name"), {}, samples, tmp_path)


def test_nan_is_refused_at_every_precision(made, monkeypatch):
    component, folder = made("attended")
    _, samples = small("attended")
    samples[0]["x"][:] = 1e5  # a float16 is infinite
    with pytest.raises(ConversionError, match="is NaN or infinite at"):
        prove(component, package_of(folder, FP16, component), FP16, samples)


def test_what_has_no_range_stays_float_and_is_named(made, tmp_path):
    component, folder = made("attended")
    _, samples = small("attended")
    ranges = known(package_of(folder, FP32, component))
    (said,) = to_int8(component, CHOICES, {}, ranges[1:], samples, tmp_path)
    assert said.endswith("stays float in coreml-w8a8: no range; the TFLite graph has no such weights")
    first, *others = with_weights(package_of(tmp_path, INT8, component))
    assert not first.is_compressed
    assert all(one.is_int8 for one in others)


@pytest.mark.parametrize("name", ["attended", "disordered"])
def test_rounded_weights_are_found_by_their_values(made, tmp_path, name):
    component, folder = made(name)
    source = package_of(folder, FP16, component)
    chosen = next(
        one
        for one in with_weights(source)
        if one.operation.type == ("linear" if name == "attended" else "conv_transpose")
    )
    weight = chosen.weight()
    assert weight is not None
    flat = weight.reshape(len(weight), -1)
    steps = np.abs(flat).max(axis=1, keepdims=True) / 127
    levels = np.rint(flat / steps)
    # One step off, but for the greatest of each channel, which says the scale.
    levels = np.where(np.abs(levels) < 100, levels + 1, levels)
    zeros = np.zeros(len(weight), np.float32)
    rounded = Rounded((levels * steps).reshape(weight.shape).astype(np.float32), zeros + 0.5, weight, zeros)
    target = tmp_path / "rounded.mlpackage"
    convert._compress(source, target, component, "", {"any name": rounded})
    found = next(one for one in with_weights(target) if one.operation.name == chosen.operation.name)
    assert found.stored is not None
    (stored,) = (argument.load() for argument in found.stored.arguments["quantized_data"])
    turned = stored if found.turned is None else stored.transpose(found.turned)
    np.testing.assert_array_equal(turned.reshape(flat.shape), levels)
    # It need not be that of the graph that the weights were rounded in; what rounding leaves is added.
    assert found.bias is not None
    assert chosen.bias is not None
    np.testing.assert_array_equal(loaded(found.bias), (loaded(chosen.bias) + 0.5).astype(np.float16))
