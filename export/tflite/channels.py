"""A float graph made ready for int8: what dense layers read has channels of one reach."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mien.export.component import Component
from mien.export.weights.gptq import Roundings
from mien.mobile_reference.tflite.litert import Kernels

from .blocks import find_blocks
from .graph_moments import round_graph
from .interpreter import Runner
from .passes.scale_inputs import Reaches, dense_inputs, scale_inputs
from .precision import Assignment, choices
from .quantise import rounding_lost
from .ranges import Arrays


def made_ready(
    component: Component, model: Path, assignment: Assignment, known: Roundings, samples: Sequence[Arrays]
) -> tuple[Path, Roundings]:
    """Write a float model beside ``model`` that is ready for int8, and return it with its rounded weights.

    Those are the ``known`` ones, and the ones of the layers that were changed.
    """
    before = model.read_bytes()
    after = with_scaled_inputs(component, before, assignment, samples) if component.quantise else before
    ready = model.with_suffix(".int8.tflite")
    ready.write_bytes(after)
    lost = rounding_lost(before, after, assignment, known)
    return ready, {**known, **round_graph(component, after, samples, lost)} if lost else known


def with_scaled_inputs(
    component: Component, model: bytes, assignment: Assignment, samples: Sequence[Arrays]
) -> bytes:
    """Return a float ``model`` that computes the same, with channels scaled for int8 blocks of an assignment.

    What a block makes is not scaled: it may be int8 itself.
    """
    blocks = find_blocks(model)
    settled = choices(blocks, assignment)
    made = {name for block in blocks for name in block.outputs}
    read = {name for block in blocks if settled[block.name].ranged and block.weights for name in block.inputs}
    return scale_inputs(model, _reaches(component, model, dense_inputs(model, read - made), samples))


def _reaches(component: Component, model: bytes, names: frozenset[str], samples: Sequence[Arrays]) -> Reaches:
    """Watch the channels of the named tensors while ``component``, as the ``model`` has it, runs."""
    if not names:
        return {}
    runner = Runner(model, Kernels.LITERT)
    found: dict[str, NDArray[np.float64]] = {}
    for sample in samples:
        runner.run([sample[name] for name in component.inputs])
        for name, values in runner.tensors(names).items():
            reach = np.abs(values).reshape(-1, values.shape[-1]).max(axis=0).astype(np.float64)
            found[name] = np.maximum(found.get(name, reach), reach)
    return found
