"""Where a pipeline comes from: built in, a checkpoint's weights, a user's file of Python, a model file."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import entry_points
from pathlib import Path

from torch import nn

from mien.mobile_reference.contract import PipelineSpec

from .errors import PipelineError
from .exported_program import open_trusted_program
from .file_inputs import FileInputs
from .model_files import SUFFIXES, FileModule, open_model_file
from .modules import check_module, weights_hash
from .onnx_module import OnnxModule
from .pipeline import Inputs, Pipeline, Stage
from .structure import check_structure, identifier
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
    inputs that cannot be read, ``trust_pt2`` lets ``.pt2`` files unpickle. ``spec`` and ``weights`` are those
    of the pipeline where it was opened before: another process must find the same.
    """

    path: Path | None = None
    skip_unreadable: bool = False
    trust_pt2: bool = False
    spec: PipelineSpec | None = None
    weights: str = ""

    def of(self, pipeline: Pipeline) -> "Origin":
        """Return the source of a pipeline whose contract is known."""
        return replace(self, spec=pipeline.spec, weights=pipeline.weights)


Source = Origin | Path | None
"""What ``open_pipeline`` takes: an origin, or the path of one."""


def open_pipeline(source: Source = None) -> Pipeline:
    """Open a pipeline.

    Raises:
        CheckpointError: the path is not a checkpoint that the built-in pipeline can use.
        PipelineError: a file cannot be used, or gives another pipeline than before.
    """
    origin = as_origin(source)
    suffix = origin.path.suffix if origin.path else ""
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
    taken = {identifier(name): shape for name, shape, _ in module.inputs}
    if isinstance(module, OnnxModule):
        made = [identifier(name) for name, _, _ in module.outputs]
    else:
        made = ["output"] if module.outputs == 1 else [f"output_{n}" for n in range(module.outputs)]
    name = identifier(source.path.stem)
    pipeline = Pipeline(name, (Stage(name, module, tuple(taken), made),))
    return _completed(pipeline, FileInputs(expected=taken, skip=source.skip_unreadable))


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
