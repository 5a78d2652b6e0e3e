"""Reading JSON from outside: what the one writer of JSON would not write is refused."""

import json
from typing import Any

from mien.mobile_reference.output.json_text import not_json

_MAX_DIGITS = 18


def parse_json(data: bytes | str) -> Any:
    """Read JSON, as bytes in UTF-8.

    Raises:
        ValueError: it is not JSON (RFC 8259), a number is not finite or a whole one has more than 18 digits,
            a text has half of a surrogate pair, or it is nested too deeply.
    """
    try:
        value = json.loads(data, parse_int=_moderate)
        # Python's JSON takes NaN and Infinity, which would judge nothing, and half of a surrogate pair, which
        # could neither be printed nor stored.
        for where, what in not_json(value):
            raise ValueError(f"it holds {what} at {'/'.join(where) or 'its root'}"[:200])
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    return value


def _moderate(text: str) -> int:
    """Read a whole number; one beyond 64 bits would not become a float, or take a shape's place."""
    if len(text) > _MAX_DIGITS:
        raise ValueError(f"a number of {len(text)} digits")
    return int(text)
