"""Unseen kinds of anomaly and nuisances: graded, local, the same for the same seed, apart from training's."""

import ast
import inspect

import numpy as np
import pytest
from numpy.typing import NDArray
from torch import Tensor

from mien.models.appraisal.checkpoint import TEMPLATE
from mien.models.appraisal.evaluation.anomalies import ANOMALIES, FacePlan
from mien.models.appraisal.evaluation.drawings import nuisances, painting, unseen_anomalies
from mien.models.appraisal.evaluation.drawings.nuisances import ON_FACES, with_nuisance
from mien.models.appraisal.evaluation.drawings.unseen_anomalies import UNSEEN, draw_unseen

Picture = NDArray[np.uint8]


def plan(side: int = 1) -> FacePlan:
    return FacePlan(*TEMPLATE, side=side)


@pytest.fixture(scope="module")
def picture(face: Tensor) -> Picture:
    return face.permute(1, 2, 0).contiguous().numpy()


def change(a: Picture, b: Picture) -> NDArray[np.float64]:
    return np.abs(a.astype(float) - b).mean(axis=2)


def test_there_are_at_least_six_kinds_and_none_that_training_draws():
    assert len(UNSEEN) >= 6
    assert not set(UNSEEN) & set(ANOMALIES)


@pytest.mark.parametrize("kind", UNSEEN)
def test_the_drawing_grows_with_severity_from_nothing(picture: Picture, kind: str):
    np.testing.assert_array_equal(draw_unseen(kind, picture, plan(), 0.0, seed=1), picture)
    for seed in (1, 2):
        sums = [
            change(draw_unseen(kind, picture, plan(), s, seed), picture).sum() for s in (0.25, 0.5, 0.75, 1)
        ]
        assert 0 < sums[0] < sums[1] < sums[2] < sums[3]
        assert sums[3] > 1.5 * sums[0]


@pytest.mark.parametrize("kind", UNSEEN)
@pytest.mark.parametrize("side", [-1, 1])
def test_a_drawing_is_local_visible_and_follows_its_seed(picture: Picture, kind: str, side: int):
    before = picture.copy()
    drawn = draw_unseen(kind, picture, plan(side), 1.0, seed=5)
    np.testing.assert_array_equal(picture, before)
    np.testing.assert_array_equal(drawn, draw_unseen(kind, picture, plan(side), 1.0, seed=5))
    assert (drawn != draw_unseen(kind, picture, plan(side), 1.0, seed=6)).any()
    changed = change(drawn, picture)
    assert changed.max() > 20
    # Most of the picture stays as it is, and so does its rim.
    assert (changed > 2).mean() < 0.25
    assert changed[:8].max() <= 1


@pytest.mark.parametrize("kind", UNSEEN)
def test_a_drawing_lies_on_its_side(picture: Picture, kind: str):
    # A nose and a lip reach over the middle, yet most of what they change lies on the drawn side.
    right, left = (change(draw_unseen(kind, picture, plan(side), 1.0, 5), picture) for side in (-1, 1))
    assert right[:, :128].sum() > right[:, 128:].sum() or kind == "crooked nose"
    assert left[:, 128:].sum() > left[:, :128].sum() or kind == "crooked nose"


@pytest.mark.parametrize("name", ON_FACES)
def test_a_nuisance_changes_a_face_and_follows_its_seed(picture: Picture, name: str):
    before = picture.copy()
    changed = with_nuisance(name, picture, plan(), seed=4)
    np.testing.assert_array_equal(picture, before)
    assert changed.shape == picture.shape
    assert changed.dtype == np.uint8
    assert change(changed, picture).mean() > 0.1
    np.testing.assert_array_equal(changed, with_nuisance(name, picture, plan(), seed=4))


@pytest.mark.parametrize("module", [painting, unseen_anomalies, nuisances])
def test_evaluations_drawings_share_no_code_with_what_training_draws(module: object):
    taken = [
        (node.module, name.name)
        for node in ast.walk(ast.parse(inspect.getsource(module)))
        if isinstance(node, ast.ImportFrom)
        for name in node.names
    ]
    assert taken
    assert {name for source, name in taken if source.endswith(".anomalies")} <= {"FacePlan"}
    assert not [source for source, _ in taken if ".training" in source or ".networks" in source]
