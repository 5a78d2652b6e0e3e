"""The search for the cheapest precision of every block that keeps the score.

First every block is quantised alone, the rest in float32, and the score error over the calibration faces is
what it costs. Then blocks are taken in the order of gain for cost, as many as the budget bears: each step
measures a real model (``measuring``).
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mien.export.tflite.blocks import Block, find_blocks
from mien.export.tflite.precision import BYTES, HALF, REST, WHOLE, Assignment, Choice, Precision
from mien.export.tflite.ranges import Method
from mien.mobile_reference.report.steps import Progress

from .trials import Bench, Measured, Model, Ranges, SearchedModel

WEIGHTS = Choice(Precision.WEIGHTS)
EIGHTS = tuple(Choice(Precision.INT8, method) for method in Method)
SIXTEEN = Choice(Precision.INT16)
# A block that costs so small a part of the budget is not tried with other ranges.
_CHEAP = 0.01
# A block that could save so small a share is left alone.
_SMALL = 0.005
# Blocks are tried alone on so many faces: those that rounding moves most.
_TOUCHY = 16
# What float16 weights may take of the budget when int8 is to come: the few that cost more save least. And
# what int8 may take when int8 weights are to come, which cost little.
_HALF_SHARE, _EIGHT_SHARE = 0.1, 0.7
# How many blocks beyond the first that does not fit are tried one by one.
_LATE = 6
# Percentile and least squares cut what few faces reach, and other faces reach further: they have to err less
# than half as much as least and greatest value do.
_PROVEN = 0.5
# What fits must fit with all of these, since other faces give other ranges. Those of an export take a minute
# to find, so they are tried once at the end.
_OTHERS = (Ranges.FOUND, Ranges.WIDER, Ranges.NARROWER)
# What a multiplication in int16 loses, in units of what int8 wins by dot products: XNNPACK has no kernels for
# int16 activations, and LiteRT's own took 1,102 ms where float32 took 47 and int8 26
# (tests/export/int16_activations.py).
_INT16_LOSS = (1102 - 47) / (47 - 26)


@dataclass(frozen=True)
class Trial:
    """One block quantised alone: signed errors of the score by face, in points.

    ``gain`` is the share of bytes that it saves and that of multiplications that become fast, less those that
    become slow.
    """

    block: Block
    choice: Choice
    errors: tuple[float, ...]
    gain: float

    @property
    def cost(self) -> float:
        """The root mean square error: the worst faces weigh most."""
        return math.sqrt(sum(error**2 for error in self.errors) / len(self.errors))

    @property
    def worst(self) -> float:
        """The largest error."""
        return max(map(abs, self.errors))


@dataclass(frozen=True)
class Outcome:
    """What a search found.

    ``trials`` are the best of every block, dearest last; ``mean`` and ``worst`` are errors of the model with
    the ``assignment``, of ``bytes``, the worst with stretched ranges too; ``integer`` is the share of
    multiplications that it does in int8.
    """

    assignment: Assignment
    trials: tuple[Trial, ...]
    budget: float
    mean: float
    worst: float
    bytes: int
    integer: float


class Search:
    """One search: ``budget`` is the largest error of the score over the faces, in points.

    Of a ``known`` assignment the choice for what is not named is kept.
    """

    def __init__(
        self, subject: SearchedModel, bench: Bench, budget: float, progress: Progress, known: Assignment
    ) -> None:
        # The others follow these.
        self.blocks = [block for block in find_blocks(subject.model.read_bytes()) if block.weights]
        self.bench = bench
        self.budget = budget
        self.progress = progress
        rest = {name: choice for name, choice in known.items() if name == REST}
        self.whole: Assignment = {block.name: WHOLE for block in self.blocks} | rest
        self.halved: Assignment = {block.name: HALF for block in self.blocks} | rest
        both = [Model(self.whole), Model(self.halved)]
        exact, halved = self._scores(both, "rating in float32 and in float16")
        self.exact = np.array(exact.scores)
        # A stable order, so that two searches try the same faces.
        moved = np.abs(np.array(halved.scores) - self.exact)
        self.touchy = tuple(sorted(np.argsort(-moved, kind="stable")[:_TOUCHY].tolist()))

    def halves(self, budget: float) -> tuple[Assignment, tuple[Trial, ...]]:
        """Give float16 weights to as many blocks as ``budget`` bears."""
        if self._worst(self.halved, "all weights in float16") <= budget:
            return self.halved, ()
        trials = self._alone((HALF,), self.blocks, "float16")
        return self._fill(self.whole, trials, budget), trials

    def eights(self, base: Assignment) -> tuple[Assignment, tuple[Trial, ...]]:
        """Make as many blocks int8 as their share of the budget bears, the others as in ``base``."""
        first = self._alone(EIGHTS[:1], self._worthy(EIGHTS[0]), EIGHTS[0])
        dear = [trial.block for trial in first if trial.cost > _CHEAP * self.budget]
        others = [trial for choice in EIGHTS[1:] for trial in self._alone((choice,), dear, choice)]
        trials = tuple(_proven(trial, [o for o in others if o.block == trial.block]) for trial in first)
        return self._fill(base, trials, _EIGHT_SHARE * self.budget), trials

    def sixteens(self, base: Assignment) -> tuple[Assignment, tuple[Trial, ...]]:
        """Give int16 activations to blocks that int8 costs too much, where they gain by it."""
        left = [block for block in self.blocks if not base[block.name].ranged]
        trials = self._alone((SIXTEEN,), left, SIXTEEN)
        return self._fill(base, [trial for trial in trials if trial.gain >= _SMALL], self.budget), trials

    def stored(self, base: Assignment) -> tuple[Assignment, tuple[Trial, ...]]:
        """Store the weights of blocks that do not compute in int8 in it, as many as the budget bears."""
        left = [block for block in self._worthy(WEIGHTS) if not base[block.name].ranged]
        trials = self._alone((WEIGHTS,), left, WEIGHTS)
        return self._fill(base, trials, self.budget), trials

    def better(self, found: Assignment, known: Assignment) -> Assignment:
        """Return the one that gains more; a ``known`` one must be of the same blocks and keep the budget."""
        if known.keys() != self.whole.keys() or self._total(known) <= self._total(found):
            return found
        return known if self._worst(known, "what is stored") <= self.budget else found

    def settled(self, found: Assignment, trials: Iterable[Trial]) -> Assignment:
        """Take int8 back from the dearest blocks until the budget holds with the ranges of an export, too."""
        for trial in sorted(trials, key=self._order, reverse=True):
            if self._worst(found, "with the ranges of an export", tuple(Ranges)) <= self.budget:
                break
            if found[trial.block.name].ranged:
                found = {**found, trial.block.name: WEIGHTS}
        return found

    def _worthy(self, choice: Choice) -> list[Block]:
        """List the blocks that save enough by a choice."""
        return [block for block in self.blocks if self._gain(block, choice) >= _SMALL]

    def outcome(self, assignment: Assignment, trials: Iterable[Trial]) -> Outcome:
        """Sum up what was found."""
        (measured,) = self._scores([Model(assignment)], "the model that was found")
        errors = np.abs(np.array(measured.scores) - self.exact)
        integer = sum(b.macs for b in self.blocks if assignment[b.name].precision is Precision.INT8)
        return Outcome(
            assignment=assignment,
            trials=tuple(sorted(trials, key=self._order)),
            budget=self.budget,
            mean=float(errors.mean()),
            worst=self._worst(assignment, "the same with all ranges", tuple(Ranges)),
            bytes=measured.bytes,
            integer=integer / sum(block.macs for block in self.blocks),
        )

    def _alone(self, choices: Sequence[Choice], blocks: Sequence[Block], title: object) -> tuple[Trial, ...]:
        pairs = [(block, choice) for block in blocks for choice in choices]
        models = [Model({**self.whole, block.name: choice}) for block, choice in pairs]
        found = self._scores(models, f"one block at a time, {title}", self.touchy)
        exact = self.exact[list(self.touchy)]
        return tuple(
            Trial(block, choice, tuple((np.array(one.scores) - exact).tolist()), self._gain(block, choice))
            for (block, choice), one in zip(pairs, found, strict=True)
        )

    def _fill(self, base: Assignment, trials: Iterable[Trial], budget: float) -> Assignment:
        """Take trials in the order of gain for cost, as many as the budget bears."""
        ordered = sorted(trials, key=self._order)

        def first(count: int) -> Assignment:
            return {**base, **{trial.block.name: trial.choice for trial in ordered[:count]}}

        fits, fails = 0, len(ordered) + 1
        while fails - fits > 1:
            middle = (fits + fails) // 2
            if self._worst(first(middle), f"the {middle} cheapest blocks") <= budget:
                fits = middle
            else:
                fails = middle
        taken = first(fits)
        for trial in ordered[fits + 1 : fits + 1 + _LATE]:
            more = {**taken, trial.block.name: trial.choice}
            if self._worst(more, f"and {trial.block.name}") <= budget:
                taken = more
        return taken

    def _order(self, trial: Trial) -> float:
        """Cost for gain; what gains nothing is dear at any cost."""
        return max(trial.cost, _CHEAP * self.budget) / trial.gain if trial.gain > 0 else math.inf

    def _gain(self, block: Block, choice: Choice) -> float:
        """Add the share of bytes that is saved and that of multiplications that are won."""
        weights = sum(each.weights for each in self.blocks)
        macs = sum(each.macs for each in self.blocks)
        saved = 1 - BYTES[choice.precision] / BYTES[Precision.FLOAT32]
        return block.weights / weights * saved + _won(block, choice.precision) / macs

    def _total(self, assignment: Assignment) -> float:
        return sum(self._gain(block, assignment[block.name]) for block in self.blocks)

    def _worst(self, assignment: Assignment, title: str, ranges: Sequence[Ranges] = _OTHERS) -> float:
        """Measure the largest error, whatever the ranges; not a number counts as none that fits."""
        # Without int8 there are no ranges.
        kinds = ranges if any(choice.ranged for choice in assignment.values()) else (Ranges.FOUND,)
        measured = self._scores([Model(assignment, kind) for kind in kinds], title)
        worst = float(np.abs(np.array([one.scores for one in measured]) - self.exact).max())
        return math.inf if math.isnan(worst) else worst

    def _scores(self, models: Sequence[Model], title: str, faces: tuple[int, ...] = ()) -> list[Measured]:
        """Rate some faces, or all of them, with many models."""

        def report(done: int) -> None:
            self.progress(title, done, len(models))

        return self.bench.measure(models, faces, report)


def _won(block: Block, precision: Precision) -> float:
    """Return the multiplications that become fast, less those that become slow.

    Dot products do those of dense convolutions in int8; a depthwise one needs as many instructions as in
    float.
    """
    match precision:
        case Precision.INT8:
            return block.dense
        case Precision.INT16:
            return -_INT16_LOSS * block.macs
        case _:
            return 0


def _proven(trial: Trial, others: Sequence[Trial]) -> Trial:
    """Return the trial of other ranges that costs least, if it costs little enough."""
    best = min(others, key=lambda other: other.cost, default=trial)
    return best if best.cost < _PROVEN * trial.cost else trial


def search_precision(
    subject: SearchedModel, budget: float, known: Assignment, workers: int, progress: Progress
) -> Outcome:
    """Find the cheapest precision of every block whose largest score error is at most ``budget`` points.

    Steps that each gain most may miss the best end, so a ``known`` assignment is given a chance too.
    """
    with Bench(subject, workers) as bench:
        search = Search(subject, bench, budget, progress, known)
        base, _ = search.halves(_HALF_SHARE * budget)
        base, trials = search.eights(base)
        base, wide = search.sixteens(base)
        stored, weights = search.stored(base)
        found = search.settled(search.better(stored, known), trials)
        return search.outcome(found, (*trials, *wide, *weights))


def search_halves(
    subject: SearchedModel, budget: float, known: Assignment, workers: int, progress: Progress
) -> Outcome:
    """Find which weights can be float16 when the largest score error is at most ``budget`` points."""
    with Bench(subject, workers) as bench:
        search = Search(subject, bench, budget, progress, known)
        assignment, trials = search.halves(budget)
        return search.outcome(assignment, trials)


def explain(outcome: Outcome) -> list[dict[str, Any]]:
    """List every block that was tried: its choice, and what the one tried would cost and gain there."""
    return [
        {
            "block": trial.block.name,
            "chosen": str(outcome.assignment[trial.block.name]),
            "tried": str(trial.choice),
            "cost": trial.cost,
            "worst": trial.worst,
            "gain": trial.gain,
            "weights": trial.block.weights,
            "macs": trial.block.macs,
        }
        for trial in outcome.trials
    ]
