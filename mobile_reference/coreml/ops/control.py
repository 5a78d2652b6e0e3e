"""Branches, loops and states."""
# ruff: noqa: FBT001  MIL's own parameters are truths

from typing import Any

from mien.mobile_reference.coreml.program import Array
from mien.mobile_reference.coreml.registry import Context, State, Values, exact
from mien.mobile_reference.errors import EvaluationError

MAX_TURNS = 1_000_000  # a loop without end is an error, not a hang


@exact("cond")
def cond(context: Context, pred: bool) -> Values:
    """The first block where ``pred`` holds, else the second."""
    return context.run_block(0 if pred else 1, ())


@exact("while_loop")
def while_loop(context: Context, loop_vars: Values) -> Values:
    """The second block, as long as the first gives true."""
    for _ in range(MAX_TURNS):
        if not bool(context.run_block(0, loop_vars)[0]):
            return loop_vars
        loop_vars = context.run_block(1, loop_vars)
    raise EvaluationError(f"a loop did not end after {MAX_TURNS} turns")


@exact("read_state", "CoreML8")
def read_state(input: State) -> Array:  # noqa: A002  MIL's own name
    """The present value of a state."""
    return input.value


@exact("write_state", "CoreML8")
def write_state(input: State, data: Array) -> Any:  # noqa: A002  MIL's own name
    """Replace the value of a state."""
    if data.shape != input.value.shape or data.dtype != input.value.dtype:
        raise EvaluationError(
            f"a state of {input.value.dtype} {input.value.shape} cannot become {data.dtype} {data.shape}"
        )
    input.value = data
    return ()
