"""Which blocks of a model hold in int8, where nobody has chosen precisions.

All of them, if what the model gives then stays near what it gives in float. Else the last ones stay float, as
few as are needed: nothing behind them evens their errors out.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
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
_ALL = slice(None)
_HALVES = (slice(0, None, 2), slice(1, None, 2))
_TOO_MUCH = "in int8 it costs the outputs too much"
_CUT_OFF = "ranges of half of the inputs cut the others off too much, so more calibration inputs may help"


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
    trial, tried = _Trial(component, model, rounded, samples, downstream), {}
    for method in Method:
        tried[method] = trial.excess({REST: Choice(Precision.INT8, method)})
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
        if trial.excess(assignment) <= 1:
            break
    why = _CUT_OFF if trial.by_own(everywhere) <= 1 else _TOO_MUCH
    return assignment, [f"{name} stays float: {why}" for name in floats]


def _doubled(most: int) -> Iterator[int]:
    count = 1
    while count < most:
        yield count
        count *= 2
    yield most


@dataclass(frozen=True)
class _Trial:
    """A model, and what its assignments are tried with; ``downstream`` belongs to ``samples`` one by one."""

    component: Component
    model: Path
    rounded: Roundings
    samples: Sequence[Arrays]
    downstream: Sequence[Arrays]

    def excess(self, assignment: Assignment) -> float:
        """Return the largest error of any output in units of what is allowed, infinity for NaN.

        By ranges of its own no sample is ever cut off. So each half is judged by those of the other half too.
        """
        own = self.by_own(assignment)
        if own > 1 or len(self.samples) < len(_HALVES):
            return own
        return max(own, self._far(assignment, [_HALVES, _HALVES[::-1]]) / _BY_OTHERS)

    def by_own(self, assignment: Assignment) -> float:
        """Return the excess of the samples by the ranges that they give themselves."""
        return self._far(assignment, [(_ALL, _ALL)]) / _BY_OWN

    def _far(self, assignment: Assignment, parts: Sequence[tuple[slice, slice]]) -> float:
        """Return how far outputs are from float's, in units of what gates allow.

        Of each part the first samples give the ranges, and the others are judged.
        """
        exact: dict[str, list[NDArray[Any]]] = {name: [] for name in self.component.outputs}
        made: dict[str, list[NDArray[Any]]] = {name: [] for name in self.component.outputs}
        for ranging, judged in parts:
            runner = self._quantised(assignment, ranging)
            for sample in self.samples[judged]:
                outputs = runner.run([sample[name] for name in self.component.inputs])
                for name, output in zip(self.component.outputs, outputs, strict=True):
                    exact[name].append(sample[name].ravel())
                    made[name].append(output.ravel())
        errors = []
        for name in self.component.outputs:
            ours, other = np.concatenate(exact[name]), np.concatenate(made[name])
            far = _error(ours.astype(np.float64), other.astype(np.float64))
            errors.append(min(far, share_changed(ours, other) / _CHANGED))
        worst = max(errors)
        return worst if np.isfinite(worst) else np.inf

    def _quantised(self, assignment: Assignment, ranging: slice) -> Runner:
        given, downstream = self.samples[ranging], self.downstream[ranging]
        seen = seen_by_converted(self.component, self.model, assignment, self.rounded, given, downstream)
        found = room_for_others(seen, self.model.read_bytes(), len(given))
        return Runner(quantise(self.model, assignment, found, self.rounded))


def _error(exact: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    span = float(np.ptp(exact))
    if span == 0:
        return 0.0 if np.array_equal(exact, other) else float(np.abs(exact - other).max() / 1e-6)
    apart = float(np.abs(exact - other).max()) / span / _ERROR
    if exact.size < 3 or not np.ptp(other):
        return apart
    return max(apart, (1 - float(np.corrcoef(exact, other)[0, 1])) / _LACKING)
