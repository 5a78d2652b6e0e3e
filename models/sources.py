"""Where a pipeline comes from: built in, a checkpoint's weights, a user's file of Python, a model file."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from importlib.metadata import entry_points
from pathlib import Path

from torch import nn

from mien.mobile_reference.contract import FrontSpec, PipelineSpec
from mien.mobile_reference.errors import UsageError
from mien.mobile_reference.front.resize import COLOURS, RESIZE, ResizeRule, read_rule
from mien.mobile_reference.output.json_text import json_text

from .errors import PipelineError
from .exported_program import open_trusted_program
from .file_inputs import FileInputs
from .model_files import SUFFIXES, FileModule, open_model_file
from .modules import check_module, weights_hash
from .onnx_module import OnnxModule
from .pipeline import Front, Inputs, Pipeline, Stage
from .structure import check_structure, identifier, identifiers
from .user_file import read_user_file

PIPELINES = "mien.pipelines"
"""The group of entry points that offer built-in pipelines; so nothing else needs to import one."""
BUILT_IN = "appraisal"
PYTHON = ".py"


@dataclass(frozen=True)
class Origin:
    """Where a pipeline comes from, in a form that every process understands.

    ``path`` is a checkpoint folder or ``.pt`` file of the built-in pipeline, which None means too; a file of
    Python, which is executed; or a ``.pt2`` or ``.onnx`` file, which is not. ``skip_unreadable`` leaves out
    inputs that cannot be read, ``trust_pt2`` lets ``.pt2`` files unpickle. ``front`` says how pictures become
    the input of a ``.pt2`` or ``.onnx`` file. ``spec`` and ``weights`` are those of the pipeline where it was
    opened before: another process must find the same.
    """

    path: Path | None = None
    skip_unreadable: bool = False
    trust_pt2: bool = False
    front: ResizeRule | None = None
    spec: PipelineSpec | None = None
    weights: str = ""

    def of(self, pipeline: Pipeline) -> "Origin":
        """Return the source of a pipeline whose contract is known."""
        return replace(self, spec=pipeline.spec, weights=pipeline.weights)


Source = Origin | Path | None
"""What ``open_pipeline`` takes: an origin, or the path of one."""


def open_pipeline(source: Source = None, front: FrontSpec | None = None) -> Pipeline:
    """Open a pipeline; ``front`` is that of the bundle that was made of it, if one was.

    Raises:
        CheckpointError: the path is not a checkpoint that the built-in pipeline can use.
        PipelineError: a file cannot be used, or gives another pipeline than before.
    """
    origin = as_origin(source)
    suffix = origin.path.suffix if origin.path else ""
    if front is not None and front.kind == RESIZE and suffix in SUFFIXES:
        origin = replace(origin, front=read_rule(front.rule))
    if origin.front is not None and suffix not in SUFFIXES:
        raise PipelineError(
            f"--front is for a file that ends in {' or '.join(SUFFIXES)}, not for "
            f"{origin.path or 'the pipeline that ships'}; leave it out, pictures are prepared there already"
        )
    pipeline = _OPENERS.get(suffix, _built_in)(origin)
    if origin.weights and origin.weights != pipeline.weights:
        raise PipelineError(
            f"{origin.path} gives other weights each time it is opened; load them from a file, or seed what "
            "is random in it"
        )
    return replace(pipeline, known=origin.spec) if origin.spec else pipeline


def as_origin(source: Source) -> Origin:
    """Return the origin of a path, or the origin that it is."""
    return source if isinstance(source, Origin) else Origin(source)


def is_built_in(origin: Origin) -> bool:
    """Tell whether an origin means the built-in pipeline, with whatever weights."""
    return origin.path is None or origin.path.suffix not in _OPENERS


def _built_in(source: Origin) -> Pipeline:
    (entry,) = entry_points(group=PIPELINES, name=BUILT_IN)
    found = entry.load()(source.path)
    assert isinstance(found, Pipeline), f"{entry.value} gives no pipeline"  # noqa: S101
    return found


def _of_python(source: Origin) -> Pipeline:
    """Execute a user's file, and complete what it defines."""
    assert source.path is not None  # noqa: S101
    found = read_user_file(source.path)
    if not isinstance(found, Pipeline):
        raise PipelineError(
            f"{source.path}: pipeline is a {type(found).__name__}, expected mien.Pipeline(...)"
        )
    folder = source.path.resolve().parent
    stages = tuple(replace(stage, source=_module(source, folder, stage)) for stage in found.stages)
    return _completed(replace(found, stages=stages), FileInputs(source.path, skip=source.skip_unreadable))


