"""A tensor that is no picture reaches the graph with its own axes, whether a converter turned it or not."""

import numpy as np
import pytest
from torch import nn

from mien.export.component import Component
from mien.export.tflite.interpreter import Runner
from mien.export.tflite.passes.ends import with_own_ends
from mien.mobile_reference.contract import AS_IT_IS, PICTURE, TensorSpec
from tests.export.tflite.graphs import GraphBuilder

SHAPE = (1, 2, 3, 4)


def component(made: tuple[int, ...], given: tuple[int, ...] = SHAPE) -> Component:
    """Return a model of one tensor that is no picture; what it makes is taken as it is."""
    tensors = {
        "x": TensorSpec("x", given, "float32", 1, "of a test", AS_IT_IS),
        "y": TensorSpec("y", made, "float32", 1, "of a test", PICTURE),
    }
    return Component("one", nn.Identity(), ("x",), ("y",), quantise=True, tensors=tensors)


def made_with(shape: tuple[int, ...]) -> bytes:
    """Return what a converter made, with its input in that shape."""
    build = GraphBuilder()
    return build.build(build.add("TANH", [build.given("x", shape)], build.tensor("y", shape)))


@pytest.mark.parametrize(("inside", "order"), [((1, 3, 4, 2), (0, 2, 3, 1)), (SHAPE, (0, 1, 2, 3))])
def test_an_input_has_its_own_axes(inside: tuple[int, ...], order: tuple[int, ...]) -> None:
    made = made_with(inside)
    found = with_own_ends(component(inside), made)
    assert (found == made) == (inside == SHAPE)  # what a converter left as it was stays
    given = np.arange(24, dtype=np.float32).reshape(SHAPE) / 24
    (output,) = Runner(found).run([given])
    np.testing.assert_allclose(output, np.tanh(given.transpose(order)), atol=1e-6)


def test_one_of_equal_lengths_counts_as_turned() -> None:
    cube = (1, 2, 2, 2)
    made = made_with(cube)
    assert with_own_ends(component(cube, cube), made) != made
