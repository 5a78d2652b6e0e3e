"""The first layer that diverges, on tiny real models: one convolution in float and in integers."""

from pathlib import Path

import numpy as np
import pytest

from mien.mobile_reference.verify.layers import DIVERGED, Layers, compare, first_below
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
    found = {"a": 60.0, "b": DIVERGED - 1, "c": 3.0}
    assert first_below("v", found).layer == "b"
    assert first_below("v", {"a": float("nan")}).layer == "a"
    assert first_below("v", {"a": DIVERGED}).layer == ""
