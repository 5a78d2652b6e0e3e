"""What an engineer writes: stages of PyTorch modules, and what is asked of them; and how stages are composed.

``Pipeline.spec`` is the contract of it as data (``mobile_reference.contract``), found by running the stages
once. Whoever needs the float pipeline's tensors (calibration, golden inputs, held-out inputs) runs ``run``:
stages are composed here and nowhere else.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mien.mobile_reference.contract import (
    AS_IT_IS,
    PICTURE,
    FrontSpec,
    PipelineSpec,
    RefusalSpec,
    StageSpec,
    TensorSpec,
    ViewSpec,
    problems,
)
from mien.mobile_reference.metrics import METRICS, Metric

from .errors import PipelineError
from .gates import Gate, data_of, metrics_of

Arrays = Mapping[str, NDArray[Any]]
"""Tensors by name as the contract has them: pictures and maps channels last."""


@dataclass(frozen=True)
class Stage:
    """A module with the tensors that it reads and makes, by name, in the order of its arguments and results.

    ``quantise`` tells whether any of it may be quantised.
    """

    name: str
    module: nn.Module
    inputs: Sequence[str]
    outputs: Sequence[str]
    quantise: bool = True

    @property
    def spec(self) -> StageSpec:
        """The stage as data."""
        return StageSpec(self.name, tuple(self.inputs), tuple(self.outputs))


@dataclass(frozen=True)
class Front:
    """What comes before the first stage: its ``kind`` and ``rule``, and the models that it runs."""

    kind: str
    outputs: Sequence[str]
    rule: Mapping[str, Any]
    models: Sequence[Stage] = ()


@dataclass(frozen=True)
class Sample:
    """An input that went through the float pipeline: what it is called, and its tensors of every stage."""

    name: str
    tensors: Arrays


@dataclass(frozen=True)
class Golden:
    """A sample with the picture [H, W, 3] that the front was given, none without one, and what it found."""

    sample: Sample
    source: NDArray[np.uint8] | None
    found: Mapping[str, Any]


@dataclass(frozen=True)
class Calibration:
    """Samples that ranges are made from, the hashes of the files they come from, and what weakens the set."""

    samples: tuple[Sample, ...]
    files: tuple[str, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class HeldOut:
    """Samples to judge by: of which weights, how many, from which files, what was left out, and the samples.

    ``samples`` makes one after the other: nobody holds them all.
    """

    weights: str
    count: int
    files: tuple[str, ...]
    skipped: tuple[str, ...]
    samples: Callable[[], Iterator[Sample]]


@dataclass(frozen=True)
class CoreMLChoices:
    """What the parts of a pipeline are in Core ML, by regular expressions that match from the start.

    By default everything is float16, and all weights of products are eight bits. ``single`` matches paths of
    modules that stay float32 in a float16 package, as well as maps of ``largest_map`` pixels and more a side,
    maps of up to ``narrow`` channels, and tensors of up to as many numbers. ``weights`` matches parameters
    that have int8 weights in ``coreml-int8w``, ``activations`` those that have palettes, or int8 weights and
    activations in ``coreml-w8a8``; empty ones match all.
    """

    single: str = "(?!)"
    weights: str = ""
    activations: str = ""
    largest_map: int = 1 << 30
    narrow: int = 0

    @property
    def by_name(self) -> bool:
        """Tell whether weights are chosen by the names of parameters."""
        return bool(self.weights or self.activations)


class Inputs:
    """Where a pipeline's inputs come from; ``folder`` None means the samples that come with the pipeline."""

    samples: Path | None = None
    """The folder of the samples that come with the pipeline."""

    def calibration(self, pipeline: "Pipeline", folder: Path | None) -> Calibration:
        """Make the set that ranges are made from; it holds none of the golden inputs."""
        raise NotImplementedError

    def golden(self, pipeline: "Pipeline", folder: Path | None) -> Sequence[Golden]:
        """Make the golden inputs."""
        raise NotImplementedError

    def judging(self, pipeline: "Pipeline", goldens: Sequence[Golden]) -> Sequence[Sample]:
        """Vary the golden inputs, so that variants are not chosen by the easiest alone."""
        raise NotImplementedError

    def held_out(self, pipeline: "Pipeline", folder: Path) -> HeldOut:
        """Make inputs that neither weights nor ranges were made from."""
        raise NotImplementedError


