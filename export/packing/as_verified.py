"""What ``mien verify`` says of a bundle before anybody has it: what it would fail is not packed.

Variants are chosen by what an app runs, which may hold where a stage on its own does not: an error that a
stage makes can be undone by the next one, and a composed model may round elsewhere than its stages do.
"""

from collections.abc import Iterator, Mapping, Sequence

from mien.mobile_reference.bundle.reader import Bundle
from mien.mobile_reference.metrics import Metric
from mien.mobile_reference.report.steps import Progress, Step
from mien.mobile_reference.run.threads import usable_cores
from mien.mobile_reference.verify.stages import PAIR, StageResult, Verification, comparisons, verify
from mien.mobile_reference.verify.stages_tables import failure_line
from mien.mobile_reference.verify.weights import WeightsResult


def unfit(bundle: Bundle, metrics: Mapping[str, Metric], progress: Progress) -> dict[str, tuple[str, ...]]:
    """Say by variant what of it does not hold: a stage, the chain of them, its weights.

    Of two variants that are too far apart the looser one is named, unless one of them is named already.
    """
    # The last part is what verify does after its comparisons: weights, and stages left out.
    step = Step("verifying", comparisons(bundle) + 1, progress)
    found = verify(bundle, lambda _: step.done(), metrics=metrics, jobs=usable_cores())
    step.done()
    told: dict[str, tuple[str, ...]] = {}
    for name, reason in _failing(found):
        told[name] = (*told.get(name, ()), reason)
    for pair in found.platforms:
        names = pair.variant.split(PAIR)
        if pair.passed is False and told.keys().isdisjoint(names):
            told[_looser(bundle, found, names)] = (failure_line(pair),)
    return told


def _failing(found: Verification) -> Iterator[tuple[str, str]]:
    judged: tuple[StageResult | WeightsResult, ...] = (*found.results, *found.weights)
    for result in judged:
        if result.passed is False:
            yield result.variant, failure_line(result).removeprefix(f"{result.variant}: ")


def _looser(bundle: Bundle, found: Verification, names: Sequence[str]) -> str:
    served = bundle.spec.served[-1].name
    losses = {
        one.variant: one.loss or 0.0
        for one in found.results
        if (one.stage, one.gate) == (served, bundle.spec.rating)
    }
    return max(names, key=lambda name: (bundle.variant(name).tolerance, losses[name]))
