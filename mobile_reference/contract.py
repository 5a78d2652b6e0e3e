"""What a pipeline is, as data: tensors, stages, what comes before them, what is asked of the result.

The manifest of a bundle is the JSON of these records (format 2, ``docs/manifest.md``), and they are the only
list of names: an exporter, a runner, a verifier and a generated app all follow them. This module imports
nothing of ours and no array library, so that every room can stand on it.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

PICTURE = "NHWC"
"""The layout of a tensor that is a picture or a map: channels last here and in TFLite, second in Core ML."""
AS_IT_IS = "any"
"""The layout of every other tensor: it passes unchanged on every platform."""
EACH, SET = "each", "set"
"""A gate holds for each input alone, or over a set of held-out inputs."""
ANY = "any"
"""The key of a gate's limit for variants that it does not name."""
SCALAR, RELATIVE, PSNR, MEAN = "scalar", "relative", "psnr", "mean"
RANK, CORRELATION, IOU, TOP1 = "rank", "correlation", "iou", "top1"
"""The metrics that every reader knows; ``mobile_reference.metrics`` computes them and says what each is.

The limit of ``RANK``, ``CORRELATION``, ``IOU`` and ``TOP1`` is what may be lost of 1, that of ``PSNR`` the
least number of decibels, that of the others the largest difference.
"""
FUNCTION = "function:"
"""What the metric of a gate begins with that is a function of the user's; its name follows."""
OVER_EACH = (SCALAR, RELATIVE, PSNR)
"""Metrics that are judged over each input, as functions are; the others are judged over a set."""
OF_ONE_VALUE = (SCALAR, MEAN, RANK)
"""Metrics of tensors of one value; the others but ``RELATIVE`` and functions need several values."""
LOSSES = (RANK, CORRELATION, IOU, TOP1)
_MOST_LOST = 0.5
_LARGEST_FLOAT = 3.4028234663852886e38
INT8, FP16 = "int8", "fp16"
LIKE_INT8 = ("int8w", "pal6", "pal4", "w8a8", "dynamic")
LIKE_FP16 = ("half",)
"""Precisions that have the limit of ``INT8`` where a gate names none of their own."""
ABOVE, BELOW = "above", "below"
"""On which side of a limit a measure of an input is worse."""
OVERLAY, GREY, COLOUR = "overlay", "grey", "colour"
"""How a tensor is shown: as heat over the input, as grey levels of 0..1, as RGB of 0..255."""


