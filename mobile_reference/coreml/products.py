"""The products of a Core ML function: operations that multiply what they read, by stored weights or not.

They are found in the function itself, whatever a converter called them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from .program import Array, Constant, Function, Operation, Reference, TensorType, ValueType, walk

# Where an operation has what it reads and what it multiplies it by.
_OPERANDS: Mapping[str, tuple[str, str]] = {
    "conv": ("x", "weight"),
    "conv_transpose": ("x", "weight"),
    "linear": ("x", "weight"),
    "matmul": ("x", "y"),
}
KINDS = frozenset(_OPERANDS)
"""The operations that are products."""


@dataclass(frozen=True)
class Product:
    """One product: what it reads, the operation that stores its weights, if any, and how often it multiplies.

    Attributes:
        operation: as the program has it.
        source: the tensor that it reads, as an operation or an input of the function gives it.
        source_maker: the type of the operation that gives ``source``; ``input`` for an input.
        parameter: the parameter that has the weights.
        stored: the constant, or the operation that unpacks it; None where both factors are computed.
        bias: the constant that is added; None without one.
        turned: the order of axes that makes stored weights those of a plain product; None for the same.
        multiplications: of one run.
    """

    operation: Operation
    source: str
    source_maker: str
    parameter: str
    stored: Operation | None
    bias: Operation | None
    turned: Sequence[int] | None
    multiplications: int

    @property
    def is_compressed(self) -> bool:
        """Whether the weights are stored in fewer bits."""
        return self.stored is not None and self.stored.type != "const"

    @property
    def is_int8(self) -> bool:
        """Whether both weights and what is read have eight bits."""
        return self.is_compressed and self.source_maker == "dequantize"

    @property
    def takes_bias(self) -> bool:
        """Whether a bias can be stored: a matrix product has none, and a computed one stays."""
        return self.operation.type != "matmul" and (
            self.bias is not None or "bias" not in self.operation.arguments
        )

    @property
    def size(self) -> int:
        """How many weights are stored."""
        return 0 if self.stored is None else prod(_shape(self.stored.outputs[0].type))

    def weight(self) -> Array | None:
        """Load the weights as PyTorch has those of a plain product: [out, in of a group, ...], as float32.

        None where they are not stored, or stored in fewer bits.
        """
        if self.stored is None or self.is_compressed:
            return None
        stored = loaded(self.stored)
        return stored if self.turned is None else np.ascontiguousarray(stored.transpose(self.turned))


def loaded(constant: Operation) -> Array:
    """Load a constant as float32."""
    (value,) = constant.arguments["val"]
    assert isinstance(value, Constant)  # noqa: S101  checked when the program was read
    return np.asarray(value.load(), np.float32)


def float_constants(function: Function) -> Iterator[tuple[str, Array]]:
    """Yield the name and the values [N] of every constant of floats, its blocks' own among them."""
    for operation in walk(function.body):
        for value in operation.arguments["val"] if operation.type == "const" else ():
            array = value.load() if isinstance(value, Constant) else None
            if isinstance(array, np.ndarray) and np.issubdtype(array.dtype, np.floating):
                yield operation.name, array.ravel()


def products(function: Function) -> Iterator[Product]:
    """Yield the products of a function in its order."""
    makers = {output.name: operation for operation in walk(function.body) for output in operation.outputs}
    types = {named.name: named.type for named in function.inputs}
    types |= {o.name: o.type for operation in makers.values() for o in operation.outputs}
    for operation in walk(function.body):
        if operation.type in _OPERANDS:
            yield _product(operation, makers, types)


def _product(
    operation: Operation, makers: Mapping[str, Operation], types: Mapping[str, ValueType]
) -> Product:
    source, parameter = _OPERANDS[operation.type]
    stored = _stored(operation, parameter, makers)
    if stored is None and operation.type == "matmul" and _stored(operation, source, makers) is not None:
        source, parameter = parameter, source
        stored = _stored(operation, parameter, makers)
    read = _name(operation, source)
    maker = makers[read].type if read in makers else "input"
    bias = _stored(operation, "bias", makers) if "bias" in operation.arguments else None
    count = _multiplications(operation, parameter, makers, types)
    turned = _turned(operation, parameter, makers) if stored else None
    return Product(operation, read, maker, parameter, stored, bias, turned, count)


def _stored(operation: Operation, parameter: str, makers: Mapping[str, Operation]) -> Operation | None:
    """Return the operation that stores an argument: a constant, or what unpacks constants."""
    maker = makers.get(_name(operation, parameter))
    is_stored = maker is not None and (maker.type == "const" or maker.type.startswith("constexpr_"))
    return maker if is_stored else None


def _name(operation: Operation, parameter: str) -> str:
    """Name the tensor of an argument; one that is written into the operation has none."""
    (found,) = operation.arguments[parameter]
    return found.name if isinstance(found, Reference) else ""


def _turned(operation: Operation, parameter: str, makers: Mapping[str, Operation]) -> Sequence[int] | None:
    """Say how stored weights turn into [out, in, ...]: a matrix on the right lies [in, out]."""
    rank = len(_shape(makers[_name(operation, parameter)].outputs[0].type))
    if operation.type == "conv_transpose":
        return (1, 0, *range(2, rank))
    if operation.type != "matmul" or rank < 2:
        return None
    is_turned = _flag(operation, f"transpose_{parameter}", makers)
    return (*range(rank - 2), rank - 1, rank - 2) if is_turned == (parameter == "x") else None


def _flag(operation: Operation, parameter: str, makers: Mapping[str, Operation]) -> bool:
    """Return a constant truth value, false where it is left out."""
    for argument in operation.arguments.get(parameter, ()):
        constant = makers[argument.name].arguments["val"][0] if isinstance(argument, Reference) else argument
        return bool(np.all(np.asarray(constant.load()))) if isinstance(constant, Constant) else False
    return False


def _multiplications(
    operation: Operation,
    parameter: str,
    makers: Mapping[str, Operation],
    types: Mapping[str, ValueType],
) -> int:
    """Count them: every value that is made, or read by a transposed convolution, meets some weights."""

    def shape(name: str) -> tuple[int, ...]:
        (argument,) = operation.arguments[name]
        return _shape(types[argument.name] if isinstance(argument, Reference) else argument.type)

    made = prod(_shape(operation.outputs[0].type))
    if operation.type == "matmul":
        return made * shape("x")[-2 if _flag(operation, "transpose_x", makers) else -1]
    weight = shape(parameter)
    return prod(shape("x") if operation.type == "conv_transpose" else (made,)) * prod(weight[1:])


def _shape(kind: ValueType) -> tuple[int, ...]:
    """Return a shape; axes of free size count as one."""
    shape = kind.shape if isinstance(kind, TensorType) else None
    return tuple(size or 1 for size in shape or ())


def share_int8(functions: Sequence[Function]) -> float:
    """Return the share of all multiplications whose factors both have eight bits; 0 without any."""
    found = [one for function in functions for one in products(function)]
    total = sum(one.multiplications for one in found)
    return sum(one.multiplications for one in found if one.is_int8) / total if total else 0.0


def share_compressed(functions: Sequence[Function]) -> float:
    """Return the share of all stored weights of products that are stored in fewer bits; 0 without any."""
    found = [one for function in functions for one in products(function)]
    total = sum(one.size for one in found)
    return sum(one.size for one in found if one.is_compressed) / total if total else 0.0
