"""What an engineer writes: stages of PyTorch modules, and what is asked of them; and how stages are composed.

``Pipeline.spec`` is the contract of it as data (``mobile_reference.contract``), found by running the stages
once. Whoever needs the float pipeline's tensors (calibration, golden inputs, held-out inputs) runs ``run``:
stages are composed here and nowhere else.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

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
    SkipSpec,
    StageSpec,
    TensorSpec,
    ViewSpec,
    problems,
)
from mien.mobile_reference.front.colour import COLOUR_RULE
from mien.mobile_reference.labels import LabelMetric
from mien.mobile_reference.metrics import METRICS, Metric
from mien.mobile_reference.report.steps import Progress, quietly

from .errors import InputError, PipelineError
from .gates import Gate, data_of, default_gates, metrics_of
from .model_files import open_model_file
from .modules import Composed, all_stated
from .onnx_module import OnnxModule
from .user_file import RAISED, raised

TYPES = ("uint8", "float32", "int32")
"""Types that tensors between an app and its models may have."""
MOST_AXES, LONGEST_AXIS = 5, 4096
RUNNING = "running the float pipeline"
"""What is said while inputs are run."""
Arrays = Mapping[str, NDArray[Any]]
"""Tensors by name as the contract has them: pictures and maps channels last."""


@dataclass(frozen=True)
class Stage:
    """A module with the tensors that it reads and makes, by name, in the order of its arguments and results.

    ``source`` is the module, or a ``.pt2`` or ``.onnx`` file to make one of. ``quantise`` tells whether any
    of it may be quantised; a composed end-to-end model may be where all stages may. ``skip_when`` says when
    an app need not run the stage. The export compares, and no app leaves it out where a bit would be another.

    Example:
        >>> import torch
        >>> stage = mien.Stage("halve", torch.nn.AvgPool2d(2), inputs=["mask"], outputs=["smaller"])
        >>> tuple(stage.module(torch.zeros(1, 1, 8, 8)).shape)
        (1, 1, 4, 4)
    """

    name: str
    source: nn.Module | str | Path
    inputs: Sequence[str]
    outputs: Sequence[str]
    quantise: bool = True
    skip_when: SkipSpec | None = None

    @cached_property
    def module(self) -> nn.Module:
        """What the stage computes.

        Raises:
            PipelineError: the file cannot be used.
        """
        return self.source if isinstance(self.source, nn.Module) else open_model_file(Path(self.source))

    @property
    def spec(self) -> StageSpec:
        """The stage as data."""
        return StageSpec(self.name, tuple(self.inputs), tuple(self.outputs), self.skip_when)


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
class Gathered:
    """The two sets that an export needs, and the pipeline as it is known by them."""

    pipeline: "Pipeline"
    calibration: Calibration
    goldens: Sequence[Golden]


@dataclass(frozen=True)
class HeldOut:
    """Samples to judge by: of which weights, how many, from which files, what was left out, and the samples.

    ``samples`` makes one after the other: nobody holds them all. Given a slice, it makes those samples alone,
    so that several processes can share the work.
    """

    weights: str
    count: int
    files: tuple[str, ...]
    skipped: tuple[str, ...]
    samples: Callable[[slice], Iterator[Sample]]


@dataclass(frozen=True)
class LabelledInputs:
    """Inputs in the order of their ``labels``, by which ``metric`` judges, and the hashes of their ``files``.

    ``samples`` runs the float pipeline on one after the other: nobody holds them all.
    """

    metric: LabelMetric
    labels: tuple[Any, ...]
    files: tuple[str, ...]
    samples: Callable[[], Iterator[Sample]]


@dataclass(frozen=True)
class CoreMLChoices:
    """What the parts of a pipeline are in Core ML, by regular expressions that match from the start.

    By default everything is float16, and all weights of products are eight bits. ``single`` matches paths of
    modules that stay float32 in a float16 package, as well as maps of ``largest_map`` pixels and more a side,
    maps of up to ``narrow`` channels, and tensors of up to as many numbers. ``weights`` matches parameters
    that have int8 weights in ``coreml-int8w``, ``activations`` those that have them and read int8 activations
    in ``coreml-w8a8``, ``palettes`` those that have palettes; empty ones match all.
    """

    single: str = "(?!)"
    weights: str = ""
    activations: str = ""
    palettes: str = ""
    largest_map: int = 1 << 30
    narrow: int = 0

    @property
    def by_name(self) -> bool:
        """Tell whether weights are chosen by the names of parameters."""
        return bool(self.weights or self.activations or self.palettes)


class Inputs:
    """Where a pipeline's inputs come from; ``folder`` None means the samples that come with the pipeline."""

    samples: Path | None = None
    """The folder of the samples that come with the pipeline."""

    def gather(
        self,
        pipeline: "Pipeline",
        calibration: Sequence[Path],
        golden: Sequence[Path],
        progress: Progress = quietly,
    ) -> "Gathered":
        """Make both sets from files and folders, none of which mean the samples that come with the pipeline.

        What comes back has the pipeline too, which may know more by its inputs: shapes, and spans.
        """
        ranged, judged = (_only(folders) for folders in (calibration, golden))
        ranging = self.calibration(pipeline, ranged, progress)
        return Gathered(pipeline, ranging, self.golden(pipeline, judged, progress))

    def calibration(self, pipeline: "Pipeline", folder: Path | None, progress: Progress) -> Calibration:
        """Make the set that ranges are made from; it holds none of the golden inputs."""
        raise NotImplementedError

    def golden(self, pipeline: "Pipeline", folder: Path | None, progress: Progress) -> Sequence[Golden]:
        """Make the golden inputs."""
        raise NotImplementedError

    def judging(
        self, pipeline: "Pipeline", goldens: Sequence[Golden], progress: Progress
    ) -> Sequence[Sample]:
        """Vary the golden inputs, so that variants are not chosen by the easiest alone."""
        raise NotImplementedError

    def held_out(self, pipeline: "Pipeline", folder: Path) -> HeldOut:
        """Make inputs that neither weights nor ranges were made from."""
        raise NotImplementedError

    def labelled(self, pipeline: "Pipeline", file: Path) -> LabelledInputs:
        """Make inputs of the files that a CSV file labels."""
        raise InputError(
            f"pipeline {pipeline.name} makes its inputs itself, so {file} says nothing of them; labels "
            "are for pipelines whose inputs are files of one each"
        )