@dataclass(frozen=True)
class TensorSpec:
    """One tensor: ``shape`` with the batch of 1, as TFLite has it; ``dtype`` as numpy names it.

    ``full_scale`` is the span of its values, by which a difference is judged; ``layout`` is ``PICTURE`` or
    ``AS_IT_IS``. ``range`` is the least and the greatest value, none where the pipeline declares none.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    full_scale: float
    meaning: str
    layout: str = AS_IT_IS
    range: tuple[float, float] | None = None

    @property
    def rgb(self) -> bool:
        """Tell whether it is a picture of RGB pixels, 0..255."""
        return self.layout == PICTURE and self.dtype == "uint8" and self.shape[3:] == (3,)

    @property
    def image(self) -> bool:
        """Tell whether Core ML takes it as an image: one picture of RGB or grey pixels."""
        single = self.layout == PICTURE and self.dtype == "uint8" and self.shape[0] == 1
        return single and self.shape[3] in (1, 3)

    @property
    def values(self) -> int:
        """How many values it has."""
        size = 1
        for length in self.shape:
            size *= length
        return size

    @property
    def channels_second(self) -> tuple[int, ...]:
        """The shape that PyTorch and Core ML have."""
        if self.layout != PICTURE:
            return self.shape
        batch, height, width, channels = self.shape
        return batch, channels, height, width


@dataclass(frozen=True)
class SkipSpec:
    """When a stage may be left out, and what its outputs are then.

    Args:
        zero: a tensor that is known before the stage; the stage may be left out where every value is 0.
        outputs: for each output of the stage a number, which all its values are, or the name of a tensor of
            its shape, whose values they are.

    Example:
        >>> nothing_to_fill = mien.SkipSpec("holes", {"filled": "picture"})
        >>> nothing_to_fill.zero
        'holes'
    """

    zero: str
    outputs: Mapping[str, float | str]

    @property
    def sources(self) -> tuple[str, ...]:
        """The tensors that it reads, the one that must be zero first."""
        return (self.zero, *(value for value in self.outputs.values() if isinstance(value, str)))


@dataclass(frozen=True)
class StageSpec:
    """One model: tensors that it reads and makes, by name, in the order of its file.

    ``skip_when`` says when a runner may leave the stage out; none: never.
    """

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    skip_when: SkipSpec | None = None


@dataclass(frozen=True)
class FrontSpec:
    """What an app does before the first stage: a ``kind`` with its ``rule``, and the models that it runs.

    ``outputs`` are the tensors that it gives to the stages; ``colour`` says which colours
    photographs are read in, and how those of a profile become them; older bundles have null, and mean that.
    """

    kind: str
    outputs: tuple[str, ...]
    rule: Mapping[str, Any]
    models: tuple[StageSpec, ...] = ()
    colour: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class GateSpec:
    """What is asked of a tensor: ``metric`` within a limit by variant, else by precision, else for ``ANY``.

    ``over`` tells whether it holds for ``EACH`` input or over a ``SET``. The precisions of ``LIKE_INT8`` have
    the limit of ``INT8`` where they have none of their own, those of ``LIKE_FP16`` that of ``FP16``.
    """

    tensor: str
    metric: str
    limits: Mapping[str, float]
    over: str = EACH

    def limit(self, variant: str) -> float | None:
        """Return the limit of a variant such as ``tflite-int8``; none where nothing is asked of it."""
        precision = variant.partition("-")[2]
        like = {**dict.fromkeys(LIKE_INT8, INT8), **dict.fromkeys(LIKE_FP16, FP16)}
        keys = (variant, precision, like.get(precision, precision), ANY)
        return next((self.limits[key] for key in keys if key in self.limits), None)

    @property
    def is_function(self) -> bool:
        """Tell whether only the user's code can judge it."""
        return self.metric.startswith(FUNCTION)


@dataclass(frozen=True)
class ViewSpec:
    """How people see a tensor: ``kind`` is ``OVERLAY``, ``GREY`` or ``COLOUR``."""

    tensor: str
    kind: str


@dataclass(frozen=True)
class LimitSpec:
    """From which value of a measure on an input gets a note, and from which it is refused; none: never.

    ``worse`` is ``ABOVE`` or ``BELOW``; the limit itself is within it.
    """

    measure: str
    worse: str
    note: float | None
    refuse: float | None


@dataclass(frozen=True)
class RefusalSpec:
    """Which inputs are not rated: limits of measures, in the order in which they are told.

    The face region is a superellipse in pixels of the aligned face, |dx / radius|^exponent + |dy /
    radius|^exponent <= 1; measures of light are taken over it.
    """

    region_centre: tuple[float, float]
    region_radii: tuple[float, float]
    region_exponent: float
    limits: tuple[LimitSpec, ...]


