"""Executes one function of a program, operation by operation, and checks every result.

Constants and everything that follows from them alone are computed once, when an evaluator is made.
Other values live from the operation that gives them to the last that uses them, nested blocks
included.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mien.mobile_reference.errors import EvaluationError, MienError, UsageError

from . import ops as _ops  # noqa: F401  fills the table of operations
from .arithmetic import Arithmetic, HalfSums, best_arithmetic
from .check import check_function
from .features import accept_inputs, deliver_outputs
from .precision import DECLARED, HALF, Policy
from .program import (
    Argument,
    Array,
    Block,
    Constant,
    Function,
    NamedType,
    Operation,
    Program,
    Reference,
    StateType,
    TensorType,
    walk,
)
from .registry import OPERATIONS, Context, OperationSpec, Rounding, State, Value, Values

Observer = Callable[[str, Value], None]


@dataclass(frozen=True)
class Step:
    """One operation, ready to run.

    Attributes:
        operation: as the program has it.
        spec: its row in the table.
        fixed: converted arguments that are constant.
        moving: arguments to look up at each run.
        anchor: type of the first constant tensor argument, for operations without a moving one.
        last_use: names that no later operation of the block uses.
    """

    operation: Operation
    spec: OperationSpec
    fixed: Mapping[str, Any]
    moving: Mapping[str, tuple[Argument, ...]]
    anchor: np.dtype[np.generic] | None
    last_use: tuple[str, ...]


@dataclass
class Scope:
    """Values by name; a nested block sees those of the block around it."""

    values: dict[str, Value]
    outer: "Scope | None" = None

    def find(self, name: str) -> Value:
        """Look ``name`` up here, then outwards."""
        scope: Scope | None = self
        while scope is not None:
            if name in scope.values:
                return scope.values[name]
            scope = scope.outer
        raise KeyError(name)


@dataclass(frozen=True)
class Plan:
    """A block as steps."""

    block: Block
    steps: tuple[Step, ...]


class Evaluator:
    """Executes a program; numpy in, numpy out. Not validated on Apple hardware.

    Args:
        program: from `load_package`.
        policy: how reals are rounded, see `precision.POLICIES`.
        arithmetic: who multiplies; torch where it is installed when left out.
        function: the function to run; the package's default when left out.
        observer: called with the name and value of every result of every operation as it is
        computed;
            constants are in `constants` instead.

    Raises:
        UnsupportedError: the program needs what the evaluator does not have; all of it is listed.
        PackageError: the program refers to names that do not exist.
    """

    def __init__(
        self,
        program: Program,
        policy: Policy = DECLARED,
        arithmetic: Arithmetic | None = None,
        function: str | None = None,
        observer: Observer | None = None,
    ) -> None:
        self.program = program
        self.policy = policy
        self.function = _function(program, function)
        self.interface = program.interfaces.get(self.function.name)
        self._arithmetic = best_arithmetic() if arithmetic is None else arithmetic
        self._half_sums = None if policy.block is None else HalfSums(policy.block)
        self._observer = observer
        check_function(self.function)
        self.constants: dict[str, Value] = {}
        with np.errstate(all="ignore"):
            self._fold(self.function.body)
        self._plans: dict[int, Plan] = {}
        self._plan(self.function.body)
        self._forget_unused_constants()

    def __call__(self, /, state: Mapping[str, State] | None = None, **inputs: Any) -> dict[str, Value]:
        """Predict, with inputs as an app has them.

        Args:
            state: from `new_state`, for programs that keep one.
            inputs: by feature name. Images are uint8 in RGB order, (height, width, 3), or
                (height, width) for grey ones; multi-arrays are numpy arrays of the declared shape.

        Returns:
            Outputs by feature name. Images come back as uint8 in the same layout; a classifier
            gives its label and a dictionary of probabilities.

        Raises:
            EvaluationError: an input has a wrong name, shape or type, or an operation contradicts
                what the program declares.
        """
        tensors = accept_inputs(self.function, self.interface, inputs)
        return deliver_outputs(self.tensors(tensors, state), self.interface)

    def tensors(
        self, inputs: Mapping[str, Array], state: Mapping[str, State] | None = None
    ) -> dict[str, Value]:
        """Execute the function itself, without the conversions that images need.

        Args:
            inputs: tensors by name, exactly as the function declares them.
            state: from `new_state`, for programs that keep one.

        Returns:
            The function's results by name, in the types of the policy.
        """
        scope = Scope(dict(self._inputs(inputs, state or {})))
        with np.errstate(all="ignore"):  # overflow to infinity is a result, as on the device
            values = self._run(self.function.body, scope)
        return dict(zip(self.function.body.outputs, values, strict=True))

    def new_state(self) -> dict[str, State]:
        """Zeros for every state that the function keeps between predictions."""
        return {
            named.name: State(self._zeros(named.type.wrapped))
            for named in self.function.inputs
            if isinstance(named.type, StateType)
        }

    def _zeros(self, kind: Any) -> Array:
        return self.policy.store(np.zeros(kind.shape, dtype=kind.kind.dtype))

    def _inputs(self, inputs: Mapping[str, Array], state: Mapping[str, State]) -> Iterator[tuple[str, Value]]:
        declared = {named.name: named for named in self.function.inputs}
        given: dict[str, Any] = {**inputs, **state}
        if declared.keys() != given.keys():
            raise EvaluationError(
                f"function '{self.function.name}' takes {sorted(declared)}, got {sorted(given)}"
            )
        for name, value in given.items():
            if not isinstance(value, State):
                value = self.policy.store(np.asarray(value))
                self._check(value, declared[name], f"input '{name}'")
            yield name, value

    # -- constants -----------------------------------------------------------------------------

    def _fold(self, block: Block) -> None:
        """Compute what follows from constants alone."""
        for operation in block.operations:
            if operation.type == "const":
                value = self._constant(operation.arguments["val"][0])
                self._check(value, operation.outputs[0], f"the constant '{operation.name}'")
                self.constants[operation.name] = value
            elif self._is_constant(operation):
                step = self._step(operation, ())
                results = self._execute(step, Scope(self.constants))
                names = (output.name for output in operation.outputs)
                self.constants.update(zip(names, results, strict=True))
            for inner in operation.blocks:
                self._fold(inner)

    def _is_constant(self, operation: Operation) -> bool:
        if operation.blocks or operation.type.startswith(("random_", "make_list")):
            return False
        return all(name in self.constants for name in operation.references())

    def _constant(self, argument: Argument) -> Value:
        assert isinstance(argument, Constant)  # noqa: S101  callers pass references elsewhere
        value = argument.load()
        return self.policy.store(np.array(value)) if isinstance(value, np.ndarray) else value

    def _forget_unused_constants(self) -> None:
        used = {
            name
            for plan in self._plans.values()
            for name in (
                *plan.block.outputs,
                *(r for step in plan.steps for r in step.operation.references()),
            )
        }
        self.constants = {name: v for name, v in self.constants.items() if name in used}

    # -- plans ---------------------------------------------------------------------------------

    def _plan(self, block: Block) -> None:
        """Turn a block and those within into steps, with the names that die after each."""
        moving = [o for o in block.operations if o.name not in self.constants]
        local = {named.name for named in block.inputs}
        local |= {output.name for o in moving for output in o.outputs}
        alive = set(block.outputs)
        steps: list[Step] = []
        for operation in reversed(moving):
            used = {name for name in _all_references(operation) if name in local}
            given = {output.name for output in operation.outputs}
            steps.append(self._step(operation, tuple(sorted((used | given) - alive))))
            alive |= used
            for inner in operation.blocks:
                self._plan(inner)
        self._plans[id(block)] = Plan(block, tuple(reversed(steps)))

    def _step(self, operation: Operation, last_use: tuple[str, ...]) -> Step:
        spec = OPERATIONS[operation.type, self.function.opset]
        fixed: dict[str, Any] = {}
        moving: dict[str, tuple[Argument, ...]] = {}
        anchor = None
        for name, parameter in spec.parameters.items():
            arguments = operation.arguments.get(name, ())
            if not arguments:
                continue
            values = tuple(self._known(argument) for argument in arguments)
            if any(value is None for value in values):
                moving[name] = arguments
                continue
            known = tuple(value for value in values if value is not None)
            if parameter.is_array and anchor is None:
                anchor = _float_dtype(known)
            fixed[name] = self._converted(operation, spec, name, known)
        return Step(operation, spec, fixed, moving, anchor, last_use)

    def _known(self, argument: Argument) -> Value | None:
        if isinstance(argument, Reference):
            return self.constants.get(argument.name)
        return self._constant(argument)

    def _converted(self, operation: Operation, spec: OperationSpec, name: str, values: Values) -> Any:
        if spec.rounding is Rounding.ONCE:
            values = tuple(self._lifted(value) for value in values)
        try:
            return spec.parameters[name].convert(name, values)
        except EvaluationError as error:
            raise EvaluationError(f"{_called(operation)}: {error}") from error

    def _lifted(self, value: Value) -> Value:
        if isinstance(value, np.ndarray) and value.dtype.kind == "f":
            return self._arithmetic.cast(value, self.policy.compute)
        return value

    # -- execution -----------------------------------------------------------------------------

    def _run(self, block: Block, scope: Scope) -> Values:
        for step in self._plans[id(block)].steps:
            results = self._execute(step, scope)
            for output, value in zip(step.operation.outputs, results, strict=True):
                scope.values[output.name] = value
                if self._observer is not None:
                    self._observer(output.name, value)
            for name in step.last_use:
                scope.values.pop(name, None)
        return tuple(self._look_up(name, scope) for name in block.outputs)

    def _look_up(self, name: str, scope: Scope) -> Value:
        return self.constants[name] if name in self.constants else scope.find(name)

    def _execute(self, step: Step, scope: Scope) -> Values:
        operation, spec = step.operation, step.spec
        arguments = dict(step.fixed)
        rounded_to = None
        for name, sources in step.moving.items():
            values = tuple(self._resolve(source, scope) for source in sources)
            if spec.parameters[name].is_array and rounded_to is None:
                rounded_to = _float_dtype(values)
            arguments[name] = self._converted(operation, spec, name, values)
        if spec.needs_context:
            arguments["context"] = self._context(operation, scope, rounded_to or step.anchor)
        try:
            result = spec.function(**arguments)
        except MienError as error:
            raise EvaluationError(f"{_called(operation)}: {error}") from error
        except (ValueError, IndexError, TypeError, RuntimeError, ArithmeticError) as error:
            raise EvaluationError(f"{_called(operation)} cannot take its inputs: {error}") from error
        results = result if isinstance(result, tuple) else (result,)
        return self._finish(step, results, rounded_to or step.anchor)

    def _resolve(self, argument: Argument, scope: Scope) -> Value:
        if isinstance(argument, Reference):
            return self._look_up(argument.name, scope)
        return self._constant(argument)

    def _context(
        self, operation: Operation, scope: Scope, rounded_to: np.dtype[np.generic] | None
    ) -> Context:
        def run_block(number: int, inputs: Values) -> Values:
            block = operation.blocks[number]
            names = (named.name for named in block.inputs)
            return self._run(block, Scope(dict(zip(names, inputs, strict=True)), scope))

        half = self._half_sums if rounded_to == HALF else None
        return Context(operation, self.policy, half or self._arithmetic, run_block)

    def _finish(self, step: Step, results: Values, rounded_to: np.dtype[np.generic] | None) -> Values:
        """Round what needs rounding and compare every result with its declaration."""
        outputs = step.operation.outputs
        if len(results) != len(outputs):
            raise EvaluationError(
                f"{_called(step.operation)} gives {len(results)} results, {len(outputs)} declared"
            )
        finished = []
        for value, output in zip(results, outputs, strict=True):
            if isinstance(value, np.ndarray | np.generic):
                value = self._rounded(np.asarray(value), step.spec, rounded_to)
            self._check(value, output, f"{_called(step.operation)}: '{output.name}'")
            finished.append(value)
        return tuple(finished)

    def _rounded(self, array: Array, spec: OperationSpec, rounded_to: np.dtype[np.generic] | None) -> Array:
        if spec.rounding is Rounding.NEVER or array.dtype.kind != "f" or rounded_to is None:
            return self.policy.store(array)
        return self._arithmetic.cast(array, rounded_to)

    def _check(self, value: Value, declared: NamedType, what: str) -> None:
        kind = declared.type
        if not isinstance(kind, TensorType) or not isinstance(value, np.ndarray):
            return
        expected = self.policy.stored(kind.kind.dtype)
        if value.dtype != expected:
            raise EvaluationError(f"{what} has type {value.dtype}, declared is {kind.kind.name}")
        if not _fits(value.shape, kind.shape):
            raise EvaluationError(f"{what} has shape {value.shape}, declared is {kind}")


def _function(program: Program, name: str | None) -> Function:
    chosen = program.default_function if name is None else name
    if chosen not in program.functions:
        raise UsageError(
            f"the package has no function '{chosen}'; it has {', '.join(sorted(program.functions))}"
        )
    return program.functions[chosen]


def _called(operation: Operation) -> str:
    return f"operation '{operation.type}' giving '{operation.name}'"


def _all_references(operation: Operation) -> Iterator[str]:
    """Names that the operation or anything in its blocks uses."""
    yield from operation.references()
    for block in operation.blocks:
        yield from block.outputs
        for inner in walk(block):
            yield from inner.references()
            for nested in inner.blocks:
                yield from nested.outputs


def _float_dtype(values: Values) -> np.dtype[np.generic] | None:
    for value in values:
        if isinstance(value, np.ndarray) and value.dtype.kind == "f":
            return value.dtype
    return None


def _fits(shape: tuple[int, ...], declared: tuple[int | None, ...] | None) -> bool:
    if declared is None:
        return True
    return len(shape) == len(declared) and all(
        want is None or have == want for have, want in zip(shape, declared, strict=True)
    )
