"""What of a pipeline is measured: the models that an app runs, and the photograph that it begins with."""

from pathlib import Path

from mien.mobile_reference.bundle.reader import Bundle
from mien.mobile_reference.contract import PICTURE, PipelineSpec, StageSpec, TensorSpec
from mien.mobile_reference.errors import UsageError

_POINTS = 100


def front_models(spec: PipelineSpec) -> tuple[StageSpec, ...]:
    """List the models of the front."""
    return spec.front.models if spec.front else ()


def models_of_app(spec: PipelineSpec) -> tuple[StageSpec, ...]:
    """List the models that an app runs for one rating: those of the front, then the served ones."""
    return (*front_models(spec), *spec.served)


def picture_model(spec: PipelineSpec) -> StageSpec:
    """Return the end-to-end model, for programs that give it one picture of bytes and read floats.

    Raises:
        UsageError: there is none, or it has other inputs or outputs.
    """
    if spec.whole is None:
        raise UsageError(f"pipeline {spec.name} has no end-to-end model, which this target runs; add one")
    inputs, outputs = spec.tensors_of(spec.whole.inputs), spec.tensors_of(spec.whole.outputs)
    pictures = [tensor.name for tensor in inputs if (tensor.layout, tensor.dtype) == (PICTURE, "uint8")]
    floats = all(tensor.dtype == "float32" for tensor in outputs)
    if len(inputs) != 1 or not pictures or not floats or spec.rating.tensor not in spec.whole.outputs:
        given, made = (", ".join(names) for names in (spec.whole.inputs, spec.whole.outputs))
        raise UsageError(
            f"{spec.whole.name} takes {given} and gives {made}; this target gives one uint8 picture and "
            f"reads float32 tensors, {spec.rating.tensor} among them"
        )
    return spec.whole


def first_photograph(bundle: Bundle) -> Path:
    """Return the photograph of the first golden input.

    Raises:
        UsageError: the pipeline has no front, so it has no photographs.
    """
    source = bundle.goldens[0].source
    if source is None:
        raise UsageError(
            f"pipeline {bundle.name} has no front, and a measurement begins with a photograph; use --estimate"
        )
    return source


def unit_of(tensor: TensorSpec) -> str:
    """Name the unit of a tensor's differences: points of 100, or the full scale that they are parts of."""
    return "points" if tensor.full_scale == _POINTS else f"of {tensor.full_scale:g}"
