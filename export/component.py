"""One model to be converted: a module with its tensors in order, from the contract of its pipeline."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from mien.mobile_reference.contract import TensorSpec
from mien.models.onnx_module import OnnxModule
from mien.models.pipeline import Pipeline, Stage


@dataclass(frozen=True)
class Component:
    """A module in evaluation mode, its inputs and outputs by name, and whether any of it may be quantised.

    ``onnx`` is the file that the module runs, where it is one that PyTorch cannot look into.
    """

    name: str
    module: nn.Module
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    quantise: bool
    tensors: Mapping[str, TensorSpec]
    onnx: Path | None = None

    def specs(self, names: tuple[str, ...]) -> tuple[TensorSpec, ...]:
        """Return the contracts of tensors."""
        return tuple(self.tensors[name] for name in names)


def component(pipeline: Pipeline, name: str) -> Component:
    """Return the model ``name`` of a pipeline."""
    return _component(pipeline, pipeline.model(name))


def components(pipeline: Pipeline) -> tuple[Component, ...]:
    """Return all models of a pipeline: those of its front, the stages, the end-to-end one."""
    return tuple(_component(pipeline, model) for model in pipeline.models)


def _component(pipeline: Pipeline, model: Stage) -> Component:
    tensors = {tensor.name: tensor for tensor in pipeline.spec.tensors}
    inputs, outputs = tuple(model.inputs), tuple(model.outputs)
    file = model.module.file if isinstance(model.module, OnnxModule) else None
    return Component(model.name, model.module, inputs, outputs, model.quantise, tensors, file)