@dataclass(frozen=True)
class Pipeline:
    """A pipeline of stages.

    ``example`` gives every input once, as an app has it, so that shapes and types are known; a uint8 array of
    four axes is a picture, channels last, and ``layout`` may say ``PICTURE`` of others. ``scale`` is the span
    of a tensor's values (1 where it is not given), ``ranges`` has their least and greatest, ``meanings`` what
    they mean. ``whole`` computes all stages in one; ``net`` is the module whose convolutions are rounded, by
    whose names blocks are called.
    ``weights`` is a hash of all that is computed with, ``record`` what a manifest shall say beside.
    ``agreement`` is how far a TFLite and a Core ML variant may be apart by the first gate; none: as far as
    the looser of the two may be from float. ``precision`` is the file of stored precisions by block,
    ``coreml`` what Core ML's parts are.
    ``refusals`` says which photographs are not rated; none where every one is.

    Raises:
        PipelineError: on ``spec``: stages contradict each other, or a module fails.
    """

    name: str
    stages: Sequence[Stage]
    gates: Sequence[Gate]
    example: Arrays
    inputs: Inputs
    whole: Stage | None = None
    net: nn.Module | None = None
    front: Front | None = None
    layout: Mapping[str, str] = field(default_factory=dict)
    scale: Mapping[str, float] = field(default_factory=dict)
    meanings: Mapping[str, str] = field(default_factory=dict)
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    views: Sequence[ViewSpec] = ()
    weights: str = ""
    record: Mapping[str, Any] = field(default_factory=dict)
    agreement: float | None = None
    precision: Path | None = None
    coreml: CoreMLChoices = CoreMLChoices()
    refusals: RefusalSpec | None = None

    @property
    def metrics(self) -> Mapping[str, Metric]:
        """What judges its gates: the metrics that every reader knows, and functions of the user's."""
        return {**METRICS, **metrics_of(self.gates)}

    @property
    def models(self) -> tuple[Stage, ...]:
        """Every model: those of the front, the stages, the end-to-end one."""
        before = self.front.models if self.front else ()
        return (*before, *self.stages, *((self.whole,) if self.whole else ()))

    def model(self, name: str) -> Stage:
        """Find a model by name."""
        return {model.name: model for model in self.models}[name]

    @cached_property
    def spec(self) -> PipelineSpec:
        """The contract: what the pipeline is, as data."""
        tensors: dict[str, TensorSpec] = {}
        known: dict[str, NDArray[Any]] = {}
        for name, array in self.example.items():
            known[name] = array
            picture = array.dtype == np.uint8 and array.ndim == 4
            tensors[name] = self._described(name, array, PICTURE if picture else AS_IT_IS)
        for model in (*(self.front.models if self.front else ()), *self.stages):
            for name, made in self._made(model, known, tensors).items():
                layout = self.layout.get(name, AS_IT_IS)
                known[name] = as_contract(made, layout)
                tensors[name] = self._described(name, known[name], layout)
        spec = self._spec(tuple(tensors.values()))
        for problem in problems(spec):
            raise PipelineError(f"pipeline {self.name}: {problem}")
        return spec

    def _spec(self, tensors: tuple[TensorSpec, ...]) -> PipelineSpec:
        front = (
            None
            if self.front is None
            else FrontSpec(
                self.front.kind,
                tuple(self.front.outputs),
                self.front.rule,
                tuple(model.spec for model in self.front.models),
            )
        )
        return PipelineSpec(
            name=self.name,
            tensors=tensors,
            stages=tuple(stage.spec for stage in self.stages),
            gates=data_of(self.gates),
            front=front,
            whole=self.whole.spec if self.whole else None,
            views=tuple(self.views),
            refusals=self.refusals,
        )

    def _described(self, name: str, array: NDArray[Any], layout: str) -> TensorSpec:
        scale, meaning = self.scale.get(name, 1), self.meanings.get(name, "")
        return TensorSpec(name, array.shape, array.dtype.name, scale, meaning, layout, self.ranges.get(name))

    def _made(self, model: Stage, known: Arrays, tensors: Mapping[str, TensorSpec]) -> dict[str, Tensor]:
        lacking = [name for name in model.inputs if name not in known]
        if lacking:
            raise PipelineError(
                f"pipeline {self.name}: {model.name} reads {lacking[0]}, which neither a stage before it "
                "makes nor the example gives"
            )
        return _called(model, [to_module(known[name], tensors[name]) for name in model.inputs])

    def run(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        """Run the float pipeline, keeping every stage's outputs.

        What the end-to-end module gives is what it makes: a stage rounds where it hands a tensor on.
        """
        found = self.run_models(self.stages, inputs)
        return found | (self.run_models((self.whole,), inputs) if self.whole else {})

    @torch.inference_mode()
    def run_models(self, models: Sequence[Stage], known: Arrays) -> dict[str, NDArray[Any]]:
        """Run ``models`` in order on what is known, and return it with what they make."""
        found = dict(known)
        for model in models:
            given = [to_module(found[name], self.spec.tensor(name)) for name in model.inputs]
            for name, made in _called(model, given).items():
                found[name] = as_contract(made, self.spec.tensor(name).layout)
        return found


@torch.inference_mode()
def _called(model: Stage, given: Sequence[Tensor]) -> dict[str, Tensor]:
    made = model.module(*given)
    outputs = made if isinstance(made, tuple | list) else (made,)
    if len(outputs) != len(model.outputs):
        raise PipelineError(
            f"stage {model.name} made {len(outputs)} tensors, expected {len(model.outputs)}: "
            f"{', '.join(model.outputs)}"
        )
    return dict(zip(model.outputs, outputs, strict=True))


def to_module(array: NDArray[Any], tensor: TensorSpec) -> Tensor:
    """Give a module what the contract has: pictures and maps channels second."""
    value = torch.from_numpy(array)
    return value.permute(0, 3, 1, 2).contiguous() if tensor.layout == PICTURE else value


def as_contract(made: Tensor, layout: str) -> NDArray[Any]:
    """Give the contract what a module made: pictures and maps channels last."""
    value = made.permute(0, 2, 3, 1).contiguous() if layout == PICTURE else made
    return np.asarray(value.numpy())
