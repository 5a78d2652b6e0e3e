"""How coremltools runs the passes that turn a program into a package."""

from collections.abc import Iterator
from contextlib import contextmanager


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