@dataclass(frozen=True)
class PipelineSpec:
    """A pipeline: the front, the stages in the order in which they run, and the end-to-end model of them all.

    The first gate is the one that matters most: its metric says what an error of the rating is, by which
    variants are compared, and a search for precisions spends its limit. ``refusals`` is null, or says which
    inputs are not rated.
    """

    name: str
    tensors: tuple[TensorSpec, ...]
    stages: tuple[StageSpec, ...]
    gates: tuple[GateSpec, ...]
    front: FrontSpec | None = None
    whole: StageSpec | None = None
    views: tuple[ViewSpec, ...] = ()
    refusals: RefusalSpec | None = None

    @property
    def models(self) -> tuple[StageSpec, ...]:
        """Every model: those of the front, the stages, the end-to-end model."""
        before = self.front.models if self.front else ()
        return (*before, *self.stages, *((self.whole,) if self.whole else ()))

    @property
    def served(self) -> tuple[StageSpec, ...]:
        """The models that an app runs from the inputs to the result: the end-to-end one, or the stages."""
        return (self.whole,) if self.whole else self.stages

    @property
    def served_early(self) -> tuple[StageSpec, ...]:
        """The models that an app may run that leaves stages out: one end-to-end is for those that it may."""
        if self.whole is None:
            return self.stages
        return (*(stage for stage in self.stages if stage.skip_when is None), self.whole)

    @property
    def inputs(self) -> tuple[str, ...]:
        """The tensors that no stage makes."""
        made = {name for stage in self.stages for name in stage.outputs}
        return tuple(dict.fromkeys(n for stage in self.stages for n in stage.inputs if n not in made))

    @property
    def rating(self) -> GateSpec:
        """The first gate, by whose tensor variants are compared."""
        return self.gates[0]

    def tensor(self, name: str) -> TensorSpec:
        """Find a tensor; KeyError if there is none of the name."""
        return {tensor.name: tensor for tensor in self.tensors}[name]

    def model(self, name: str) -> StageSpec:
        """Find a model; KeyError if there is none of the name."""
        found = {model.name: model for model in self.models}
        return found[name]

    def tensors_of(self, names: tuple[str, ...]) -> tuple[TensorSpec, ...]:
        """Find tensors in the order of their names."""
        return tuple(map(self.tensor, names))

    def before(self, stage: str) -> str | None:
        """Name the stage in front of a stage in the listed order; none for the first and for other models."""
        names = [one.name for one in self.stages]
        return names[names.index(stage) - 1] if stage in names[1:] else None

    def after(self, stage: str) -> tuple[StageSpec, ...]:
        """List the stages behind a stage."""
        names = [one.name for one in self.stages]
        return self.stages[names.index(stage) + 1 :]

    def reached(self, stage: StageSpec) -> set[str]:
        """Name the tensors that depend on a stage: what it makes, and what is made of that."""
        found = set(stage.outputs)
        for one in self.stages:
            if found & set(one.inputs):
                found |= set(one.outputs)
        return found

    def maker(self, tensor: str) -> str | None:
        """Name the stage that makes a tensor; none for an input."""
        return next((stage.name for stage in self.stages if tensor in stage.outputs), None)

    def map_of(self, model: StageSpec) -> TensorSpec:
        """Return the first output of more than one value: by it a model's own error is told in decibels."""
        outputs = self.tensors_of(model.outputs)
        return next((tensor for tensor in outputs if tensor.values > 1), outputs[0])

    def gates_by(self, metric: str) -> Iterator[GateSpec]:
        """Yield the gates of a metric."""
        return (gate for gate in self.gates if gate.metric == metric)

    def record(self) -> dict[str, Any]:
        """Return the part of a manifest that says all this; ``read_pipeline`` reads it."""
        return asdict(self)


def read_pipeline(record: Mapping[str, Any]) -> PipelineSpec:
    """Read what ``PipelineSpec.record`` gave, after its JSON was found to be as the schema says."""
    front = record["front"]
    return PipelineSpec(
        name=record["name"],
        tensors=tuple(map(_tensor, record["tensors"])),
        stages=tuple(map(_stage, record["stages"])),
        gates=tuple(GateSpec(**one) for one in record["gates"]),
        front=None if front is None else _front(front),
        whole=None if record["whole"] is None else _stage(record["whole"]),
        views=tuple(ViewSpec(**one) for one in record["views"]),
        refusals=None if record["refusals"] is None else _refusals(record["refusals"]),
    )


def problems(spec: PipelineSpec) -> Iterator[str]:
    """Say in one line each what contradicts itself, such as names that nobody makes, or that several make."""
    names = [tensor.name for tensor in spec.tensors]
    yield from (f"tensor {name} is described twice" for name in _repeated(names))
    yield from (f"model {name} stands twice" for name in _repeated([model.name for model in spec.models]))
    front = spec.front.models if spec.front else ()
    made = [name for model in (*front, *spec.stages) for name in model.outputs]
    yield from (f"two models make tensor {name}" for name in _repeated(made))
    used = [name for model in spec.models for name in (*model.inputs, *model.outputs)]
    asked = [*(gate.tensor for gate in spec.gates), *(view.tensor for view in spec.views)]
    unknown = _lacking([*used, *asked], names)
    yield from (f"nothing describes tensor {name}" for name in unknown)
    yield from _flat_pictures(spec)
    yield from _out_of_order(spec)
    yield from _not_left_out(spec)
    yield from _not_given(spec)
    if not spec.gates:
        yield "no gate is given, so nothing could be judged"
    elif spec.rating.is_function or spec.rating.metric in (MEAN, RANK):
        metric = spec.rating.metric
        yield f"the first gate compares variants input by input and in every reader, which {metric} does not"
    yield from _unjudged(spec)
    yield from _unseen(spec)
    yield from _unmeasured(spec)


