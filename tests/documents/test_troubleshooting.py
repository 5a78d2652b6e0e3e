"""The headings of the troubleshooting page are messages that the code really says."""

import ast
import re

import pytest

from tests.linked_rooms import ROOMS

from .pages import ROOT

PAGE = ROOT / "docs" / "troubleshooting.md"
MESSAGES = re.findall(r"^### `(.+)`$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)


@pytest.fixture(scope="module")
def said() -> str:
    """All texts of the code, one a line; what a name or a number stands in for parts them."""
    files = [ROOT / "setup.py", *(file for room in ROOMS for file in (ROOT / room).rglob("*.py"))]
    trees = (ast.parse(file.read_text(encoding="utf-8")) for file in files)
    nodes = (node for tree in trees for node in ast.walk(tree))
    return "\n".join(
        node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)
    )


def parts(message: str) -> list[str]:
    """Return the words of a message around its names and numbers."""
    return [part for part in message.split("...") if re.search(r"\w\w", part)]


@pytest.mark.parametrize("message", MESSAGES)
def test_the_code_says_it(message: str, said: str) -> None:
    assert parts(message)
    assert [part for part in parts(message) if part.strip(" '") not in said] == []


def test_what_nothing_says_is_seen(said: str) -> None:
    assert len(MESSAGES) > 15
    assert parts("the moon is ... of green cheese") == ["the moon is ", " of green cheese"]
    assert "of green cheese" not in said
