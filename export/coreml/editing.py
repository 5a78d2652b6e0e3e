"""Changing the program of a saved Core ML package: its main block, constants and operations, as protobuf."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from mien.mobile_reference.coreml.package import root_model


@contextmanager
def edited(package: Path) -> Iterator[Any]:
    """Give the main function of a package, and write it back."""
    from coremltools.proto.Model_pb2 import Model

    file = root_model(package)
    model = Model.FromString(file.read_bytes())
    yield model.mlProgram.functions["main"]
    file.write_bytes(model.SerializeToString(deterministic=True))


def block_of(function: Any) -> Any:
    """Return the operations of a function."""
    return function.block_specializations[function.opset]


def replace_operations(block: Any, operations: Sequence[Any]) -> None:
    """Let a block have these operations, which may be its own."""
    copies = [type(one).FromString(one.SerializeToString()) for one in operations]
    del block.operations[:]
    block.operations.extend(copies)


def operation(kind: str, inputs: Mapping[str, str], output: Any) -> Any:
    """Make an operation that reads tensors by parameter, and gives ``output``, a name with its type."""
    from coremltools.proto import MIL_pb2

    made = MIL_pb2.Operation(type=kind, outputs=[output])
    made.attributes["name"].CopyFrom(_value(output.name))
    for parameter, name in inputs.items():
        made.inputs[parameter].arguments.add(name=name)
    return made


def constant(name: str, content: Any, like: Any = None) -> Any:
    """Make a constant of a text, a single number or a vector, reals of the type of a tensor ``like``."""
    from coremltools.proto import MIL_pb2

    if like is not None:
        half = like.tensorType.dataType == MIL_pb2.FLOAT16
        content = np.asarray(content, np.float16 if half else np.float32)
    value = _value(content)
    made = MIL_pb2.Operation(type="const", outputs=[MIL_pb2.NamedValueType(name=name, type=value.type)])
    made.attributes["name"].CopyFrom(_value(name))
    made.attributes["val"].CopyFrom(value)
    return made


def set_value(value: Any, content: Any) -> None:
    """Replace the reals of a value that is written into the program, keeping its type and shape."""
    from coremltools.proto import MIL_pb2

    tensor = value.immediateValue.tensor
    if value.type.tensorType.dataType == MIL_pb2.FLOAT16:
        tensor.bytes.values = np.asarray(content, np.float16).tobytes()
    else:
        del tensor.floats.values[:]
        tensor.floats.values.extend(np.asarray(content, np.float32).ravel().tolist())


def _value(content: Any) -> Any:
    """Write a text, a single number or a vector as the package has it."""
    from coremltools.proto import MIL_pb2

    value = MIL_pb2.Value()
    tensor = value.immediateValue.tensor
    if isinstance(content, str):
        kind = MIL_pb2.STRING
        tensor.strings.values.append(content)
    elif content.dtype == np.float32:
        kind = MIL_pb2.FLOAT32
        tensor.floats.values.extend(np.ravel(content).tolist())
    else:
        kind = {"float16": MIL_pb2.FLOAT16, "uint8": MIL_pb2.UINT8}[content.dtype.name]
        tensor.bytes.values = content.tobytes()
    value.type.tensorType.dataType = kind
    shape = () if isinstance(content, str) else content.shape
    value.type.tensorType.rank = len(shape)
    for size in shape:
        value.type.tensorType.dimensions.add().constant.size = size
    return value
