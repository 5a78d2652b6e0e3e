"""The JSON Schemas that come with mien, of what its commands print."""

import json
from importlib.resources import files

from mien.mobile_reference.schema import Schema

_FOLDER = files("mien.mobile_reference.output").joinpath("schemas")
_ENDING = ".schema.json"
NAMES = frozenset(entry.name.removesuffix(_ENDING) for entry in _FOLDER.iterdir())


def schema(name: str) -> Schema:
    """Return the schema of a command's output, such as ``verify`` or ``coreml-run``."""
    return Schema(json.loads(_FOLDER.joinpath(name + _ENDING).read_text()))
