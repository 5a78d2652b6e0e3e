"""The table of operations: name and opset -> function and parameters.

An operation is a plain function. Its signature is its schema: names and defaults are those of MIL,
and the annotation says in what form a parameter arrives. A parameter that the signature lacks is an
error before anything runs, as is an operation that the table lacks.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from types import NoneType
from typing import Any, get_args

import numpy as np

from mien.mobile_reference.errors import EvaluationError

from .arithmetic import Arithmetic
from .precision import Policy
from .program import Array, Operation

OPSETS = ("CoreML5", "CoreML6", "CoreML7", "CoreML8")

Ints = tuple[int, ...]
Arrays = tuple[Array, ...]


@dataclass
class State:
    """A tensor that outlives a prediction; the only value that changes in place."""

    value: Array


@dataclass(frozen=True)
class TensorList:
    """A MIL list: tensors of one shape and type, which grows when written beyond its end."""

    items: tuple[Array, ...]


Value = Array | str | State | TensorList | tuple[Any, ...] | dict[Any, float]
Values = tuple[Value, ...]


@dataclass(frozen=True)
class Context:
    """What an operation may ask of the evaluator.

    Attributes:
        operation: the operation as the program has it.
        policy: how to round.
        arithmetic: who multiplies.
        run_block: executes the nested block of a number with the given inputs.
    """

    operation: Operation
    policy: Policy
    arithmetic: Arithmetic
    run_block: Callable[[int, Values], Values]


class Rounding(Enum):
    """How an operation treats reals."""

    ONCE = "computes in the policy's type, the evaluator rounds its results once"
    NEVER = "moves values or states the type of its result itself"


@dataclass(frozen=True)
class Parameter:
    """One parameter: how its argument is brought into the form the function expects."""

    name: str
    convert: Callable[[str, Values], Any]
    required: bool
    is_array: bool


@dataclass(frozen=True)
class OperationSpec:
    """One row of the table."""

    name: str
    function: Callable[..., Any]
    parameters: Mapping[str, Parameter]
    needs_context: bool
    rounding: Rounding


OPERATIONS: dict[tuple[str, str], OperationSpec] = {}


def register(
    name: str, function: Callable[..., Any], rounding: Rounding, opsets: tuple[str, ...] = OPSETS
) -> None:
    """Enter ``function`` for ``name`` in each of ``opsets``; a second entry is a defect."""
    spec = _spec(name, function, rounding)
    for opset in opsets:
        if (name, opset) in OPERATIONS:
            raise ValueError(f"operation '{name}' of {opset} is registered twice")
        OPERATIONS[name, opset] = spec


def op[F: Callable[..., Any]](name: str, *opsets: str) -> Callable[[F], F]:
    """Register an operation that computes; the evaluator rounds its float results once."""
    return _registering(name, Rounding.ONCE, opsets)


def exact[F: Callable[..., Any]](name: str, *opsets: str) -> Callable[[F], F]:
    """Register an operation that moves values, or that states the type of its result itself."""
    return _registering(name, Rounding.NEVER, opsets)


def _registering[F: Callable[..., Any]](
    name: str, rounding: Rounding, opsets: tuple[str, ...]
) -> Callable[[F], F]:
    def enter(function: F) -> F:
        register(name, function, rounding, opsets or OPSETS)
        return function

    return enter


def _spec(name: str, function: Callable[..., Any], rounding: Rounding) -> OperationSpec:
    signature = inspect.signature(function)
    parameters = {
        p.name: Parameter(
            p.name,
            _converter(p.annotation),
            required=p.default is inspect.Parameter.empty,
            is_array=_plain(p.annotation) in (Array, Arrays),
        )
        for p in signature.parameters.values()
        if p.annotation is not Context
    }
    needs_context = len(parameters) < len(signature.parameters)
    return OperationSpec(name, function, parameters, needs_context, rounding)


def _plain(annotation: Any) -> Any:
    """The annotation without ``| None``; aliases of unions such as `Value` stay as they are."""
    members = get_args(annotation)
    if NoneType in members:
        return next(m for m in members if m is not NoneType)
    return annotation


def _converter(annotation: Any) -> Callable[[str, Values], Any]:
    plain = _plain(annotation)
    for form, convert in _CONVERTERS:
        if form == plain:
            return convert
    raise TypeError(f"no argument can be brought into the form {annotation}")


def _single(name: str, values: Values) -> Any:
    if len(values) != 1:
        raise EvaluationError(f"parameter '{name}' takes one value and got {len(values)}")
    return values[0]


def _array(name: str, values: Values) -> Array:
    value = _single(name, values)
    if not isinstance(value, np.ndarray | np.generic):
        raise EvaluationError(f"parameter '{name}' takes a tensor and got {_kind(value)}")
    return np.asarray(value)


def _scalar(kinds: str, form: Callable[[Any], Any]) -> Callable[[str, Values], Any]:
    def convert(name: str, values: Values) -> Any:
        array = _array(name, values)
        if array.size != 1 or array.dtype.kind not in kinds:
            raise EvaluationError(
                f"parameter '{name}' takes one {form.__name__} and got {array.dtype} of shape {array.shape}"
            )
        return form(array.reshape(()).item())

    return convert


def _ints(name: str, values: Values) -> Ints:
    array = _array(name, values)
    if array.dtype.kind not in "iub" or array.ndim > 1:
        raise EvaluationError(
            f"parameter '{name}' takes whole numbers and got {array.dtype} of shape {array.shape}"
        )
    return tuple(int(n) for n in array.reshape(-1))


def _text(name: str, values: Values) -> str:
    value = _single(name, values)
    if not isinstance(value, str):
        raise EvaluationError(f"parameter '{name}' takes a text and got {_kind(value)}")
    return value


def _arrays(name: str, values: Values) -> Arrays:
    return tuple(_array(name, (value,)) for value in values)


def _instance(kind: type) -> Callable[[str, Values], Any]:
    def convert(name: str, values: Values) -> Any:
        value = _single(name, values)
        if not isinstance(value, kind):
            raise EvaluationError(f"parameter '{name}' takes a {kind.__name__}, got {_kind(value)}")
        return value

    return convert


def _all(name: str, values: Values) -> Values:
    return values


def _kind(value: Any) -> str:
    return "a text" if isinstance(value, str) else f"a {type(value).__name__}"


_CONVERTERS: tuple[tuple[Any, Callable[[str, Values], Any]], ...] = (
    (Array, _array),
    (Arrays, _arrays),
    (Ints, _ints),
    (int, _scalar("iu", int)),
    (float, _scalar("fiu", float)),
    (bool, _scalar("b", bool)),
    (str, _text),
    (State, _instance(State)),
    (TensorList, _instance(TensorList)),
    (Values, _all),
)
