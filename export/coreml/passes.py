"""How coremltools runs the passes that turn a program into a package."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def rarely_validated() -> Iterator[None]:
    """Let coremltools validate a program where passes end, not after each of the hundred.

    It validates in two ways. The thorough one, which also asks that every operation tells where it comes
    from, runs behind the front end, behind every removal of dead code and before the package is written; it
    stays. The other runs behind every pass, says nothing more, and takes longer than the passes.
    """
    from coremltools.converters.mil.mil import Program

    validate = Program.validate

    def only_thorough(program: Program, check_essential_scope: bool = False) -> None:  # noqa: FBT001, FBT002 - as coremltools calls it
        if check_essential_scope:
            validate(program, check_essential_scope=True)

    Program.validate = only_thorough
    try:
        yield
    finally:
        Program.validate = validate


@contextmanager
def scalars_added() -> Iterator[None]:
    """Let coremltools leave a single number where it is that is added to a linear layer of one output.

    It would take it into the bias, asks it for its last axis, and ends with an IndexError.
    """
    from coremltools.converters.mil.mil.passes.defs.optimize_linear import fuse_linear_bias

    fuse = fuse_linear_bias._try_to_transform

    def fuse_vectors(linear: Any, added: Any, block: Any) -> bool:
        return bool(added.x.shape and added.y.shape and fuse(linear, added, block))

    fuse_linear_bias._try_to_transform = staticmethod(fuse_vectors)
    try:
        yield
    finally:
        fuse_linear_bias._try_to_transform = staticmethod(fuse)


@contextmanager
def marked_where_compressed() -> Iterator[None]:
    """Let coremltools mark what follows from compressed weights in programs that have some.

    It marks every value anew whenever a pass leaves a block, a fifth of a conversion; where no weights are
    compressed, and none were, there are no marks.
    """
    from coremltools.converters.mil.mil import Block

    mark = Block._propagate_nonreplaceable_vars

    def marked(block: Any) -> None:
        if _is_compressed(block):
            mark(block)

    Block._propagate_nonreplaceable_vars = marked
    try:
        yield
    finally:
        Block._propagate_nonreplaceable_vars = mark


def _is_compressed(block: Any) -> bool:
    return any(
        operation.op_type.startswith("constexpr_")
        or any(made.nonreplaceable_vars_upstream for made in operation.outputs or ())
        or any(map(_is_compressed, operation.blocks))
        for operation in block.operations
    )


@contextmanager
def unprinted() -> Iterator[None]:
    """Keep coremltools from writing each program out as text for its log, before its passes and after."""
    from coremltools.converters.mil.mil import Program

    text = Program.__str__
    Program.__str__ = object.__repr__
    try:
        yield
    finally:
        Program.__str__ = text


@contextmanager
def mended_passes() -> Iterator[None]:
    """Let coremltools run its passes as all of the above say."""
    with rarely_validated(), scalars_added(), marked_where_compressed(), unprinted():
        yield
