"""Reading JSON from outside: what the one writer of JSON would not write is refused."""

import json
from typing import Any

from mien.mobile_reference.output.json_text import not_json
from mien.mobile_reference.output.text import shown

_MAX_DIGITS = 18


def parse_json(data: bytes | str) -> Any:
    """Read JSON, as bytes in UTF-8; a byte order mark is passed over.

    Raises:
        ValueError: it is not JSON (RFC 8259), an object has a name twice, a number is not finite or a whole
            one has more than 18 digits, a text has half of a surrogate pair, or it is nested too deeply.
    """
    try:
        text = data.decode("utf-8-sig") if isinstance(data, bytes) else data
        value = json.loads(text, parse_int=_moderate, object_pairs_hook=_unambiguous)
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


def _unambiguous(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make an object of its members; of a name that is there twice, readers take either."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{shown(twice)[:80]!r} is there twice")
    return found
