"""Documents held against their JSON Schema: what is wrong, and where."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jsonschema_rs import Draft202012Validator


@dataclass(frozen=True)
class Problem:
    """What is wrong at a place of a document: ``path`` has its keys and indices, from the root on."""

    path: tuple[str | int, ...]
    message: str

    @property
    def where(self) -> str:
        """The place as text, such as ``variants/0/name``; empty at the root."""
        return "/".join(map(str, self.path))


class Schema:
    """A JSON Schema (draft 2020-12) as read from its file, ``definition``."""

    def __init__(self, definition: Mapping[str, Any]) -> None:
        self.definition = dict(definition)
        self._validator = Draft202012Validator(self.definition)

    def problems(self, document: Any) -> list[Problem]:
        """Return what is wrong with a document that ``parse_json`` read, by place; nothing if it conforms."""
        found = [
            Problem(tuple(error.instance_path), error.message)
            for error in self._validator.iter_errors(document)
        ]
        return sorted(found, key=lambda problem: list(map(str, problem.path)))
