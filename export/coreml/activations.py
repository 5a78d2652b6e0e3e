"""int8 activations of a Core ML package: the ranges that TFLite has, operations inserted by us.

Quantised is what the convolutions with int8 weights read. That lies behind the activation function, which
has already cut it to what is needed; the converter's own passes quantise in front of it, where a ReLU6 of
0..6 may still reach ten times as far. Whatever else reads the tensor gets it unrounded.

coremltools 9.0 gathers ranges on macOS alone.
"""

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.export.errors import ConversionError
from mien.export.tflite.ranges import Range, hulls
from mien.mobile_reference.coreml import load_package
from mien.mobile_reference.coreml.package import root_model
from mien.mobile_reference.coreml.program import Operation, Program, Reference

_LEVELS = 255


def ranges_of_tensors(
    package: Path, weights: Collection[str], ranges: Mapping[str, Range]
) -> dict[str, Range]:
    """Give every tensor that convolutions with some of ``weights`` read the range of these.

    Args:
        package: a saved package.
        weights: the weights' names, without what converters append.
        ranges: by these names.

    Raises:
        ConversionError: a convolution with one of the weights has no range.
    """
    reads = list(_reads(load_package(package), weights))
    missing = sorted({name for _, name in reads} - ranges.keys())
    if missing:
        raise ConversionError(
            f"{', '.join(missing)} of {package} has no range; its TFLite graph has no such filter"
        )
    return hulls((source, ranges[name]) for source, name in reads)


def _reads(program: Program, weights: Collection[str]) -> Iterator[tuple[str, str]]:
    """Yield the tensor that a convolution reads, and which of ``weights`` it has."""
    for operation in program.functions[program.default_function].body.operations:
        if operation.type == "conv":
            source, stored = (_name(operation, argument) for argument in ("x", "weight"))
            yield from ((source, name) for name in weights if source and stored.startswith(name))


def _name(operation: Operation, argument: str) -> str:
    """Name the tensor that an operation reads; a constant has none."""
    (found,) = operation.arguments[argument]
    return found.name if isinstance(found, Reference) else ""


def quantise_activations(package: Path, ranges: Mapping[str, Range]) -> None:
    """Rewrite a saved package of iOS 17 or later: its convolutions read the tensors of ``ranges`` as uint8.

    Each such tensor is quantised with one scale and zero point and brought back to float before the
    convolution, which the runtime may fuse.
    """
    from coremltools.proto.Model_pb2 import Model

    file = root_model(package)
    model = Model.FromString(file.read_bytes())
    function = model.mlProgram.functions["main"]
    block = function.block_specializations[function.opset]
    operations: list[Any] = []
    quantised: dict[str, str] = {}
    for operation in block.operations:
        if operation.type == "conv":
            binding = operation.inputs["x"].arguments[0]
            binding.name = quantised.get(binding.name, binding.name)
        operations.append(operation)
        for output in operation.outputs:
            if output.name in ranges:
                pair = _quantised(output, ranges[output.name])
                operations += pair
                quantised[output.name] = pair[-1].outputs[0].name
    del block.operations[:]
    block.operations.extend(operations)
    file.write_bytes(model.SerializeToString(deterministic=True))


def scale_and_zero(reach: Range, dtype: Any) -> tuple[NDArray[Any], NDArray[np.uint8]]:
    """Return what maps ``reach``, widened to hold 0, to 0..255: real = scale * (stored - zero point)."""
    low, high = min(reach[0], 0.0), max(reach[1], 0.0)
    # A tensor that is always 0 needs some scale; and a float16 one must not round down, or the ends are cut.
    scale = np.nextafter(dtype((high - low) / _LEVELS or 1.0), dtype(np.inf))
    return scale, np.clip(np.rint(-low / float(scale)), 0, _LEVELS).astype(np.uint8)


def _quantised(tensor: Any, reach: Range) -> list[Any]:
    """List the operations that store a tensor as uint8 and bring it back."""
    from coremltools.proto import MIL_pb2

    half = tensor.type.tensorType.dataType == MIL_pb2.FLOAT16
    scale, zero = scale_and_zero(reach, np.float16 if half else np.float32)
    name = tensor.name
    constants = {
        "scale": _constant(f"{name}_scale", scale),
        "zero_point": _constant(f"{name}_zero_point", zero),
        "output_dtype": _constant(f"{name}_stored_type", "uint8"),
    }
    stored = MIL_pb2.NamedValueType(name=f"{name}_stored", type=tensor.type)
    stored.type.tensorType.dataType = MIL_pb2.UINT8
    restored = MIL_pb2.NamedValueType(name=f"{name}_restored", type=tensor.type)
    names = {parameter: constant.outputs[0].name for parameter, constant in constants.items()}
    rule = {parameter: names[parameter] for parameter in ("scale", "zero_point")}
    return [
        *constants.values(),
        _operation("quantize", {"input": name, **names}, stored),
        _operation("dequantize", {"input": stored.name, **rule}, restored),
    ]


def _operation(kind: str, inputs: Mapping[str, str], output: Any) -> Any:
    from coremltools.proto import MIL_pb2

    operation = MIL_pb2.Operation(type=kind, outputs=[output])
    operation.attributes["name"].CopyFrom(_value(output.name))
    for parameter, name in inputs.items():
        operation.inputs[parameter].arguments.add(name=name)
    return operation


def _constant(name: str, content: Any) -> Any:
    from coremltools.proto import MIL_pb2

    value = _value(content)
    constant = MIL_pb2.Operation(type="const", outputs=[MIL_pb2.NamedValueType(name=name, type=value.type)])
    constant.attributes["name"].CopyFrom(_value(name))
    constant.attributes["val"].CopyFrom(value)
    return constant


def _value(content: Any) -> Any:
    """Write a text or a single number as the package has it."""
    from coremltools.proto import MIL_pb2

    value = MIL_pb2.Value()
    tensor = value.immediateValue.tensor
    if isinstance(content, str):
        kind = MIL_pb2.STRING
        tensor.strings.values.append(content)
    elif content.dtype == np.float32:
        kind = MIL_pb2.FLOAT32
        tensor.floats.values.append(float(content))
    else:
        kind = {"float16": MIL_pb2.FLOAT16, "uint8": MIL_pb2.UINT8}[content.dtype.name]
        tensor.bytes.values = content.tobytes()
    value.type.tensorType.dataType = kind
    return value
