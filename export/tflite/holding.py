"""Which blocks of a model hold in int8, where nobody has chosen precisions.

All of them, if what the model gives then stays near what it gives in float. Else the last ones stay float, as
few as are needed: nothing behind them evens their errors out.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.export.component import Component
from mien.export.weights.gptq import Roundings
from mien.export.whole_numbers import share_changed

from .blocks import find_blocks
from .interpreter import Runner
from .needed import room_for_others
from .precision import HALF, REST, Assignment, Choice, Precision
from .quantise import quantise, seen_by_converted
from .ranges import Arrays, Method

# Of an output's span, and its correlation with float's: nine tenths of what gates allow int8 that state no
# limit, for the golden inputs are others again.
_ERROR, _CORRELATION = 0.045, 0.991
# Of the places of an output of whole numbers.
_CHANGED = 0.05
# Samples are dealt out to so many parts.
_PARTS = 2


def holding_assignment(
    component: Component,
    model: Path,
    rounded: Roundings,
    samples: Sequence[Arrays],
    downstream: Sequence[Arrays],
) -> tuple[dict[str, Choice], list[str]]:
    """Choose the precisions of a model's int8 variant, and say which blocks stay float.

    Ranges reach every value that was seen where that holds: what another method cuts off is rare among the
    samples, and may be all that matters of another input. Else the method is taken that errs least.
    ``downstream`` is what the model is given behind the converted stages before it.
    """
    if not component.quantise:
        return {REST: HALF}, []
    tried = {}
    for method in Method:
        alike = {REST: Choice(Precision.INT8, method)}
        tried[method] = _excess(component, model, alike, rounded, samples, downstream)
        if tried[Method.MIN_MAX] <= 1:
            break
    best = min(tried, key=lambda method: tried[method])
    everywhere = {REST: Choice(Precision.INT8, best)}
    if tried[best] <= 1:
        return everywhere, []
    weighted = [block.name for block in find_blocks(model.read_bytes()) if block.weights]
    for count in _doubled(len(weighted)):
        floats = weighted[-count:]
        assignment = {**everywhere, **dict.fromkeys(floats, HALF)}
        if _excess(component, model, assignment, rounded, samples, downstream) <= 1:
            break
    return assignment, [f"{name} stays float: in int8 it costs the outputs too much" for name in floats]


def _doubled(most: int) -> Iterator[int]:
    count = 1
    while count < most:
        yield count
        count *= 2
    yield most


def _excess(
    component: Component,
    model: Path,
    assignment: Assignment,
    rounded: Roundings,
    samples: Sequence[Arrays],
    downstream: Sequence[Arrays],
) -> float:
    """Return the largest error of any output in units of what is allowed; infinity if it is not a number.

    Each half of the samples is judged by ranges that the other half gave: no sample errs by being cut off at
    ranges of its own, and other inputs do.
    """
    content = model.read_bytes()
    exact: dict[str, list[NDArray[Any]]] = {name: [] for name in component.outputs}
    made: dict[str, list[NDArray[Any]]] = {name: [] for name in component.outputs}
    for first in range(_PARTS):
        given, others = _without(samples, first), samples[first::_PARTS]
        seen = seen_by_converted(component, model, assignment, rounded, given, _without(downstream, first))
        found = room_for_others(seen, content, len(given))
        runner = Runner(quantise(model, assignment, found, rounded))
        for sample in others:
            outputs = runner.run([sample[name] for name in component.inputs])
            for name, output in zip(component.outputs, outputs, strict=True):
                exact[name].append(sample[name].ravel())
                made[name].append(output.ravel())
    errors = []
    for name in component.outputs:
        ours, other = np.concatenate(exact[name]), np.concatenate(made[name])
        far = _error(ours.astype(np.float64), other.astype(np.float64))
        errors.append(min(far, share_changed(ours, other) / _CHANGED))
    worst = max(errors)
    return worst if np.isfinite(worst) else np.inf


def _without(samples: Sequence[Arrays], first: int) -> list[Arrays]:
    """Leave out the samples of one part, unless nothing were left."""
    return [one for place, one in enumerate(samples) if place % _PARTS != first] or list(samples)


def _error(exact: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    span = float(np.ptp(exact))
    if span == 0:
        return 0.0 if np.array_equal(exact, other) else float(np.abs(exact - other).max() / 1e-6)
    apart = float(np.abs(exact - other).max()) / span / _ERROR
    if exact.size < 3 or not np.ptp(other):
        return apart
    return max(apart, (1 - float(np.corrcoef(exact, other)[0, 1])) / (1 - _CORRELATION))