def _only(folders: Sequence[Path]) -> Path | None:
    if len(folders) > 1:
        raise InputError(f"got {len(folders)} folders, expected one; put the inputs into one folder")
    return folders[0] if folders else None


COMPOSED: Literal["composed"] = "composed"
"""Said of the end-to-end model: the stages, one after the other."""
WHOLE = "whole"
"""What the end-to-end model is called where it is not a stage with a name of its own."""


@dataclass(frozen=True)
class Pipeline:
    """A pipeline of stages, in the order in which they run.

    A tensor's name says who makes it and who reads it; what no stage makes is an input of the pipeline.

    Args:
        name: what the bundle is called.
        stages: the components.
        prepare: takes an input file and returns every input as an app has it, by name. A uint8 array
            [1, H, W, C] is a picture; modules get it as [1, C, H, W].
        gates: what is asked of the result; the first one compares variants. None: ``default_gates`` of every
            output of the last stage.
        whole: the end-to-end model: composed of the stages, or a module of the same inputs and outputs, or a
            ``Stage``, or None for a pipeline without one. A pipeline of one stage has none.
        layout: ``{"name": "NHWC"}`` says that a tensor of another type is a picture or a map as well.
        scale: the span of a tensor's values, by which errors are judged; of others it is what calibration
            inputs span.
        example: every input once; shapes are found by it. Without it the first input file gives it.
        inputs: where inputs come from, if not from files by ``prepare``.
        front: what an app does before the first stage.
        net: the module whose convolutions are rounded, by whose names blocks are called.
        meanings: what tensors mean, for the manifest.
        ranges: the least and the greatest value of a tensor; a result outside of them is an error.
        views: how people see tensors.
        metric: what the result is worth by labels (``accuracy``, ``mean_iou`` or ``scored_by``), for
            ``--labels``.
        weights: a hash of all that is computed with.
        record: what a manifest shall say beside.
        agreement: how far a TFLite and a Core ML variant may be apart by the first gate; none: as far as the
            looser of the two may be from float.
        precision: file of stored precisions by block.
        reach: file of how far tensors reached on inputs that do not come along, which int8 ranges then hold;
            ``python -m mien.export.reach`` makes it.
        coreml: what Core ML's parts are.
        refusals: which photographs are not rated; none where every one is.
        known: the contract, where it was found before.

    Raises:
        PipelineError: on ``spec``: stages contradict each other, or a module fails.

    Example:
        >>> import numpy as np, torch
        >>> class Brightness(torch.nn.Module):
        ...     def forward(self, image):
        ...         return image.float().mean((1, 2, 3))
        >>> pipeline = mien.Pipeline(
        ...     name="brightness",
        ...     stages=[mien.Stage("measure", Brightness(), inputs=["image"], outputs=["level"])],
        ...     gates=[mien.scalar("level", fp32=0.01, fp16=0.5, int8=2)],
        ...     example={"image": np.full((1, 16, 16, 3), 100, np.uint8)},
        ... )
        >>> pipeline.run(pipeline.example)["level"].tolist()
        [100.0]
    """

    name: str
    stages: Sequence[Stage]
    prepare: Callable[[Path], Arrays] | None = None
    gates: Sequence[Gate] = ()
    whole: "Stage | nn.Module | Literal['composed'] | None" = COMPOSED
    layout: Mapping[str, str] = field(default_factory=dict)
    scale: Mapping[str, float] = field(default_factory=dict)
    example: Arrays | None = None
    inputs: Inputs = field(default_factory=Inputs)
    front: Front | None = None
    net: nn.Module | None = None
    meanings: Mapping[str, str] = field(default_factory=dict)
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    views: Sequence[ViewSpec] = ()
    metric: LabelMetric | None = None
    weights: str = ""
    record: Mapping[str, Any] = field(default_factory=dict)
    agreement: float | None = None
    precision: Path | None = None
    reach: Path | None = None
    coreml: CoreMLChoices = CoreMLChoices()
    refusals: RefusalSpec | None = None
    known: PipelineSpec | None = None

    @cached_property
    def end_to_end(self) -> Stage | None:
        """The model that computes all stages in one, if there is one."""
        if self.whole is None or isinstance(self.whole, Stage):
            return self.whole
        # A module that runs an ONNX file is none that PyTorch could trace beside others.
        opaque = any(isinstance(stage.module, OnnxModule) for stage in self.stages)
        if len(self.stages) == 1 or (opaque and self.whole == COMPOSED):
            return None
        inputs, outputs = self._ends()
        if isinstance(self.whole, nn.Module):
            return Stage(WHOLE, self.whole, inputs, outputs)
        specs, modules = [stage.spec for stage in self.stages], [stage.module for stage in self.stages]
        # One graph has what its most delicate stage needs.
        quantise = all(stage.quantise for stage in self.stages)
        return Stage(WHOLE, Composed(modules, specs, inputs, outputs).eval(), inputs, outputs, quantise)

    def _ends(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Name what no stage makes, and what an app wants: not read by a stage, gated, shown, or labelled."""
        made = [name for stage in self.stages for name in stage.outputs]
        read = [name for stage in self.stages for name in stage.inputs]
        wanted = {*(gate.tensor for gate in data_of(self.gates)), *(view.tensor for view in self.views)}
        wanted |= {self.metric.tensor} if self.metric else set()
        inputs = tuple(name for name in dict.fromkeys(read) if name not in made)
        return inputs, tuple(name for name in made if name not in read or name in wanted)

    @property
    def metrics(self) -> Mapping[str, Metric]:
        """What judges its gates: the metrics that every reader knows, and functions of the user's."""
        return {**METRICS, **metrics_of(self.gates)}

    @property
    def models(self) -> tuple[Stage, ...]:
        """Every model: those of the front, the stages, the end-to-end one."""
        before = self.front.models if self.front else ()
        return (*before, *self.stages, *((self.end_to_end,) if self.end_to_end else ()))

    def model(self, name: str) -> Stage:
        """Find a model by name."""
        return {model.name: model for model in self.models}[name]

    @cached_property
    def spec(self) -> PipelineSpec:
        """The contract: what the pipeline is, as data."""
        if self.known is not None:
            return self.known
        if self.example is None:
            raise PipelineError(f"pipeline {self.name}: no input was prepared yet, so shapes are unknown")
        tensors: dict[str, TensorSpec] = {}
        known: dict[str, NDArray[Any]] = {}
        for name, array in self.example.items():
            known[name] = array
            picture = array.dtype == np.uint8 and array.ndim == 4
            layout = self.layout.get(name, PICTURE if picture else AS_IT_IS)
            tensors[name] = self._described(name, array, layout)
        for model in (*(self.front.models if self.front else ()), *self.stages):
            for name, made in self._made(model, known, tensors).items():
                _check_made(model, name, made)
                layout = self.layout.get(name, AS_IT_IS)
                known[name] = as_contract(made, layout)
                tensors[name] = self._described(name, known[name], layout)
        last = self.stages[-1].outputs
        gates = data_of(self.gates) or default_gates([tensors[name] for name in last])
        spec = replace(self._spec(tuple(tensors.values())), gates=gates)
        for problem in problems(spec):
            raise PipelineError(f"pipeline {self.name}: {problem}")
        return spec

    @property
    def declared(self) -> PipelineSpec:
        """The contract as far as it is known before anything runs: without tensors."""
        return self._spec(())

    def _spec(self, tensors: tuple[TensorSpec, ...]) -> PipelineSpec:
        front = (
            None
            if self.front is None
            else FrontSpec(
                self.front.kind,
                tuple(self.front.outputs),
                self.front.rule,
                tuple(model.spec for model in self.front.models),
                COLOUR_RULE,
            )
        )
        return PipelineSpec(
            name=self.name,
            tensors=tensors,
            stages=tuple(stage.spec for stage in self.stages),
            gates=data_of(self.gates),
            front=front,
            whole=self.end_to_end.spec if self.end_to_end else None,
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
                "makes nor the input gives"
            )
        return _called(model, [to_module(known[name], tensors[name]) for name in model.inputs])

    def run(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        """Run the float pipeline, keeping every stage's outputs.

        What the end-to-end module gives is what it makes: a stage rounds where it hands a tensor on.
        """
        found = self.run_models(self.stages, inputs)
        return found | (self.run_models((self.end_to_end,), inputs) if self.end_to_end else {})

    @torch.inference_mode()
    def run_models(self, models: Sequence[Stage], known: Arrays) -> dict[str, NDArray[Any]]:
        """Run ``models`` in order on what is known, and return it with what they make."""
        found = dict(known)
        for model in models:
            given = [to_module(found[name], self.spec.tensor(name)) for name in model.inputs]
            for name, made in _called(model, given).items():
                found[name] = self._checked(model, name, made)
        return found

    def _checked(self, model: Stage, name: str, made: Tensor) -> NDArray[Any]:
        tensor = self.spec.tensor(name)
        array = as_contract(made, tensor.layout)
        if (array.shape, array.dtype.name) != (tensor.shape, tensor.dtype):
            raise PipelineError(
                f"stage {model.name} made {name} of shape {list(array.shape)} of {array.dtype}, first it was "
                f"{list(tensor.shape)} of {tensor.dtype}; a model of an app has one shape for every input"
            )
        return array


@torch.inference_mode()
def _called(model: Stage, given: Sequence[Tensor]) -> dict[str, Tensor]:
    try:
        outputs = all_stated(model.module(*given))
    except PipelineError as error:
        raise PipelineError(f"stage {model.name} {error}") from error
    except RAISED as error:
        shapes = ", ".join(f"{n} {list(t.shape)}" for n, t in zip(model.inputs, given, strict=True))
        raise PipelineError(f"stage {model.name}, given {shapes}: {raised(error)}") from error
    if len(outputs) != len(model.outputs):
        raise PipelineError(
            f"stage {model.name} made {len(outputs)} tensors, expected {len(model.outputs)}: "
            f"{', '.join(model.outputs)}"
        )
    return dict(zip(model.outputs, outputs, strict=True))


def can_be_stated(shape: Sequence[int]) -> bool:
    """Tell whether a tensor between an app and its models may have a shape."""
    return 1 <= len(shape) <= MOST_AXES and all(1 <= length <= LONGEST_AXIS for length in shape)


def _check_made(model: Stage, name: str, made: Tensor) -> None:
    """Refuse what no manifest could describe."""
    kind = str(made.dtype).removeprefix("torch.")
    if kind not in TYPES:
        raise PipelineError(
            f"stage {model.name} made {name} of {kind}; expected {', '.join(TYPES)}; convert it in the module"
        )
    if not can_be_stated(made.shape):
        raise PipelineError(
            f"stage {model.name} made {name} of shape {list(made.shape)}; expected one to {MOST_AXES} axes "
            f"of 1 to {LONGEST_AXIS}; reshape it in the module"
        )


def to_module(array: NDArray[Any], tensor: TensorSpec) -> Tensor:
    """Give a module what the contract has, as its own: pictures and maps channels second."""
    value = torch.from_numpy(array)
    value = value.permute(0, 3, 1, 2) if tensor.layout == PICTURE else value
    # Never the caller's memory, which a module may write to.
    return value.clone(memory_format=torch.contiguous_format)


def as_contract(made: Tensor, layout: str) -> NDArray[Any]:
    """Give the contract what a module made: pictures and maps channels last."""
    value = made.permute(0, 2, 3, 1) if layout == PICTURE and made.ndim == 4 else made
    return np.asarray(value.contiguous().numpy())
