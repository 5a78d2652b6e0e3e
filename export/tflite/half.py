"""The TFLite variant that asks for half-float arithmetic.

A half float has eleven binary digits and ends at 65504. The graph is rewritten so that it needs no more of
either than it must, all of it equal in float32; what half floats cannot hold is named.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from mien.export.component import Component
from mien.mobile_reference.tflite.flatbuffer import activation_ranks, following_inputs, looked_into
from mien.mobile_reference.tflite.litert import Kernels

from .interpreter import Runner
from .passes.ask_for_half import ask_for_half
from .passes.centre_depthwise import DEPTHWISE, Channels, Values, centre_depthwise
from .passes.shift_first import shift_first
from .precision import Assignment
from .products import products
from .quantise import quantise
from .ranges import Arrays, Range

_GREATEST = float(np.finfo(np.float16).max)
_LEAST = float(np.finfo(np.float16).tiny)
# Other inputs reach further than those that were seen.
_ROOM = 2.0
# Means and ranges settle after some inputs, and every one takes a run that keeps all tensors.
_ENOUGH = 8


def half_floats(
    component: Component, model: Path, assignment: Assignment, samples: Sequence[Arrays]
) -> tuple[bytes, list[str]]:
    """Make the half-float variant of a float ``model``; also returns what half floats cannot hold.

    Weights are stored as the ``assignment`` of the variant with float16 weights says, since where there are
    no half-float kernels it computes what that variant does. The samples tell of means and ranges.
    """
    content = model.read_bytes()
    channels, ranges = _seen(component, content, samples[:_ENOUGH])
    ready = model.with_name("half.tflite")
    ready.write_bytes(shift_first(centre_depthwise(content, channels)))
    varying = following_inputs(content)
    warnings = out_of_half({name: ends for name, ends in ranges.items() if name in varying})
    return ask_for_half(quantise(ready, assignment, {}, {})), list(warnings)


def out_of_half(ranges: Mapping[str, Range]) -> Iterator[str]:
    """Say which tensors could leave the range of half floats, and which lie wholly below it."""
    for name, (low, high) in sorted(ranges.items()):
        reach = float(np.abs([low, high]).max())
        if not reach * _ROOM <= _GREATEST:
            yield f"{name} reaches {reach:.3g}, too near to {_GREATEST:g}, where half floats end"
        elif 0 < reach < _LEAST:
            yield f"{name} reaches {reach:.3g} only, where half floats lose digits"


def _seen(component: Component, model: bytes, samples: Sequence[Arrays]) -> tuple[Channels, dict[str, Range]]:
    """Watch a float model: the channels of what depthwise convolutions read, and the ends of every tensor."""
    runner = Runner(model, Kernels.LITERT)
    every = frozenset(activation_ranks(model))
    depthwise = {one.source for one in products(looked_into(model)) if one.kind == DEPTHWISE}
    parts: dict[str, list[tuple[Values, Values]]] = {}
    ends: dict[str, Range] = {}
    for sample in samples:
        runner.run([sample[name] for name in component.inputs])
        for name, values in runner.tensors(every).items():
            low, high = ends.get(name, (0.0, 0.0))
            # Which keep what is not a number.
            ends[name] = float(np.minimum(low, values.min())), float(np.maximum(high, values.max()))
            if name in depthwise:
                places = values.reshape(-1, values.shape[-1]).astype(np.float64)
                parts.setdefault(name, []).append((places.mean(axis=0), places.var(axis=0)))
    return {name: _joined(found) for name, found in parts.items()}, ends


def _joined(parts: Collection[tuple[Values, Values]]) -> tuple[Values, Values]:
    """Return mean and variance over equally many places of several inputs."""
    means, variances = (np.array(column) for column in zip(*parts, strict=True))
    return means.mean(axis=0), variances.mean(axis=0) + means.var(axis=0)
