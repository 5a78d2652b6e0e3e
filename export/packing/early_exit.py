"""Whether a variant may leave stages out: where a stage says so, are all bits what they are with it?

Whatever a stage declares is a promise about its module. A converted variant keeps it or does not, and its
end-to-end model computes the same by another graph. Nothing is left out that was not seen to be equal.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from mien.mobile_reference.contract import PipelineSpec
from mien.mobile_reference.run.early_exit import outputs_without
from mien.mobile_reference.run.models import Model

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class EarlyExit:
    """Of so many ``inputs`` so many ``left`` early; ``differing`` says where a bit was another, if any."""

    inputs: int
    left: int
    differing: str = ""

    @property
    def is_exact(self) -> bool:
        """Tell whether an app may leave early."""
        return self.left > 0 and not self.differing

    def record(self) -> dict[str, int] | None:
        """Return what the manifest says of the variant."""
        return {"inputs": self.inputs, "left": self.left} if self.is_exact else None


class EarlyExitTrial:
    """Runs the stages of a variant, by name in ``models``, and compares those that may be left out."""

    def __init__(self, spec: PipelineSpec, models: Mapping[str, Model]) -> None:
        self._spec, self._models = spec, models
        self._inputs = self._left = 0
        self._differing = ""

    def add(self, name: str, given: Arrays, made: Arrays) -> None:
        """Try the input ``name``: the tensors that go in, and what the models of an app made of them."""
        self._inputs += 1
        found = _left_early(self._spec, self._models, given)
        if found is None:
            return
        self._left += 1
        known, differing = found
        differing = differing or _differing(made, {tensor: known[tensor] for tensor in made})
        if differing and not self._differing:
            self._differing = f"{differing} of {name}"

    @property
    def result(self) -> EarlyExit:
        """What was found so far."""
        return EarlyExit(self._inputs, self._left, self._differing)


def _left_early(spec: PipelineSpec, models: Mapping[str, Model], given: Arrays) -> tuple[Arrays, str] | None:
    """Return what is known without the stages that may be left out, and the first output that is another.

    None where the end-to-end model, or every stage, would have to run.
    """
    known, left, differing = dict(given), False, ""
    for stage in spec.stages:
        declared = outputs_without(stage, spec, known)
        if declared is None and stage.skip_when and spec.whole:
            return None
        made = models[stage.name]({name: known[name] for name in stage.inputs})
        if declared is not None:
            left = True
            differing = differing or _differing(made, declared)
        known |= made if declared is None else declared
    return (known, differing) if left else None


def _differing(made: Arrays, other: Arrays) -> str:
    """Name the first tensor that has other bits; empty where none has."""
    return next((name for name in made if made[name].tobytes() != other[name].tobytes()), "")
