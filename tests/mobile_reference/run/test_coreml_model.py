"""A Core ML package as the runner calls it: maps are channels second inside, and last in the manifest."""

from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
from numpy.typing import NDArray

from mien.mobile_reference import coreml
from mien.mobile_reference.contract import PICTURE, TensorSpec
from mien.mobile_reference.errors import BundleError
from mien.mobile_reference.run.models import CoreMLModel, as_package_has_it

PHOTO = TensorSpec("photo", (1, 2, 4, 3), "uint8", 255, "", layout=PICTURE)
MAP = TensorSpec("map", (1, 2, 4, 5), "float32", 1, "", layout=PICTURE)
HEAT = TensorSpec("heat", (1, 2, 4, 1), "float32", 1, "", layout=PICTURE)


def evaluator(made: NDArray[Any], given: dict[str, Any]) -> Any:
    """Stand in for the evaluator: it notes what it is given, and makes ``heat``."""

    def call(**inputs: Any) -> dict[str, NDArray[Any]]:
        given.update(inputs)
        return {"heat": made}

    return call


def run(monkeypatch: pytest.MonkeyPatch, made: NDArray[Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    given: dict[str, Any] = {}
    monkeypatch.setattr(coreml, "load_package", lambda file: file)
    monkeypatch.setattr(coreml, "Evaluator", lambda _: evaluator(made, given))
    model = CoreMLModel(Path("x.mlpackage"), (PHOTO, MAP), (HEAT,), 1)
    rng = np.random.default_rng(0)
    inputs = {
        "photo": rng.integers(0, 256, PHOTO.shape).astype(np.uint8),
        "map": rng.random(MAP.shape, np.float32),
    }
    outputs = model(inputs)
    np.testing.assert_array_equal(given["photo"], inputs["photo"][0])
    np.testing.assert_array_equal(given["map"], inputs["map"].transpose(0, 3, 1, 2))
    return given, outputs


def test_maps_are_channels_second_inside_and_last_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    made = np.arange(8, dtype=np.float16).reshape(1, 1, 2, 4)
    _, outputs = run(monkeypatch, made)
    assert outputs["heat"].dtype == np.float32
    np.testing.assert_array_equal(outputs["heat"][0, :, :, 0], made[0, 0])


def test_an_output_of_another_shape_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BundleError, match=r"makes heat of shape \(1, 2, 4, 1\).*export the bundle again"):
        run(monkeypatch, np.zeros((1, 2, 4, 1), np.float16))


def test_a_picture_is_given_to_a_package_without_its_batch_and_grey_without_its_channel() -> None:
    grey, colour = np.arange(6, dtype=np.uint8).reshape(1, 2, 3, 1), np.zeros((1, 2, 3, 3), np.uint8)
    picture = Mock(layout=PICTURE, image=True)
    assert as_package_has_it(grey, picture).tolist() == grey[0, :, :, 0].tolist()
    assert as_package_has_it(colour, picture).shape == (2, 3, 3)
    assert as_package_has_it(colour, Mock(layout=PICTURE, image=False)).shape == (1, 3, 2, 3)
    assert as_package_has_it(grey, Mock(layout="any")) is grey
