"""The one writer of JSON and the one reader of it: what it would not write, it refuses from outside."""

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

from mien.mobile_reference.errors import ResultError

from .text import shown

_MAX_DIGITS = 18


def json_text(value: Any, *, indent: int | None = None, sort_keys: bool = False) -> str:
    """Return a value as JSON text in ASCII, without a line end.

    Raises:
        ResultError: it holds a number that is not finite, or text that is not Unicode (a lone surrogate).
            JSON has neither, although Python writes both.
    """
    for where, what in not_json(value):
        place = "/".join(where) or "the value itself"
        raise ResultError(f"the result holds {what} at {place}, which JSON cannot say; nothing was written")
    return json.dumps(value, indent=indent, sort_keys=sort_keys, allow_nan=False)


def finite_or_none(value: float | None) -> float | None:
    """Return a number as JSON can say it: none where it is not finite."""
    return value if value is not None and math.isfinite(value) else None


def not_json(value: Any, where: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield the places of what JSON has not, and what is there."""
    if isinstance(value, dict | Mapping):  # whether a Mapping takes long to tell
        for key, one in value.items():
            yield from not_json(key, where)
            yield from not_json(one, (*where, str(key)))
    elif isinstance(value, list | tuple):
        for number, one in enumerate(value):
            yield from not_json(one, (*where, str(number)))
    elif isinstance(value, float) and not math.isfinite(value):
        yield where, str(value)
    elif isinstance(value, str) and not _is_unicode(value):
        yield where, f"the text {value!r:.60}"


def _is_unicode(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


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
