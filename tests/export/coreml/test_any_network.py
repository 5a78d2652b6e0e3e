"""Core ML for networks that the converters know nothing of: weights are found in the package's own graph."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from torch import nn

from mien.export.component import Component
from mien.export.coreml import convert
from mien.export.coreml.activations import WeightsRange
from mien.export.coreml.convert import (
    FP16,
    FP32,
    INT8,
    INT8_WEIGHTS,
    package_of,
    to_coreml,
    to_int8,
    to_palettes,
)
from mien.export.coreml.proof import prove
from mien.export.errors import ConversionError
from mien.export.weights.gptq import Rounded
from mien.mobile_reference.coreml import load_package
from mien.mobile_reference.coreml.products import Product, loaded, products, share_compressed, share_int8
from mien.mobile_reference.coreml.program import Function
from mien.models.pipeline import CoreMLChoices
from tests.export.coreml.networks import NAMES, small

PALETTE = "coreml-pal4"
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


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory):
    """Return the folder of all variants of a network, made once, and what their making said."""

    @cache
    def make(name: str) -> tuple[Component, Path, list[str]]:
        component, samples = small(name)
        folder = tmp_path_factory.mktemp(name)
        said = list(to_coreml(component, CHOICES, {}, samples, folder))
        ranges = known(package_of(folder, FP32, component))
        said += to_int8(component, CHOICES, {}, ranges, samples, folder)
        said += to_palettes(component, CHOICES, PALETTE, samples, folder)
        return component, folder, said

    return make


@pytest.mark.parametrize("name", NAMES)
def test_every_variant_computes_what_the_module_does(made, name):
    component, folder, said = made(name)
    assert said == []
    assert all(
        package_of(folder, one, component).exists() for one in (FP32, FP16, INT8_WEIGHTS, INT8, PALETTE)
    )


@pytest.mark.parametrize("name", NAMES)
def test_every_product_is_compressed_whatever_it_is_called(made, name):
    component, folder, _ = made(name)
    for variant in (INT8_WEIGHTS, INT8, PALETTE):
        assert share_compressed([function(package_of(folder, variant, component))]) == 1
    # What attention multiplies by each other has no weights.
    assert share_int8([function(package_of(folder, INT8, component))]) == pytest.approx(
        {"hourglass": 1, "attention": 1 - 2 * 576 / 13440, "tensors": 1}[name]
    )
    assert share_int8([function(package_of(folder, INT8_WEIGHTS, component))]) == 0


@pytest.mark.parametrize("name", NAMES)
def test_float16_is_float16_whatever_modules_are_called(made, name):
    component, folder, _ = made(name)
    found = with_weights(package_of(folder, FP16, component))
    assert {one.stored.outputs[0].type.kind.name for one in found} == {"fp16"}
    assert {one.operation.outputs[0].type.kind.name for one in found} == {"fp16"}


def test_the_hourglass_has_every_kind_of_convolution(made):
    component, folder, _ = made("hourglass")
    kinds = [one.operation.type for one in with_weights(package_of(folder, INT8, component))]
    assert sorted(kinds) == ["conv"] * 6 + ["conv_transpose"]


class Louder(nn.Module):
    """A module whose result is a tenth too large."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *inputs):
        return self.module(*inputs) * 1.1


def test_a_package_that_computes_something_else_is_refused(made):
    component, folder, _ = made("attention")
    _, samples = small("attention")
    louder = replace(component, module=Louder(component.module))
    for variant in (FP32, FP16):
        with pytest.raises(ConversionError, match=f"{variant} attention: mixed is off by"):
            prove(louder, package_of(folder, variant, component), variant, samples)


def test_a_wrong_folding_ends_the_export(monkeypatch, tmp_path):
    component, samples = small("attention")
    monkeypatch.setattr(convert, "fold_batch_norm", lambda module, _: Louder(module))
    with pytest.raises(ConversionError, match="does not compute what the module does"):
        to_coreml(component, CoreMLChoices(weights="by name"), {}, samples, tmp_path)


def test_nan_is_refused_at_every_precision(made, monkeypatch):
    component, folder, _ = made("attention")
    _, samples = small("attention")
    samples[0]["tokens"][:] = 1e5  # a float16 is infinite
    with pytest.raises(ConversionError, match="is NaN or infinite at"):
        prove(component, package_of(folder, FP16, component), FP16, samples)


def test_what_has_no_range_stays_float_and_is_named(made, tmp_path):
    component, folder, _ = made("attention")
    _, samples = small("attention")
    ranges = known(package_of(folder, FP32, component))
    (said,) = to_int8(component, CHOICES, {}, ranges[1:], samples, tmp_path)
    assert said.endswith("stays float in coreml-w8a8: no range; the TFLite graph has no such weights")
    first, *others = with_weights(package_of(tmp_path, INT8, component))
    assert not first.is_compressed
    assert all(one.is_int8 for one in others)


@pytest.mark.parametrize("name", ["attention", "hourglass"])
def test_rounded_weights_are_found_by_their_values(made, tmp_path, name):
    component, folder, _ = made(name)
    source = package_of(folder, FP16, component)
    chosen = next(
        one
        for one in with_weights(source)
        if one.operation.type == ("linear" if name == "attention" else "conv_transpose")
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
