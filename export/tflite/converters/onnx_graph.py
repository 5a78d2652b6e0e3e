"""PyTorch -> ONNX, with the contract's names and axes."""

import warnings
from collections.abc import Sequence
from pathlib import Path

import onnx
import torch

from mien.export.component import Component
from mien.mobile_reference.contract import TensorSpec

from .unsupported import naming_operations

_OPSET = 17
_UNKNOWN = r"(?:operator '|unrecognized namespace )([\w:]+)"


def to_onnx(component: Component, file: Path) -> None:
    """Write a component as ONNX, channels second, with the contract's names.

    Raises:
        ConversionError: an operation has no form in ONNX.
    """
    if component.onnx is not None:
        onnx.save(_with_ends(component, onnx.load(str(component.onnx))), str(file))
        return
    examples = tuple(
        torch.zeros(spec.channels_second, dtype=getattr(torch, spec.dtype))
        for spec in component.specs(component.inputs)
    )
    with warnings.catch_warnings(), naming_operations("the ONNX exporter", _UNKNOWN):
        # The TorchScript exporter is deprecated, and the one that onnx2tf is tested with.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            component.module,
            examples,
            str(file),
            input_names=list(component.inputs),
            output_names=list(component.outputs),
            opset_version=_OPSET,
            dynamo=False,
        )


def _with_ends(component: Component, model: onnx.ModelProto) -> onnx.ModelProto:
    """Give the ends of a user's graph the contract's names."""
    graph = model.graph
    stored = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in stored]
    before = [
        onnx.helper.make_node("Identity", [name], [was])
        for was, name in _renamed(inputs, component.specs(component.inputs))
    ]
    after = [
        onnx.helper.make_node("Identity", [was], [name])
        for was, name in _renamed(graph.output, component.specs(component.outputs))
    ]
    nodes = [*before, *graph.node, *after]
    del graph.node[:]
    graph.node.extend(nodes)
    return model


def _renamed(values: Sequence[onnx.ValueInfoProto], specs: Sequence[TensorSpec]) -> list[tuple[str, str]]:
    """Rename ends of a graph in place, and return the names that changed with what they are now."""
    names = []
    for value, spec in zip(values, specs, strict=True):
        if value.name != spec.name:
            names.append((value.name, spec.name))
        kind = value.type.tensor_type.elem_type
        value.CopyFrom(onnx.helper.make_tensor_value_info(spec.name, kind, spec.channels_second))
    return names