def _unjudged(spec: PipelineSpec) -> Iterator[str]:
    """Find gates that would be taken and never held: a gate that nothing judges would seem to have passed."""
    sizes = {tensor.name: tensor.values for tensor in spec.tensors}
    for gate in spec.gates:
        yield from _unfit(gate, sizes.get(gate.tensor))
        lost = [limit for limit in gate.limits.values() if gate.metric in LOSSES and limit >= _MOST_LOST]
        for limit in lost:
            yield (
                f"the limit of {gate.metric} of {gate.tensor} is what may be lost of 1, less than "
                f"{_MOST_LOST:g}, not {limit:g}"
            )
    asked = [f"{gate.metric} of {gate.tensor}" for gate in spec.gates]
    yield from (f"two gates ask for {one}" for one in _repeated(asked))


def _unfit(gate: GateSpec, size: int | None) -> Iterator[str]:
    """Say where a metric is not of such a tensor; ``size`` is none where nothing describes it."""
    over = EACH if gate.metric in OVER_EACH or gate.is_function else SET
    if gate.over != over:
        yield f"{gate.metric} of {gate.tensor} is judged over {over}, not over {gate.over}"
    if size is not None and size != 1 and gate.metric in OF_ONE_VALUE:
        yield f"{gate.metric} is of one value, {gate.tensor} has {size}; ask for {RELATIVE} of it"
    if size == 1 and gate.metric in (PSNR, CORRELATION, IOU, TOP1):
        yield f"{gate.metric} is of several values, {gate.tensor} has one; ask for {SCALAR} of it"


def _unseen(spec: PipelineSpec) -> Iterator[str]:
    """Find views that cannot be drawn beside or over the picture that goes in."""
    tensors = {tensor.name: tensor for tensor in spec.tensors}
    sizes = {tensors[name].shape[1:3] for name in spec.inputs if name in tensors and tensors[name].rgb}
    for view in spec.views:
        shape = tensors[view.tensor].shape if view.tensor in tensors else None
        channels = 3 if view.kind == COLOUR else 1
        if shape is not None and (shape[3:] != (channels,) or (sizes and shape[1:3] not in sizes)):
            yield f"view {view.tensor} is not a map of {channels} channels of the size of an input picture"
    overlays = [view.tensor for view in spec.views if view.kind == OVERLAY]
    if len(overlays) > 1:
        yield f"one overlay can be shown, not {', '.join(overlays)}"


def _unmeasured(spec: PipelineSpec) -> Iterator[str]:
    """Find limits that no photograph would be held against, or that contradict each other."""
    if spec.refusals is None:
        return
    if spec.front is None:
        yield "refusals are of photographs, which a pipeline without a front does not take"
    yield from (
        f"measure {name} has two limits" for name in _repeated([one.measure for one in spec.refusals.limits])
    )
    for limit in spec.refusals.limits:
        if limit.note is None or limit.refuse is None:
            continue
        if limit.note > limit.refuse if limit.worse == ABOVE else limit.note < limit.refuse:
            yield f"{limit.measure} is refused at {limit.refuse:g}, before it gets a note at {limit.note:g}"


def _flat_pictures(spec: PipelineSpec) -> Iterator[str]:
    for tensor in spec.tensors:
        if tensor.layout == PICTURE and len(tensor.shape) != 4:
            yield f"tensor {tensor.name} is laid out {PICTURE}, so it has four axes, not {len(tensor.shape)}"


def _not_given(spec: PipelineSpec) -> Iterator[str]:
    """Find tensors that a model, an app, a gate or a view would wait for in vain."""
    inputs = set(spec.inputs)
    made = {*inputs, *(name for stage in spec.stages for name in stage.outputs)}
    if spec.whole is not None:
        unmade = _lacking(spec.whole.outputs, made)
        yield from (f"no stage makes {name}, which {spec.whole.name} gives" for name in unmade)
        unread = _lacking(spec.whole.inputs, inputs)
        yield from (f"{spec.whole.name} reads {name}, which is not an input" for name in unread)
    if spec.front is not None:
        lacking = _lacking(spec.inputs, spec.front.outputs)
        yield from (f"neither the front nor a stage makes tensor {name}" for name in lacking)
    given = {name for model in spec.served for name in model.outputs}
    described = {tensor.name for tensor in spec.tensors}
    ungiven = _lacking({gate.tensor for gate in spec.gates} & described, given)
    yield from (f"no model that an app runs gives {name}, which a gate asks for" for name in ungiven)
    ungiven = _lacking({view.tensor for view in spec.views} & described, given | inputs)
    yield from (f"no model that an app runs gives {name}, which a view shows" for name in ungiven)


