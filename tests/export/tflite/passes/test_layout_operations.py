"""The layout pass, operation by operation: a graph between two bridges computes the same without them."""

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from mien.export.tflite.interpreter import Runner
from mien.export.tflite.passes.layout import channels_last_model
from mien.mobile_reference.tflite.flatbuffer import operation_names
from tests.export.tflite.graphs import GraphBuilder

FIRST, LAST = (0, 3, 1, 2), (0, 2, 3, 1)
SHAPE = (1, 4, 6, 8)
"""Channels last; channels first it is [1, 8, 4, 6]."""


class Bridged(GraphBuilder):
    """A graph with bridges between layouts."""

    def turn(self, source: int, order: tuple[int, ...]) -> int:
        """Add a TRANSPOSE."""
        shape = [self.graph.tensors[source].shape[axis] for axis in order]
        made = self.tensor(f"turned {len(self.graph.tensors)}", tuple(shape))
        permutation = self.constant(f"order {made}", np.array(order, np.int32))
        return self.add("TRANSPOSE", [source, permutation], made, schema.TransposeOptionsT())

    def unary(self, kind: str, source: int, *shape: int, constants: Any = (), options: Any = None) -> int:
        """Add an operation of one computed input, which makes ``shape``, else that of its input."""
        made = self.tensor(
            f"{kind} {len(self.graph.tensors)}", shape or tuple(self.graph.tensors[source].shape)
        )
        more = [self.constant(f"{made} {n}", one) for n, one in enumerate(constants)]
        return self.add(kind, [source, *more], made, options)


def between(change: Callable[[Bridged, int], int], *, back: bool = True) -> bytes:
    """Build a graph in which ``change`` is done channels first."""
    build = Bridged()
    first = build.turn(build.given("x", SHAPE), FIRST)
    made = change(build, first)
    return build.build(build.turn(made, LAST) if back else made)


def paddings(*rows: tuple[int, int]) -> NDArray[np.int32]:
    return np.array(rows, np.int32)


def kept(*, keep: bool) -> Any:
    options = schema.ReducerOptionsT()
    options.keepDims = keep
    return options


KEPT, DROPPED = kept(keep=True), kept(keep=False)


def reflected() -> Any:
    options = schema.MirrorPadOptionsT()
    options.mode = schema.MirrorPadMode.REFLECT
    return options


def softmax() -> Any:
    options = schema.SoftmaxOptionsT()
    options.beta = 1.0
    return options


def integers(*values: int) -> NDArray[np.int32]:
    return np.array(values, np.int32)


def halves(build: Bridged, x: int) -> int:
    parts = [build.tensor(f"half {n}", (1, 4, 4, 6)) for n in range(2)]
    options = schema.SplitOptionsT()
    options.numSplits = 2
    build.add("SPLIT", [build.constant("axis", integers(1)), x], parts[0], options)
    build.graph.operators[-1].outputs = parts
    return build.add("MUL", parts, build.tensor("product", (1, 4, 4, 6)), schema.MulOptionsT())


def averaged(build: Bridged, x: int) -> int:
    """The mean of every channel, as a vector, as a map again, and multiplied."""
    mean = build.unary("MEAN", x, 1, 8, 1, 1, constants=[integers(2, 3)], options=KEPT)
    return build.add("MUL", [x, mean], build.tensor("scaled", (1, 8, 4, 6)), schema.MulOptionsT())


