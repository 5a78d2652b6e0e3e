"""One model to be converted: a module with its tensors in order, from the contract of its pipeline."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from mien.mobile_reference.contract import TensorSpec
from mien.models.modules import Stated, as_tuple, stated
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

    def examples(self) -> tuple[Tensor, ...]:
        """Return inputs to trace the module with: zeros."""
        specs = self.specs(self.inputs)
        return tuple(torch.zeros(one.channels_second, dtype=getattr(torch, one.dtype)) for one in specs)


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
    made = Component(model.name, model.module, inputs, outputs, model.quantise, tensors, file)
    # What names of modules say stays as it is where it can.
    return made if pipeline.net or _is_stated(made) else replace(made, module=Stated(made.module))


@torch.inference_mode()
def _is_stated(component: Component) -> bool:
    made = as_tuple(component.module(*component.examples()))
    return all(one is stated(one) for one in made)