def _lacking(wanted: Iterable[str], there: Iterable[str]) -> list[str]:
    return sorted(set(wanted) - set(there))


def _out_of_order(spec: PipelineSpec) -> Iterator[str]:
    ready = set(spec.inputs)
    for stage in spec.stages:
        for name in stage.inputs:
            if name not in ready:
                yield f"stage {stage.name} reads {name}, which a stage behind it makes"
        ready |= set(stage.outputs)


def _not_left_out(spec: PipelineSpec) -> Iterator[str]:
    """Find stages that could not be left out as they say."""
    tensors = {tensor.name: tensor for tensor in spec.tensors}
    ready = set(spec.inputs) & tensors.keys()
    for stage in spec.stages:
        if stage.skip_when is not None:
            yield from _odd_skip(stage, stage.skip_when, {name: tensors[name] for name in ready}, tensors)
        ready |= set(stage.outputs) & tensors.keys()
    others = (model for model in spec.models if model not in spec.stages and model.skip_when is not None)
    yield from (f"{model.name} is not a stage, so nothing may leave it out" for model in others)


def _odd_skip(
    stage: StageSpec, skip: SkipSpec, known: Mapping[str, TensorSpec], all_: Mapping[str, TensorSpec]
) -> Iterator[str]:
    given, made = (", ".join(sorted(names)) for names in (skip.outputs, stage.outputs))
    if given != made:
        yield f"skip_when of {stage.name} gives {given:.100}, the stage makes {made:.100}"
        return
    unknown = _lacking(skip.sources, known)
    yield from (f"skip_when of {stage.name} reads {name}, which is not known before it" for name in unknown)
    for name, value in skip.outputs.items():
        if name not in all_ or value in unknown:
            continue
        if isinstance(value, str) and not _holds_tensor(all_[name], known[value]):
            yield f"skip_when of {stage.name}: {value} is not of the shape and type of {name}"
        if not isinstance(value, str) and not _holds_number(all_[name], value):
            yield f"skip_when of {stage.name}: {name} is {all_[name].dtype}, which {value:g} is not"


def _holds_tensor(target: TensorSpec, source: TensorSpec) -> bool:
    """Tell whether a tensor can have the values of another, exactly."""
    exact = source.dtype in (target.dtype, "uint8")
    return exact and (target.shape, target.layout) == (source.shape, source.layout)


def _holds_number(target: TensorSpec, value: float) -> bool:
    """Tell whether a tensor can have a value; a float32 takes the nearest that it has."""
    if target.dtype == "float32":
        return abs(value) <= _LARGEST_FLOAT
    low, high = (0, 255) if target.dtype == "uint8" else (-(1 << 31), (1 << 31) - 1)
    return low <= value <= high and value == int(value)


def _repeated(names: list[str]) -> list[str]:
    return sorted({name for name in names if names.count(name) > 1})


def _tensor(record: Mapping[str, Any]) -> TensorSpec:
    lists = {key: tuple(record[key]) for key in ("shape", "range") if record.get(key) is not None}
    return TensorSpec(**{**record, **lists})


def _stage(record: Mapping[str, Any]) -> StageSpec:
    skip = record.get("skip_when")
    return StageSpec(
        record["name"],
        tuple(record["inputs"]),
        tuple(record["outputs"]),
        None if skip is None else SkipSpec(skip["zero"], skip["outputs"]),
    )


def _front(record: Mapping[str, Any]) -> FrontSpec:
    models = tuple(map(_stage, record["models"]))
    return FrontSpec(record["kind"], tuple(record["outputs"]), record["rule"], models, record["colour"])


def _refusals(record: Mapping[str, Any]) -> RefusalSpec:
    return RefusalSpec(
        tuple(record["region_centre"]),
        tuple(record["region_radii"]),
        record["region_exponent"],
        tuple(LimitSpec(**one) for one in record["limits"]),
    )
