"""The torch-free reference runner: what an app does with a bundle, step by step."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mien.mobile_reference.bundle.reader import Bundle, Variant, alignment_rule, face_front
from mien.mobile_reference.contract import PipelineSpec, StageSpec, TensorSpec
from mien.mobile_reference.errors import RatingError, UsageError
from mien.mobile_reference.front.alignment import AlignedFace, Detector, align
from mien.mobile_reference.front.photograph import Pixels
from mien.mobile_reference.front.quality import REFUSE, Finding, RefusedError, judge, measure

from .early_exit import outputs_without
from .models import Arrays, Model, load_model

Load = Callable[[Bundle, Variant, str, int], Model]
"""Loads a model of a variant by its name, to run with so many threads."""


@dataclass(frozen=True)
class Prepared:
    """What the front makes of a photograph: the pipeline's inputs by name, and what it found.

    ``alignment`` [2, 3] takes pixels of the photograph to pixels of the input, both counted from 0 at the
    first pixel's centre; ``faces`` is how many the photograph shows. ``findings`` are the measures that tell
    whether it can be rated, none where the pipeline has no refusals.
    """

    inputs: Arrays
    alignment: NDArray[np.float64]
    faces: int
    findings: tuple[Finding, ...] = ()

    def check(self) -> None:
        """Say so if the photograph cannot be rated.

        Raises:
            RefusedError: a measure lies beyond the limit from which it is refused.
        """
        if any(finding.verdict == REFUSE for finding in self.findings):
            raise RefusedError(self.findings)


def prepare_face(spec: PipelineSpec, photograph: Pixels, face: AlignedFace) -> Prepared:
    """Make the pipeline's input of a face that was found, and measure whether it can be rated."""
    (name,) = face_front(spec).outputs
    findings: tuple[Finding, ...] = ()
    if spec.refusals is not None:
        height, width = photograph.shape[:2]
        template = alignment_rule(spec).template
        findings = judge(measure(face, width, height, template, spec.refusals), spec.refusals.limits)
    return Prepared({name: face.pixels[None]}, face.matrix, face.faces, findings)


@dataclass(frozen=True)
class Rating:
    """What a pipeline says of one photograph: its tensors by name, shaped as in the contract.

    Raises:
        RatingError: a tensor has values that are not finite or outside of the range that it declares.
    """

    spec: PipelineSpec
    prepared: Prepared
    tensors: Arrays

    def __post_init__(self) -> None:
        for name in self.spec.served[-1].outputs:
            check_values(self.spec.tensor(name), self.tensors[name])

    @property
    def score(self) -> float:
        """The value of the tensor of the first gate."""
        return rating_of(self.spec, self.tensors)


def check_values(tensor: TensorSpec, values: NDArray[Any]) -> None:
    """Refuse values that are not finite, or outside of the range that their tensor declares.

    Raises:
        RatingError: with the first such value.
    """
    odd = values[~np.isfinite(values)]
    if odd.size:
        raise RatingError(f"{tensor.name} has the value {odd[0]}; the models are damaged, export them again")
    low, high = tensor.range or (-math.inf, math.inf)
    odd = values[(values < low) | (values > high)]
    if odd.size:
        raise RatingError(
            f"{tensor.name} has the value {odd[0]:g}, outside of {low:g}..{high:g}; export the bundle again"
        )


class Appraiser(Protocol):
    """Something that rates photographs, the name of what it is, and its contract."""

    variant: str
    spec: PipelineSpec

    def prepare(self, photograph: Pixels) -> Prepared:
        """Find the largest face of an RGB photograph [H, W, 3], frame and measure it."""
        ...

    def rate(self, inputs: Arrays) -> Mapping[str, NDArray[Any]]:
        """Run the pipeline on its inputs; returns at least what the end-to-end model gives."""
        ...

    def appraise(self, photograph: Pixels) -> Rating:
        """Rate an RGB photograph [H, W, 3].

        Raises:
            FaceError: there is no face, or it cannot be rated (``RefusedError``).
        """
        prepared = self.prepare(photograph)
        prepared.check()
        return Rating(self.spec, prepared, self.rate(prepared.inputs))

    def appraise_anyway(self, photograph: Pixels) -> Rating:
        """Rate also what would be refused; ``prepared.findings`` of the rating say why it would be."""
        prepared = self.prepare(photograph)
        return Rating(self.spec, prepared, self.rate(prepared.inputs))


