"""The one writer of JSON: what it returns, every reader of JSON can read."""

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

from mien.mobile_reference.errors import ResultError


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
    if isinstance(value, Mapping):
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
