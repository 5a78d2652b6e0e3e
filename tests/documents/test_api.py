"""The API reference is that of the code."""

import inspect

import pytest

import mien

from .api import PAGE, reference

_NAMES = [name for name in mien.__all__ if not name.startswith("_")]


def test_the_page_is_of_this_code() -> None:
    again = "docs/api.md is of other docstrings; run python -m tests.documents.api --write"
    assert PAGE.read_text(encoding="utf-8") == reference(), again


@pytest.mark.parametrize("name", _NAMES)
def test_every_public_name_explains_itself_with_an_example(name: str) -> None:
    text = inspect.getdoc(getattr(mien, name)) or ""
    assert "Example:\n    >>> " in text