def rating_of(spec: PipelineSpec, tensors: Arrays) -> float:
    """Return the one value of the tensor of the first gate.

    Raises:
        UsageError: the tensor has several values, so there is no score.
    """
    tensor = spec.tensor(spec.rating.tensor)
    if tensor.values != 1:
        raise UsageError(
            f"pipeline {spec.name} has no score: {tensor.name}, the tensor of its first gate, has "
            f"{tensor.values} values; judge it with 'mien verify'"
        )
    return float(tensors[spec.rating.tensor].reshape(-1)[0])


class BundleRunner(Appraiser):
    """All models of one variant of a bundle, each loaded when it is first used.

    Without a name it is the most exact variant. ``load`` loads its models, of TFLite on the CPU if not said.
    """

    def __init__(
        self, bundle: Bundle, variant: str | None = None, threads: int = 1, load: Load | None = None
    ) -> None:
        self._load = load or load_model
        self.bundle, self.spec, self.threads = bundle, bundle.spec, threads
        self.chosen = bundle.most_exact if variant is None else bundle.variant(variant)
        self.variant = self.chosen.name
        self._loaded: dict[str, Model] = {}

    def load(self, models: Iterable[StageSpec]) -> None:
        """Load models now rather than when they are used."""
        for model in models:
            self._model(model.name)

    def run(self, model: StageSpec, known: Arrays) -> dict[str, NDArray[Any]]:
        """Run one model on what it needs of the known tensors."""
        return self._model(model.name)({name: known[name] for name in model.inputs})

    def finish(self, models: Iterable[StageSpec], known: Arrays) -> dict[str, NDArray[Any]]:
        """Run ``models`` in order, each adding its outputs to what is known."""
        found = dict(known)
        for model in models:
            found |= self.run(model, found)
        return found

    @property
    def rating_models(self) -> tuple[StageSpec, ...]:
        """The models that ``rate`` may run."""
        return self.spec.served_early if self.chosen.early_exit else self.spec.served

    def rate(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        """Run the pipeline as an app does: without the stages that the variant may leave out.

        Of those the end-to-end model does everything, if there is one, where one of them may not be left out.
        """
        if not self.chosen.early_exit:
            return self.finish(self.spec.served, inputs)
        found = dict(inputs)
        for stage in self.spec.stages:
            made = outputs_without(stage, self.spec, found)
            if made is None and stage not in self.spec.served_early:
                return self.finish(self.spec.served, inputs)
            found |= self.run(stage, found) if made is None else made
        served = (name for model in self.spec.served for name in model.outputs)
        return {name: found[name] for name in (*inputs, *served)}

    def prepare(self, photograph: Pixels) -> Prepared:
        """Do what the front does: find the largest face, frame and measure it.

        Raises:
            FaceError: there is no face, or it is too small to be framed.
            UsageError: the pipeline has no front that takes photographs.
        """
        face = align(photograph, self._detector(), alignment_rule(self.spec))
        return prepare_face(self.spec, photograph, face)

    def _detector(self) -> Detector:
        (model,) = face_front(self.spec).models
        (picture,), (candidates,) = model.inputs, model.outputs

        def detect(pixels: Pixels) -> NDArray[np.float32]:
            found = self.run(model, {picture: pixels[None]})[candidates]
            check_values(self.spec.tensor(candidates), found)
            return np.asarray(found[0])

        return detect

    def _model(self, name: str) -> Model:
        if name not in self._loaded:
            self._loaded[name] = self._load(self.bundle, self.chosen, name, self.threads)
        return self._loaded[name]
