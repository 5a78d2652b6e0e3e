"""Reading JSON from outside: what is no finite number, or no text that can be written again, is refused."""

import json
import math
from typing import Any

_MAX_DIGITS = 18


def parse_json(data: bytes) -> Any:
    """Read JSON in UTF-8.

    Raises:
        ValueError: it is no JSON (RFC 8259), a number is not finite or a whole one has more than 18 digits, a
            text has half of a surrogate pair, or it is nested too deeply.
    """
    try:
        value = json.loads(data, parse_float=_finite, parse_constant=_finite, parse_int=_moderate)
        # Half a surrogate pair, which JSON can spell, could neither be printed nor stored.
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise ValueError("a text has half of a surrogate pair") from error
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    return value


def _finite(text: str) -> float:
    """Read a number; a gate of Infinity or NaN, which Python's JSON takes, would judge nothing."""
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text:.40} is not a finite number")
    return value


def _moderate(text: str) -> int:
    """Read a whole number; one beyond 64 bits would not become a float, or take a shape's place."""
    if len(text) > _MAX_DIGITS:
        raise ValueError(f"a number of {len(text)} digits")
    return int(text)
