"""A float graph made ready for int8: what dense layers read has channels of one reach."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mien.export.component import Component
from mien.export.weights.gptq import Roundings

from .blocks import find_blocks
from .graph_moments import round_graph
from .passes.scale_inputs import Reaches, dense_inputs, scale_inputs
from .precision import Assignment, choices
from .quantise import rounding_lost
from .ranges import Arrays
from .reach import NOTHING, Reach, extents


def made_ready(
    component: Component,
    model: Path,
    assignment: Assignment,
    known: Roundings,
    samples: Sequence[Arrays],
    reach: Reach = NOTHING,
) -> tuple[Path, Roundings]:
    """Write a float model beside ``model`` that is ready for int8, and return it with its rounded weights.

    Those are the ``known`` ones, and the ones of the layers that were changed. ``reach`` is what tensors
    reached on other inputs.
    """
    before = model.read_bytes()
    after = (
        with_scaled_inputs(component, before, assignment, samples, reach) if component.quantise else before
    )
    ready = model.with_suffix(".int8.tflite")
    ready.write_bytes(after)
    lost = rounding_lost(before, after, assignment, known)
    return ready, {**known, **round_graph(component, after, samples, lost)} if lost else known


def with_scaled_inputs(
    component: Component,
    model: bytes,
    assignment: Assignment,
    samples: Sequence[Arrays],
    reach: Reach = NOTHING,
) -> bytes:
    """Return a float ``model`` that computes the same, with channels scaled for int8 blocks of an assignment.

    What a block makes is not scaled: it may be int8 itself.
    """
    blocks = find_blocks(model)
    settled = choices(blocks, assignment)
    made = {name for block in blocks for name in block.outputs}
    read = {name for block in blocks if settled[block.name].ranged and block.weights for name in block.inputs}
    return scale_inputs(model, _reaches(component, model, dense_inputs(model, read - made), samples, reach))


def _reaches(
    component: Component, model: bytes, names: frozenset[str], samples: Sequence[Arrays], reach: Reach
) -> Reaches:
    """Watch the channels of the named tensors while ``component``, as the ``model`` has it, runs."""
    seen = extents(component, model, samples, names)
    found = {name: np.maximum(-low, high).astype(np.float64) for name, (low, high) in seen.items()}
    return {name: np.maximum(here, reach.channels.get(name, here)) for name, here in found.items()}