KNOWN = {
    "HARD_SWISH": between(lambda b, x: b.unary("HARD_SWISH", x)),
    "MEAN that keeps its axes": between(averaged),
    "MEAN that drops the places": between(
        lambda b, x: b.unary("MEAN", x, 1, 8, constants=[integers(2, 3)], options=DROPPED),
        back=False,
    ),
    "MEAN that drops the channels": between(
        lambda b, x: b.unary("MEAN", x, 1, 4, 6, constants=[integers(1)], options=DROPPED),
        back=False,
    ),
    "RESHAPE of a vector": between(
        lambda b, x: b.unary(
            "RESHAPE",
            b.unary("MEAN", x, 1, 8, 1, 1, constants=[integers(2, 3)], options=KEPT),
            *(1, 8),
            constants=[integers(1, 8)],
            options=schema.ReshapeOptionsT(),
        ),
        back=False,
    ),
    "MIRROR_PAD": between(
        lambda b, x: b.unary(
            "MIRROR_PAD",
            x,
            *(1, 8, 6, 8),
            constants=[paddings((0, 0), (0, 0), (1, 1), (1, 1))],
            options=reflected(),
        )
    ),
    "SPLIT": between(halves),
    "another TRANSPOSE": between(lambda b, x: b.turn(b.turn(x, (0, 1, 3, 2)), (0, 1, 3, 2))),
}
UNKNOWN = {
    "CUMSUM": between(
        lambda b, x: b.unary("CUMSUM", x, constants=[integers(1)], options=schema.CumsumOptionsT())
    ),
    "SOFTMAX": between(lambda b, x: b.unary("SOFTMAX", b.unary("ABS", x), options=softmax())),
    "MEAN that leaves channels before places": between(
        lambda b, x: b.unary("MEAN", x, 1, 8, 6, constants=[integers(2)], options=DROPPED),
        back=False,
    ),
    "RESHAPE of a map": between(
        lambda b, x: b.unary(
            "RESHAPE", x, 1, 192, constants=[integers(1, 192)], options=schema.ReshapeOptionsT()
        ),
        back=False,
    ),
}


def same(before: bytes, after: bytes) -> None:
    x = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    (expected,), (found,) = (Runner(model).run([x]) for model in (before, after))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("model", KNOWN.values(), ids=KNOWN.keys())
def test_a_known_operation_needs_no_bridge(model: bytes, caplog: pytest.LogCaptureFixture) -> None:
    after = channels_last_model(model)
    before = list(operation_names(model)).count("TRANSPOSE")
    inside = before - 2 if list(operation_names(model))[-1] == "TRANSPOSE" else before - 1
    assert list(operation_names(after)).count("TRANSPOSE") == inside
    assert not caplog.records
    same(model, after)


@pytest.mark.parametrize("model", UNKNOWN.values(), ids=UNKNOWN.keys())
def test_another_operation_keeps_its_layout_between_bridges_and_is_named(
    model: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        after = channels_last_model(model)
    assert "keeps its channels first" in caplog.text
    assert "TRANSPOSE" in operation_names(after)
    same(model, after)


def test_only_the_unknown_operation_keeps_its_layout() -> None:
    def deep(build: Bridged, x: int) -> int:
        y = build.unary("HARD_SWISH", x)
        y = build.unary("CUMSUM", y, constants=[integers(1)], options=schema.CumsumOptionsT())
        return build.unary("HARD_SWISH", y)

    model = between(deep)
    after = channels_last_model(model)
    assert list(operation_names(after)) == ["HARD_SWISH", "TRANSPOSE", "CUMSUM", "TRANSPOSE", "HARD_SWISH"]
    same(model, after)


def test_an_output_that_is_given_twice_is_copied() -> None:
    build = Bridged()
    swish = build.unary("HARD_SWISH", build.given("x", SHAPE))
    again = build.turn(build.turn(swish, FIRST), LAST)
    model = build.build(swish, again)
    after = channels_last_model(model)
    x = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    for expected, found in zip(Runner(model).run([x]), Runner(after).run([x]), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_a_computed_vector_is_not_broadcast_along_another_axis() -> None:
    def shifted(build: Bridged, x: int) -> int:
        row = build.unary("MEAN", x, 6, constants=[integers(0, 1, 2)], options=DROPPED)
        return build.add("ADD", [x, row], build.tensor("sum", (1, 8, 4, 6)), schema.AddOptionsT())

    model = between(shifted)
    same(model, channels_last_model(model))
