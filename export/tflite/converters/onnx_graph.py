"""PyTorch -> ONNX, with the contract's names and axes."""

import warnings
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch.export import default_decompositions

from mien.export.component import Component
from mien.export.errors import ConversionError
from mien.export.tracing import FixedShapes
from mien.mobile_reference.contract import TensorSpec

from .unsupported import naming_operations

_OPSET = 17
# ONNX has it, and onnx2tf converts few of its forms.
_SIMPLER = frozenset(["aten::einsum"])
_UNKNOWN = r"(?:operator '|export of operator |unrecognized namespace )([\w:]+)"


def to_onnx(component: Component, file: Path) -> None:
    """Write a component as ONNX, channels second, with the contract's names.

    Raises:
        ConversionError: an operation has no form in ONNX.
    """
    if component.onnx is not None:
        onnx.save(_with_ends(component, onnx.load(str(component.onnx))), str(file))
        return
    # The TorchScript exporter is deprecated, and the one that onnx2tf is tested with.
    with FixedShapes():
        _export(component, component.module, file, opset_version=_OPSET, dynamo=False)


def to_decomposed_onnx(component: Component, file: Path) -> None:
    """Write a component as ``to_onnx`` does, in the simpler operations that PyTorch makes of rare ones.

    Raises:
        ConversionError: it is a file already, or an operation has no form in ONNX.
    """
    if component.onnx is not None:
        raise ConversionError(f"{component.name} is an ONNX file, whose operations stay what they are")
    program = torch.export.export(component.module, component.examples(), strict=False)
    decompositions: Any = default_decompositions()
    table = {
        operation: simpler for operation, simpler in decompositions.items() if operation.name() in _SIMPLER
    }
    simpler = program.run_decompositions(table)
    _export(component, simpler, file, dynamo=True, external_data=False, verbose=False)


def _export(component: Component, module: Any, file: Path, **options: Any) -> None:
    names: dict[str, Any] = {"input_names": list(component.inputs), "output_names": list(component.outputs)}
    with warnings.catch_warnings(), naming_operations("the ONNX exporter", _UNKNOWN):
        warnings.simplefilter("ignore")
        torch.onnx.export(module, component.examples(), str(file), **names, **options)


def _with_ends(component: Component, model: onnx.ModelProto) -> onnx.ModelProto:
    """Give the ends of a user's graph the contract's names, types and shapes."""
    graph = model.graph
    _free(graph, {*component.inputs, *component.outputs})
    stored = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in stored]
    takes, makes = component.specs(component.inputs), component.specs(component.outputs)
    before = [node for value, spec in zip(inputs, takes, strict=True) for node in _taken(value, spec)]
    after = [
        node for value, spec in zip(graph.output, makes, strict=True) for node in _made(graph, value, spec)
    ]
    nodes = [*before, *graph.node, *after]
    del graph.node[:]
    graph.node.extend(nodes)
    return model


def _free(graph: onnx.GraphProto, names: Collection[str]) -> None:
    """Call tensors of a graph something else that have the contract's names, which may mean others."""
    tensors = [*graph.input, *graph.output, *graph.value_info, *graph.initializer]
    for one in tensors:
        one.name = _freed(one.name, names)
    for node in graph.node:
        for given in (node.input, node.output):
            given[:] = [_freed(name, names) for name in given]
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                _free(inner, names)


def _freed(name: str, names: Collection[str]) -> str:
    return f"{name}/own" if name in names else name


def _taken(value: onnx.ValueInfoProto, spec: TensorSpec) -> list[onnx.NodeProto]:
    """State an input as the contract does, and return what makes the graph's own of it."""
    was, kind = value.name, value.type.tensor_type.elem_type
    _state(value, spec)
    return [_converted(spec.name, was, _kind(spec), kind)]


def _made(graph: onnx.GraphProto, value: onnx.ValueInfoProto, spec: TensorSpec) -> list[onnx.NodeProto]:
    """State an output as the contract does, and return what makes it of the graph's own."""
    was, kind, single = value.name, value.type.tensor_type.elem_type, _is_single(value)
    _state(value, spec)
    if not single:
        return [_converted(was, spec.name, kind, _kind(spec))]
    shape, flat = f"{was}/shape", f"{was}/flat"
    graph.initializer.append(onnx.numpy_helper.from_array(np.array(spec.shape), shape))
    reshaped = onnx.helper.make_node("Reshape", [was, shape], [flat])
    return [reshaped, _converted(flat, spec.name, kind, _kind(spec))]


def _state(value: onnx.ValueInfoProto, spec: TensorSpec) -> None:
    value.CopyFrom(onnx.helper.make_tensor_value_info(spec.name, _kind(spec), spec.channels_second))


def _is_single(value: onnx.ValueInfoProto) -> bool:
    """Tell whether an end is a number without axes."""
    return value.type.tensor_type.HasField("shape") and not value.type.tensor_type.shape.dim


def _kind(spec: TensorSpec) -> int:
    return int(onnx.helper.np_dtype_to_tensor_dtype(np.dtype(spec.dtype)))


def _converted(given: str, made: str, before: int, after: int) -> onnx.NodeProto:
    if before == after:
        return onnx.helper.make_node("Identity", [given], [made])
    return onnx.helper.make_node("Cast", [given], [made], to=after)