def _module(source: Origin, folder: Path, stage: Stage) -> nn.Module:
    """Return the module of a stage, whose file may be named from the folder of the user's file."""
    if isinstance(stage.source, nn.Module):
        return stage.source
    beside = folder / stage.source
    return _file_module(source, beside if beside.is_file() else Path(stage.source))


def _file_module(source: Origin, file: Path) -> FileModule:
    trusted = source.trust_pt2 and file.suffix == ".pt2"
    return open_trusted_program(file) if trusted else open_model_file(file)


def _of_model_file(source: Origin) -> Pipeline:
    """Make a pipeline of one component of a model file, which says what it takes and makes."""
    assert source.path is not None  # noqa: S101
    module = _file_module(source, source.path)
    if isinstance(module, OnnxModule):
        made = [name for name, _ in module.outputs]
    else:
        made = ["output"] if module.outputs == 1 else [f"output_{n}" for n in range(module.outputs)]
    names = identifiers([*(name for name, _, _ in module.inputs), *made])
    taken = {name: shape for name, (_, shape, _) in zip(names, module.inputs, strict=False)}
    made = names[len(taken) :]
    name = identifier(source.path.stem)
    rule = None if source.front is None else _fitting(source.front, source.path, module.inputs)
    pipeline = Pipeline(name, (Stage(name, module, tuple(taken), made),))
    if rule is not None:
        front = Front(RESIZE, tuple(taken), rule.record())
        # So that a manifest whose rule was changed no longer fits the file.
        said = f"{weights_hash([module])} {json_text(rule.record())}"
        pipeline = replace(pipeline, front=front, weights=sha256(said.encode()).hexdigest())
    return _completed(pipeline, FileInputs(expected=taken, skip=source.skip_unreadable, front=rule))


def _fitting(rule: ResizeRule, file: Path, inputs: Sequence[tuple[str, tuple[int, ...], str]]) -> ResizeRule:
    """Return the rule for the channels of the one picture that a model takes."""
    _, shape, dtype = inputs[0]
    picture = len(shape) == 4 and shape[0] == 1 and shape[1] in COLOURS
    if len(inputs) != 1 or dtype != "float32" or not picture:
        taken = ", ".join(f"{name} {list(axes)} of {kind}" for name, axes, kind in inputs)
        raise PipelineError(
            f"{file} takes {taken:.200}, --front makes one picture [1, 3, H, W] or [1, 1, H, W] of float32; "
            "give .npz files without it, or a file of Python whose pipeline has prepare"
        )
    _, channels, height, width = shape
    if (rule.height, rule.width) != (height, width):
        raise PipelineError(
            f"--front resizes to {rule.height}x{rule.width}, {file} takes {list(shape)}; give --front "
            f"resize:{height}x{width}"
        )
    try:
        return rule.of_channels(channels)
    except UsageError as error:
        raise PipelineError(f"{file}: {error}") from error


def _completed(pipeline: Pipeline, inputs: Inputs) -> Pipeline:
    """Check what can be checked before anything runs, and say what a pipeline leaves to be found."""
    check_structure(pipeline)
    for model in pipeline.models:
        check_module(model.name, model.module)
    own = type(pipeline.inputs) is not Inputs
    return replace(
        pipeline,
        inputs=pipeline.inputs if own else inputs,
        weights=pipeline.weights or weights_hash(model.module for model in pipeline.models),
    )


_OPENERS: Mapping[str, Callable[[Origin], Pipeline]] = {
    PYTHON: _of_python,
    **dict.fromkeys(SUFFIXES, _of_model_file),
}
"""By the suffix of the path; whatever is not here is a checkpoint of the built-in pipeline."""
