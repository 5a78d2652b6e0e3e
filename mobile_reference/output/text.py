"""Foreign text, such as names of files and what a phone says, shown so that it can forge nothing."""

import os
import unicodedata
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path

import click

_LONGEST = 1400
_CUT = " [...] "


def shown(text: object) -> str:
    r"""Return text on one line, with everything escaped that has no picture of its own.

    Line ends, a terminal's control sequences, marks that turn the direction of writing, and bytes that are
    not UTF-8 are written as Python writes them, such as ``\n``, ``\x1b`` or ``\u202e``.
    """
    return "".join(c if _has_picture(c) else _escaped(c) for c in str(text))


def nearest(word: str, known: Iterable[str]) -> str:
    """Return a question that names what a misspelt word is most like, such as ``; did you mean verify?``."""
    found = get_close_matches(word, list(known), n=1)
    return f"; did you mean {found[0]}?" if found else ""


def path_text(path: Path | str) -> str:
    r"""Return a path as text that JSON can hold: bytes that are not UTF-8 become ``\xe9`` and the like."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def tell(message: object) -> None:
    """Write one line to standard output."""
    click.echo(shown(message))


def say(message: object) -> None:
    """Write one line to standard error; of a very long one the beginning and the end."""
    line = shown(message)
    if len(line) > _LONGEST:
        line = line[: _LONGEST // 2] + _CUT + line[-_LONGEST // 2 :]
    click.echo(f"mien: {line}", err=True)


def _has_picture(character: str) -> bool:
    return character.isprintable() or unicodedata.category(character) == "Zs"


def _escaped(character: str) -> str:
    code = ord(character)
    # Python reads a byte of a name that is not UTF-8 as one of these.
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    return character.encode("unicode_escape").decode("ascii")
