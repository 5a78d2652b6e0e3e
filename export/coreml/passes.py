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
def mended_passes() -> Iterator[None]:
    """Let coremltools run its passes as both of the above say."""
    with rarely_validated(), scalars_added():
        yield
