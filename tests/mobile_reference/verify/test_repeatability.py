"""One score whatever computes it, on tiny real models under LiteRT."""

import math
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from mien.mobile_reference.tflite.litert import Kernels
from mien.mobile_reference.verify import repeatability
from mien.mobile_reference.verify.repeatability import ratings
from tests.benchmarks.tinymodels import appraisal, int8_appraisal
from tests.mobile_reference.conftest import SPEC

FACES = [[np.random.default_rng(seed).integers(0, 256, (1, 256, 256, 3), np.uint8)] for seed in range(2)]
PLACE = 0
"""Of the score among the outputs of the tiny models."""


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return int8_appraisal(tmp_path / "int8.tflite")


def test_threads_order_and_processes_change_nothing(model: Path):
    rated = partial(ratings, model, place=PLACE)
    found = {r.changed: r for r in repeatability._variant_repeats(SPEC, "v", 0.5, rated, FACES)}
    assert found.keys() == {"reference kernels", "four threads", "order", "process"}
    assert found["reference kernels"].limit == 0.5
    for changed in ("four threads", "order", "process"):
        assert (found[changed].error, found[changed].limit) == (0.0, 0.0)


def test_reference_kernels_are_others_than_xnnpacks(tmp_path: Path):
    model = appraisal(tmp_path / "float.tflite")
    plain, reference = ratings(model, FACES, PLACE), ratings(model, FACES, PLACE, Kernels.REFERENCE)
    # Sums of some ten thousand float32 products in another order.
    np.testing.assert_allclose(plain, reference, rtol=1e-4)


def test_a_score_that_moves_is_seen(model: Path, monkeypatch: pytest.MonkeyPatch):
    def moody(inputs: repeatability.Inputs, threads: int = 1, **_: object) -> list[repeatability.Array]:
        return [rating + 0.25 * (threads == 4) for rating in ratings(model, inputs, PLACE)]

    monkeypatch.setattr(repeatability, "ProcessPoolExecutor", _Here)
    found = {r.changed: r.error for r in repeatability._variant_repeats(SPEC, "v", 0.5, moody, FACES)}
    assert found["four threads"] == pytest.approx(0.25)
    assert found["process"] == 0


def test_scores_that_are_not_numbers_are_apart():
    assert math.isnan(repeatability._apart(SPEC, arrays(1.0, 2.0, 3.0), arrays(1.0, math.nan, 9.0)))
    assert repeatability._apart(SPEC, arrays(1.0, 2.0), arrays(1.5, 2.0)) == 0.5


def arrays(*scores: float) -> list[repeatability.Array]:
    return [np.array([score], np.float32) for score in scores]


class _Here:
    """Runs in this process what another one would."""

    def __init__(self, *_: object) -> None:
        pass

    def __enter__(self) -> "_Here":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def submit(self, work: object, *arguments: object) -> "_Here":
        self.result = lambda: work(*arguments)  # type: ignore[operator]
        return self
