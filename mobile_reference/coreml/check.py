"""Everything about a function that can be found wrong without executing it."""

from collections import Counter
from collections.abc import Iterable, Iterator

from mien.mobile_reference.errors import PackageError, UnsupportedError

from .program import Block, Constant, Function, Operation, walk
from .registry import OPERATIONS, OPSETS

MAX_SHOWN = 20  # names in one message; the count says how many there are


def check_function(function: Function) -> None:
    """Refuse a function that cannot run, naming all that is missing.

    Raises:
        UnsupportedError: operations or parameters that the evaluator does not have.
        PackageError: names that nothing defines, that are defined twice or used too early.
    """
    missing = sorted(set(_unsupported(function)))
    if missing:
        raise UnsupportedError(
            f"function '{function.name}' needs what the evaluator does not have: "
            f"{_listed(missing)}; nothing was executed"
        )
    inputs = [named.name for named in function.inputs]
    wrong = [
        *_empty_constants(function.body),
        *_block_names(function.body, set(), inputs),
        *_twice(function.body),
    ]
    if wrong:
        raise PackageError(f"function '{function.name}' is not a program: {_listed(wrong)}")


def _listed(texts: list[str]) -> str:
    shown = "; ".join(texts[:MAX_SHOWN])
    return shown if len(texts) <= MAX_SHOWN else f"{shown}; and {len(texts) - MAX_SHOWN} more"


def _unsupported(function: Function) -> Iterator[str]:
    if function.opset not in OPSETS:
        yield f"opset {function.opset} (known: {', '.join(OPSETS)})"
        return
    for operation in walk(function.body):
        yield from _operation_problems(operation, function.opset)


def _operation_problems(operation: Operation, opset: str) -> Iterator[str]:
    if operation.type == "const":
        return
    spec = OPERATIONS.get((operation.type, opset))
    if spec is None:
        yield f"operation '{operation.type}' of {opset}"
        return
    for name in operation.arguments:
        if name not in spec.parameters:
            yield f"parameter '{name}' of '{operation.type}' in {opset}"
    for name, parameter in spec.parameters.items():
        if parameter.required and not operation.arguments.get(name):
            yield f"'{operation.type}' without its parameter '{name}' (giving {operation.name})"


def _block_names(block: Block, outer: set[str], inputs: Iterable[str]) -> Iterator[str]:
    """Names used before they are defined: a cycle or a gap."""
    known = outer | set(inputs)
    for operation in block.operations:
        for name in operation.references():
            if name not in known:
                yield (
                    f"'{operation.type}' giving '{operation.name}' uses '{name}', "
                    "which nothing before it defines"
                )
        for inner in operation.blocks:
            yield from _block_names(inner, known, [named.name for named in inner.inputs])
        known |= {output.name for output in operation.outputs}
    for name in block.outputs:
        if name not in known:
            yield f"a block gives '{name}', which nothing defines"


def _empty_constants(body: Block) -> Iterator[str]:
    for operation in walk(body):
        value = operation.arguments.get("val", ())
        sound = len(operation.outputs) == len(value) == 1 and isinstance(value[0], Constant)
        if operation.type == "const" and not sound:
            yield f"the constant '{operation.name}' has no value"


def _twice(body: Block) -> Iterator[str]:
    """Names that more than one operation gives, wherever these are."""
    counts = Counter(output.name for operation in walk(body) for output in operation.outputs)
    yield from (f"'{name}' is defined {count} times" for name, count in counts.items() if count > 1)
