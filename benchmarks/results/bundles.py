"""Two bundles side by side: what each says of the same inputs, and what each weighs."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from mien.benchmarks.pipeline import models_of_app
from mien.mobile_reference.bundle.reader import Bundle, Golden, face_front, size_of
from mien.mobile_reference.contract import PipelineSpec
from mien.mobile_reference.errors import MienError, UsageError
from mien.mobile_reference.front.photograph import read_photograph
from mien.mobile_reference.metrics import error_of
from mien.mobile_reference.output.json_text import finite_or_none
from mien.mobile_reference.output.text import path_text, shown
from mien.mobile_reference.run.runner import BundleRunner

Tensors = Mapping[str, NDArray[Any]]
Ask = Callable[[BundleRunner], Tensors]
"""Gives one input to a variant of a bundle, and returns what it answers."""


@dataclass(frozen=True)
class Shift:
    """What two variants say of one input.

    ``old`` and ``new`` are the scores, none where the pipeline's rating is not one value. ``shift`` is how
    far the answers are apart by the first gate: infinite where only one of the two answers, not a number
    where neither does, and ``problem`` says why.
    """

    input: str
    old: float | None
    new: float | None
    shift: float
    problem: str = ""

    def crosses(self, threshold: float) -> bool:
        """Tell whether the scores lie on two sides of a threshold; what lies on it counts as above."""
        if self.old is None or self.new is None:
            return False
        return (self.old < threshold) != (self.new < threshold)


@dataclass(frozen=True)
class VariantChange:
    """One variant of both bundles: the bytes of what an app runs, and a shift for every input."""

    variant: str
    old_bytes: int
    new_bytes: int
    shifts: tuple[Shift, ...]

    @property
    def judged(self) -> tuple[Shift, ...]:
        """The inputs of which at least one bundle says something."""
        return tuple(shift for shift in self.shifts if not math.isnan(shift.shift))

    @property
    def largest(self) -> Shift:
        """The largest shift."""
        return max(self.judged, key=lambda shift: shift.shift)

    def beyond(self, most: float) -> tuple[Shift, ...]:
        """Return the shifts of more than ``most``."""
        return tuple(shift for shift in self.judged if not shift.shift <= most)

    def crossing(self, threshold: float) -> tuple[Shift, ...]:
        """Return the shifts across a threshold."""
        return tuple(shift for shift in self.shifts if shift.crosses(threshold))


def compared_variants(old: Bundle, new: Bundle, names: Sequence[str]) -> tuple[str, ...]:
    """Return the variants to compare: those of ``names``, or all that both bundles have.

    Raises:
        UsageError: one has no such variant, or they share none.
    """
    for bundle in (old, new):
        for name in names:
            bundle.variant(name)
    theirs = {variant.name for variant in new.variants}
    shared = tuple(variant.name for variant in old.variants if variant.name in theirs)
    if not shared:
        raise UsageError(
            f"the bundles share no variant: {old.path} has {_names(old)}, {new.path} has {_names(new)}"
        )
    return tuple(dict.fromkeys(names)) or shared


def _names(bundle: Bundle) -> str:
    return ", ".join(variant.name for variant in bundle.variants)


def inputs_of(old: Bundle, new: Bundle, photographs: Sequence[Path]) -> dict[str, Ask]:
    """Return what is put to both bundles, by name: ``photographs``, or the golden inputs of the old one.

    Raises:
        UsageError: the bundles take other inputs, or no photographs.
    """
    if photographs:
        for bundle in (old, new):
            face_front(bundle.spec)
        return {path_text(path): partial(_rate_photograph, path) for path in photographs}
    if old.spec.tensors_of(old.spec.inputs) != new.spec.tensors_of(new.spec.inputs):
        raise UsageError(
            f"{new.path} takes other inputs than {old.path}; name photographs, if both take some"
        )
    return {golden.name: _asked(golden, new.spec) for golden in old.goldens}


def _asked(golden: Golden, other: PipelineSpec) -> Ask:
    if golden.source is not None and golden.spec.front and other.front:
        return partial(_rate_photograph, golden.source)
    return lambda runner: runner.rate(golden.inputs())


def _rate_photograph(path: Path, runner: BundleRunner) -> Tensors:
    return runner.appraise(read_photograph(path)).tensors


def compare_variant(
    old: Bundle, new: Bundle, variant: str, inputs: Mapping[str, Ask], progress: Callable[[str], None]
) -> VariantChange:
    """Put every input to a variant of both bundles.

    Raises:
        UsageError: neither bundle has an answer to any input, so nothing was compared.
    """
    runners = BundleRunner(old, variant), BundleRunner(new, variant)
    shifts = []
    for name, ask in inputs.items():
        shifts.append(_shift(name, ask, *runners))
        progress(f"{variant}: {name}")
    if all(math.isnan(shift.shift) for shift in shifts):
        raise UsageError(f"nothing was compared, for neither bundle rates an input; {shifts[0].problem}")
    return VariantChange(variant, _bytes(old, variant), _bytes(new, variant), tuple(shifts))


def _shift(name: str, ask: Ask, old: BundleRunner, new: BundleRunner) -> Shift:
    problems: list[str] = []
    answers = [_answer(ask, runner, problems) for runner in (old, new)]
    first, second = (_score(runner.spec, answer) for runner, answer in zip((old, new), answers, strict=True))
    one, other = answers
    if one is not None and other is not None:
        return Shift(name, first, second, _apart(old.spec, one, other))
    return Shift(name, first, second, math.nan if one is other else math.inf, shown(problems[0]))


def _apart(spec: PipelineSpec, one: Tensors, other: Tensors) -> float:
    """Return how far two answers are apart; infinite where that cannot be told, so that it never passes."""
    tensor = spec.rating.tensor
    if one[tensor].shape != other[tensor].shape:
        return math.inf
    found = error_of(spec, {tensor: one[tensor]}, {tensor: other[tensor]})
    return found if math.isfinite(found) else math.inf


def _answer(ask: Ask, runner: BundleRunner, problems: list[str]) -> Tensors | None:
    try:
        return ask(runner)
    except MienError as error:
        problems.append(str(error))
        return None


def _score(spec: PipelineSpec, tensors: Tensors | None) -> float | None:
    tensor = spec.tensor(spec.rating.tensor)
    return None if tensors is None or tensor.values != 1 else float(tensors[tensor.name].reshape(-1)[0])


def _bytes(bundle: Bundle, variant: str) -> int:
    files = bundle.variant(variant).files
    return sum(size_of(files[model.name]) for model in models_of_app(bundle.spec))


def check_alike(old: Bundle, new: Bundle) -> None:
    """Find out whether the two say the same kind of thing.

    Raises:
        UsageError: their first gates judge other tensors, or in another way.
    """
    one, other = (bundle.spec.rating for bundle in (old, new))
    if (one.tensor, one.metric) != (other.tensor, other.metric):
        raise UsageError(
            f"{old.path} is rated by {one.metric} of {one.tensor}, {new.path} by {other.metric} of "
            f"{other.tensor}; compare bundles of one pipeline"
        )


def record(changes: Sequence[VariantChange], threshold: float | None, most: float | None) -> Iterator[Any]:
    """Describe every variant as JSON; null stands for what is not a number."""
    for change in changes:
        yield {
            "variant": change.variant,
            "bytes": {"old": change.old_bytes, "new": change.new_bytes},
            "largest_shift": finite_or_none(change.largest.shift),
            "largest_input": change.largest.input,
            "crossings": None if threshold is None else [one.input for one in change.crossing(threshold)],
            "beyond": None if most is None else [one.input for one in change.beyond(most)],
            "inputs": [
                {
                    "input": shift.input,
                    "old": shift.old,
                    "new": shift.new,
                    "shift": finite_or_none(shift.shift),
                    "problem": shift.problem or None,
                }
                for shift in change.shifts
            ],
        }
