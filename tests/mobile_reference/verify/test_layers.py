"""The first layer that diverges, on tiny real models: one convolution in float and in integers."""

from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest

from mien.mobile_reference.bundle.reader import open_bundle
from mien.mobile_reference.report.steps import Part
from mien.mobile_reference.verify import layers as layers_module
from mien.mobile_reference.verify.layers import POOR_DB, Layers, compare, first_below
from mien.mobile_reference.verify.model_explorer import NOT_FINITE, layers_folder, node_data
from tests.benchmarks.tinymodels import appraisal

FACE = np.random.default_rng(0).integers(0, 256, (1, 256, 256, 3), np.uint8)


@pytest.fixture
def layers(tmp_path: Path) -> Layers:
    found = Layers(appraisal(tmp_path / "float.tflite"))
    found.run([FACE])
    return found


def test_a_model_does_not_diverge_from_itself(layers: Layers) -> None:
    found = dict(compare(layers, layers))
    assert found
    assert set(found.values()) == {float("inf")}
    assert first_below("v", found).layer == ""


def test_a_layer_that_is_off_is_named_with_how_much(layers: Layers, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [name for name, _ in compare(layers, layers)]

    class Off(Layers):
        def __init__(self) -> None:
            self._made = layers._made

        def value(self, name: str) -> np.ndarray:
            value = layers.value(name)
            return value + 0.1 * np.ptp(value) if name == names[-1] else value

    found = dict(compare(layers, Off()))
    first = first_below("v", found)
    # A tenth of the span is 20 dB.
    assert (first.layer, first.decibels) == (names[-1], pytest.approx(20))


def test_the_first_in_the_order_of_the_graph_is_blamed_not_the_worst() -> None:
    found = {"a": 60.0, "b": POOR_DB - 1, "c": 3.0}
    assert first_below("v", found).layer == "b"
    assert first_below("v", {"a": float("nan")}).layer == "a"
    assert first_below("v", {"a": POOR_DB}).layer == ""


class _Stand:
    """Stands for a model whose one layer adds an error that the test chose for each face."""

    def __init__(self, errors: dict[int, float]) -> None:
        self.errors, self.names = errors, ["layer", "constant"]

    def run(self, inputs: list[int]) -> None:
        (face,) = inputs
        self.error = self.errors[face]

    def value(self, name: str) -> np.ndarray:
        # A span of 10: an error of 1 is 20 dB.
        return np.array([0.0, 10.0]) + self.error if name == "layer" else np.ones(2)


def _first_poor_layers(monkeypatch: pytest.MonkeyPatch, errors: dict[int, float]) -> tuple[Any, list[Part]]:
    """Compare a variant that is off by ``errors`` on the faces 1, 2, 3 with one that is exact."""
    models = {"exact": _Stand({1: 0, 2: 0, 3: 0}), "other": _Stand(errors)}
    monkeypatch.setattr(layers_module, "Layers", models.__getitem__)
    bundle = Mock(goldens=[Mock(**{"read.return_value": face}) for face in errors])
    bundle.spec.whole.configure_mock(name="appraisal", inputs=("face",))
    variants = {
        "tflite-fp32": Mock(platform="tflite", files={"appraisal": "exact"}),
        "tflite-int8": Mock(platform="tflite", files={"appraisal": "other"}),
        "coreml-fp16": Mock(platform="coreml", files={"appraisal": "none"}),
    }
    for name, variant in variants.items():
        variant.name = name
    bundle.variants, bundle.most_exact = list(variants.values()), variants["tflite-fp32"]
    told: list[Part] = []
    errors_of_layers = layers_module.layer_errors(bundle, bundle.most_exact, told.append)
    return layers_module.first_poor_layers(errors_of_layers), told


@pytest.mark.parametrize("errors", [{1: 1.0, 2: 0.01, 3: 0.0}, {1: 0.0, 2: 1.0, 3: 0.01}])
def test_every_tflite_variant_is_judged_by_its_worst_face(
    monkeypatch: pytest.MonkeyPatch, errors: dict[int, float]
) -> None:
    (found,), told = _first_poor_layers(monkeypatch, errors)
    assert (found.variant, found.layer, found.decibels) == ("tflite-int8", "layer", pytest.approx(20))
    assert told == [
        Part(f"layers of golden input {number} of 3, appraisal", number - 1, 3) for number in (1, 2, 3)
    ]


def test_a_variant_that_diverges_nowhere_has_the_least_decibels(monkeypatch: pytest.MonkeyPatch) -> None:
    (found,), _ = _first_poor_layers(monkeypatch, {1: 0.01, 2: 0.0, 3: 0.001})
    assert (found.layer, found.decibels) == ("", pytest.approx(60))


@pytest.mark.parametrize(
    "errors",
    [
        {1: 0.0, 2: 0.0, 3: float("nan")},
        {1: float("nan"), 2: 0.0, 3: 0.0},
    ],
    ids=["last face", "first face"],
)
def test_a_layer_that_is_not_numbers_on_one_face_has_diverged(
    monkeypatch: pytest.MonkeyPatch, errors: dict[int, float]
) -> None:
    (found,), _ = _first_poor_layers(monkeypatch, errors)
    assert found.layer == "layer"


def test_model_explorer_gets_the_error_of_each_layer_in_per_cent_of_its_span() -> None:
    found = node_data("main", "tflite-int8", {"first": float("inf"), "second": 20.0, "lost": float("nan")})
    results = found["main"]["results"]
    assert results["first"]["value"] == 0
    assert results["second"]["value"] == pytest.approx(10)
    assert results["lost"]["value"] == NOT_FINITE
    # Limits ascend, so that each value has one colour.
    limits = [threshold["value"] for threshold in found["main"]["thresholds"]]
    assert limits == sorted(limits)
    assert limits[1] == pytest.approx(100 * 10 ** (-POOR_DB / 20))
    assert limits[-1] == NOT_FINITE


def test_an_error_beyond_all_measure_is_drawn_as_the_worst() -> None:
    assert node_data("g", "v", {"a": -400.0})["g"]["results"]["a"]["value"] == NOT_FINITE


def test_layers_are_written_where_they_were_asked_for(fake: Any, tmp_path: Path) -> None:
    bundle = open_bundle(fake.path)
    assert layers_folder(tmp_path / "layers", bundle, bundle.most_exact).place == tmp_path / "layers"
