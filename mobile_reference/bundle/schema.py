"""A quick yes to what a JSON Schema allows. Whoever gets no yes asks ``jsonschema``, which names the reason.

``jsonschema`` and what it imports take a fifth of a first rating, and are needed for refusals alone. The
meaning of each keyword is that of JSON Schema 2020-12; a test compares the answers with ``jsonschema``'s.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

_Schema = Mapping[str, Any]


class _UnknownError(Exception):
    """A keyword whose meaning this module does not know."""


def conforms(value: Any, schema: _Schema) -> bool:
    """Tell whether ``value``, as ``parse_json`` reads it, is what ``schema`` allows.

    No means either that it is not, or that the schema has a keyword that is not known here.
    """
    try:
        return _agrees(value, schema, schema)
    except _UnknownError:
        return False


def _agrees(value: Any, schema: _Schema, root: _Schema) -> bool:
    return all(_keyword(name)(value, given, schema, root) for name, given in schema.items())


def _keyword(name: str) -> Callable[[Any, Any, _Schema, _Schema], bool]:
    if name not in _KEYWORDS:
        raise _UnknownError(name)
    return _KEYWORDS[name]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


_TYPES: Mapping[str, Callable[[Any], bool]] = {
    "array": lambda value: isinstance(value, list),
    "boolean": lambda value: isinstance(value, bool),
    "integer": lambda value: _is_number(value) and value == value // 1,
    "null": lambda value: value is None,
    "number": _is_number,
    "object": lambda value: isinstance(value, dict),
    "string": lambda value: isinstance(value, str),
}


def _type(value: Any, types: Any, schema: _Schema, root: _Schema) -> bool:
    names = [types] if isinstance(types, str) else types
    return any(_TYPES[name](value) for name in names)


def _same(value: Any, wanted: Any) -> bool:
    """Tell whether two values are equal; True is not 1."""
    if isinstance(wanted, list | dict):
        raise _UnknownError("a value with parts")
    return isinstance(value, bool) == isinstance(wanted, bool) and bool(value == wanted)


def _properties(value: Any, named: Any, schema: _Schema, root: _Schema) -> bool:
    if not isinstance(value, dict):
        return True
    return all(_agrees(value[name], part, root) for name, part in named.items() if name in value)


def _additional(value: Any, part: Any, schema: _Schema, root: _Schema) -> bool:
    if not isinstance(value, dict):
        return True
    others = value.keys() - schema.get("properties", {}).keys()
    if isinstance(part, bool):
        return part or not others
    return all(_agrees(value[name], part, root) for name in others)


def _items(value: Any, part: Any, schema: _Schema, root: _Schema) -> bool:
    return not isinstance(value, list) or all(_agrees(one, part, root) for one in value)


def _refer(value: Any, place: str, schema: _Schema, root: _Schema) -> bool:
    where, _, name = place.rpartition("/")
    if where != "#/$defs":
        raise _UnknownError(place)
    return _agrees(value, root["$defs"][name], root)


def _choose(value: Any, condition: Any, schema: _Schema, root: _Schema) -> bool:
    branch = "then" if _agrees(value, condition, root) else "else"
    return _agrees(value, schema.get(branch, {}), root)


def _of_kind(kind: Callable[[Any], bool], holds: Callable[[Any, Any], bool]) -> Callable[..., bool]:
    """Return a keyword that asks something of values of one kind, and nothing of others."""
    return lambda value, given, schema, root: not kind(value) or holds(value, given)


def _says_nothing(value: Any, given: Any, schema: _Schema, root: _Schema) -> bool:
    return True


_KEYWORDS: Mapping[str, Callable[[Any, Any, _Schema, _Schema], bool]] = {
    "type": _type,
    "const": lambda value, wanted, schema, root: _same(value, wanted),
    "enum": lambda value, wanted, schema, root: any(_same(value, one) for one in wanted),
    "minimum": _of_kind(_is_number, lambda value, least: value >= least),
    "maximum": _of_kind(_is_number, lambda value, most: value <= most),
    "exclusiveMinimum": _of_kind(_is_number, lambda value, least: value > least),
    "pattern": _of_kind(_TYPES["string"], lambda value, given: bool(re.search(given, value))),
    "minItems": _of_kind(_TYPES["array"], lambda value, least: len(value) >= least),
    "maxItems": _of_kind(_TYPES["array"], lambda value, most: len(value) <= most),
    "items": _items,
    "minProperties": _of_kind(_TYPES["object"], lambda value, least: len(value) >= least),
    "required": _of_kind(_TYPES["object"], lambda value, names: all(name in value for name in names)),
    "properties": _properties,
    "additionalProperties": _additional,
    "$ref": _refer,
    "if": _choose,
    "then": _says_nothing,  # "if" reads them
    "else": _says_nothing,
    "$defs": _says_nothing,
    "$schema": _says_nothing,
    "title": _says_nothing,
    "description": _says_nothing,
}
