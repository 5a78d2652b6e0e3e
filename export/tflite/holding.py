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

# What gates allow int8 that state no limit: of an output's span, and what its correlation lacks to 1; of the
# places of an output of whole numbers.
_ERROR, _LACKING, _CHANGED = 0.05, 0.01, 0.05
# How much of that inputs may err by ranges of their own, since the golden ones are others, and by ranges of
# others, which are half as many as the ranges that ship come from.
_BY_OWN, _BY_OTHERS = 0.9, 2.0
_HALVES = (slice(0, None, 2), slice(1, None, 2))
_Part = tuple[Sequence[Arrays], Sequence[Arrays], Sequence[Arrays]]
"""Samples that give ranges, the same behind the stages before, and the samples to judge."""


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

    By ranges of its own no sample is ever cut off. So each half is judged by those of the other half too.
    """
    own = _far(component, model, assignment, rounded, [(samples, downstream, samples)]) / _BY_OWN
    if own > 1 or len(samples) < len(_HALVES):
        return own
    halves = [(samples[one], downstream[one], samples[other]) for one, other in (_HALVES, _HALVES[::-1])]
    return max(own, _far(component, model, assignment, rounded, halves) / _BY_OTHERS)


def _far(
    component: Component, model: Path, assignment: Assignment, rounded: Roundings, parts: Sequence[_Part]
) -> float:
    """Return how far the outputs of all parts are from float's, in units of what gates allow."""
    exact: dict[str, list[NDArray[Any]]] = {name: [] for name in component.outputs}
    made: dict[str, list[NDArray[Any]]] = {name: [] for name in component.outputs}
    for given, downstream, judged in parts:
        seen = seen_by_converted(component, model, assignment, rounded, given, downstream)
        found = room_for_others(seen, model.read_bytes(), len(given))
        runner = Runner(quantise(model, assignment, found, rounded))
        for sample in judged:
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


def _error(exact: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    span = float(np.ptp(exact))
    if span == 0:
        return 0.0 if np.array_equal(exact, other) else float(np.abs(exact - other).max() / 1e-6)
    apart = float(np.abs(exact - other).max()) / span / _ERROR
    if exact.size < 3 or not np.ptp(other):
        return apart
    return max(apart, (1 - float(np.corrcoef(exact, other)[0, 1])) / _LACKING)
