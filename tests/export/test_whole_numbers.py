"""Tensors of whole numbers: where classes change is counted, not how far apart they are."""

import numpy as np
import pytest

from mien.export.whole_numbers import share_changed

CLASSES = np.array([[0, 1], [2, 3]], np.int32)


def test_equal_classes_are_not_changed() -> None:
    assert share_changed(CLASSES, CLASSES.copy()) == 0


@pytest.mark.parametrize("far", [1, 100])
def test_a_changed_class_counts_once_however_far(far: int) -> None:
    other = CLASSES.copy()
    other[0, 0] += far
    assert share_changed(CLASSES, other) == 0.25


def test_numbers_with_fractions_and_other_shapes_are_not_compared_so() -> None:
    fractions = CLASSES.astype(np.float32)
    assert share_changed(fractions, fractions) == 1
    assert share_changed(CLASSES, CLASSES[:1]) == 1
