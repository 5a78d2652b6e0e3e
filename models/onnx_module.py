"""A module that runs an ONNX file by onnxruntime. The file is data: nothing in it is executed."""

from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mien.mobile_reference.files import check_size

from .errors import PipelineError
from .modules import stated

_LARGEST = 2 << 30
"""Bytes of a file: more than any phone would take."""
_OWN_DOMAINS = frozenset(["", "ai.onnx"])
_TYPES = {1: "float32", 2: "uint8", 6: "int32", 7: "int64"}
"""Types of tensors by their numbers in ONNX. Those of int64 are int32 outside of the file."""
_MADE_TYPES = {**_TYPES, 9: "bool"}
"""Of outputs also true and false, which are int32 outside of the file as well."""


class OnnxModule(nn.Module):
    """Computes what the ONNX ``file`` says, on one thread; PyTorch cannot look into it.

    ``inputs`` are its tensors by their names in the file, with shape and type as numpy names it, ``outputs``
    those that it makes, with their type. ``content`` is a hash of the file.
    """

    content: Tensor

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.file = file
        self.inputs, self.outputs = _tensors(file)
        self.register_buffer("content", _content(file))
        self._session = _session(file)

    def forward(self, *given: Tensor) -> tuple[Tensor, ...]:
        """Run the file."""
        ends = zip(self.inputs, given, strict=True)
        feeds = {name: value.numpy().astype(dtype, copy=False) for (name, _, dtype), value in ends}
        return tuple(stated(torch.from_numpy(np.asarray(made))) for made in self._session.run(None, feeds))


def open_onnx(file: Path) -> OnnxModule:
    """Open an ONNX file, of either of PyTorch's exporters or of any other.

    Raises:
        PipelineError: it is not an ONNX file, it trains, or it has operations of another domain, inputs
            without a fixed length, or tensors of a type that is not taken.
    """
    if not file.is_file():
        raise PipelineError(f"{file} does not exist; give an ONNX file")
    _check_size(file)
    return OnnxModule(file)


Taken = tuple[tuple[str, tuple[int, ...], str], ...]
Made = tuple[tuple[str, str], ...]


def _tensors(file: Path) -> tuple[Taken, Made]:
    """Read what a file takes and makes, and refuse what cannot be exported."""
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    try:
        model = onnx.load(str(file), load_external_data=False)
    except (DecodeError, OSError, ValueError) as error:
        raise PipelineError(f"{file} is not an ONNX file ({_line(error)}); export the model again") from error
    graph = model.graph
    _check_operations(file, model)
    stored = {tensor.name for tensor in graph.initializer}
    inputs = tuple(
        (value.name, _shape(file, value), _type(file, value, _TYPES))
        for value in graph.input
        if value.name not in stored
    )
    # Their shapes are seen once they are made: PyTorch leaves them open behind some operations.
    outputs = tuple((value.name, _type(file, value, _MADE_TYPES)) for value in graph.output)
    if not inputs or not outputs:
        raise PipelineError(f"{file} has no inputs or no outputs; export the model again")
    names = [name for name, *_ in (*inputs, *outputs)]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise PipelineError(
            f"{file} gives out {twice}, which is an input or another output as it is; leave it out of the "
            "outputs, an app has it already"
        )
    return inputs, outputs


def _check_operations(file: Path, model: Any) -> None:
    functions = {(function.domain, function.name) for function in model.functions}
    bodies = [*model.graph.node, *(node for function in model.functions for node in function.node)]
    for node in _with_inner(bodies):
        if node.domain not in _OWN_DOMAINS and (node.domain, node.op_type) not in functions:
            raise PipelineError(
                f"{file} has the operation {node.op_type} of domain {node.domain}, which only its runtime "
                "knows; build the model from operations of ONNX itself"
            )
        trains = any(one.name == "training_mode" and one.i for one in node.attribute)
        if trains or (node.op_type == "Dropout" and len(node.input) > 2 and node.input[2]):
            raise PipelineError(
                f"{file} has a {node.op_type} in training mode; call .eval() on the module and export again"
            )


def _with_inner(nodes: Iterable[Any]) -> Iterator[Any]:
    """Yield nodes, and those of the graphs that they choose from or repeat."""
    for node in nodes:
        yield node
        for attribute in node.attribute:
            for graph in (attribute.g, *attribute.graphs):
                yield from _with_inner(graph.node)


def _shape(file: Path, value: Any) -> tuple[int, ...]:
    axes = value.type.tensor_type.shape.dim
    loose = [axis.dim_param or "?" for axis in axes if axis.dim_value <= 0]
    if loose or not value.type.tensor_type.HasField("shape"):
        raise PipelineError(
            f"{file}: {value.name} has an axis without a fixed length ({', '.join(loose) or 'no shape'}); "
            "export without dynamic_axes or dynamic_shapes, with a batch of 1"
        )
    return tuple(axis.dim_value for axis in axes)


def _type(file: Path, value: Any, types: Mapping[int, str]) -> str:
    kind = value.type.tensor_type.elem_type
    if kind not in types:
        raise PipelineError(
            f"{file}: {value.name} is of ONNX type {kind}, expected {', '.join(types.values())}; cast it"
        )
    return types[kind]


def _content(file: Path) -> Tensor:
    """Hash the file and those beside it that hold its weights."""
    import onnx
    from onnx.external_data_helper import ExternalDataInfo, uses_external_data

    stored = onnx.load(str(file), load_external_data=False).graph.initializer
    beside = {ExternalDataInfo(tensor).location for tensor in stored if uses_external_data(tensor)}
    state = sha256()
    for one in (file, *(file.parent / name for name in sorted(beside))):
        _check_size(one)
        state.update(one.read_bytes())
    return torch.from_numpy(np.frombuffer(state.digest(), np.uint8).copy())


def _check_size(file: Path) -> None:
    try:
        check_size(file, _LARGEST)
    except ValueError as error:
        raise PipelineError(f"{file} cannot be read: {error}; give an ONNX file with its weights") from error


def _session(file: Path) -> Any:
    import onnxruntime  # type: ignore[import-untyped]

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4  # its errors are raised, and told in one line
    try:
        return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its classes have no base of their own
        raise PipelineError(
            f"onnxruntime cannot load {file} ({_line(error)}); build the model from operations that it has"
        ) from error


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
