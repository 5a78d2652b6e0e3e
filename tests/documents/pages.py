"""Reading the documents: their links, headings, commands and what they name."""

import ast
import re
import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.commands import ROOT

_ROOMS = ("docs", "models", "calibration", "export", "mobile_reference", "benchmarks")
PAGES = sorted([*ROOT.glob("*.md"), *(page for room in _ROOMS for page in (ROOT / room).rglob("*.md"))])
_FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
_SHELL = frozenset(["", "sh", "bash", "console"])
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#{1,6} +(.+?) *$", re.MULTILINE)
_SPAN = re.compile(r"`([^`]+)`")
_MODULE = re.compile(r"python -m ((?:mien|tests)\.[\w.]*\w)")
_FILE = re.compile(r"(?:[\w.-]+/)+[\w-][\w.-]*\.\w+")


def prose(text: str) -> str:
    """Return a page without its fenced blocks."""
    return _FENCE.sub("", text)


def links(text: str) -> list[str]:
    """Return what a page links to, as it is written."""
    return _LINK.findall(prose(text))


def anchors(text: str) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    found: Counter[str] = Counter()
    result = set()
    for heading in _HEADING.findall(prose(text)):
        plain = _LINK.sub(lambda link: link[0].partition("](")[0][1:], heading).lower()
        slug = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        result.add(f"{slug}-{found[slug]}" if found[slug] else slug)
        found[slug] += 1
    return result


def spans(text: str) -> list[str]:
    """Return the code spans of a page's prose, each on one line."""
    return [" ".join(span.split()) for span in _SPAN.findall(prose(text))]


def shell_lines(text: str) -> Iterator[str]:
    r"""Yield the commands of a page's fenced blocks: ``&&`` ends one, a backslash goes on with it."""
    for line in console_lines(text):
        yield from (part.strip() for part in line.split("&&"))


def console_lines(text: str) -> Iterator[str]:
    """Yield the lines of a page's fenced blocks as a reader would type them."""
    for language, block in _FENCE.findall(text):
        if language in _SHELL:
            yield from (line.strip() for line in block.replace("\\\n", " ").splitlines())


def mien_commands(text: str) -> Iterator[list[str]]:
    """Yield the arguments of every ``mien`` command line of a page, one for each alternative ``a|b``.

    Brackets of what may be left out, comments and dots that stand for more are dropped.
    """
    for line in (*shell_lines(text), *spans(text)):
        if line.startswith("mien "):
            words = [word.replace("...", "").strip("[]") for word in shlex.split(line, comments=True)[1:]]
            yield from _alternatives([word for word in words if word])


def _alternatives(words: Sequence[str]) -> Iterator[list[str]]:
    for place in range(max((word.count("|") for word in words), default=0) + 1):
        yield [word.split("|")[min(place, word.count("|"))] for word in words]


def make_targets(text: str) -> set[str]:
    """Return the targets of ``make`` that a page names."""
    lines = (line for line in (*shell_lines(text), *spans(text)) if line.startswith("make "))
    words = (word for line in lines for word in shlex.split(line, comments=True)[1:])
    return {word for word in words if "=" not in word}


def imports(text: str) -> set[tuple[str, str]]:
    """Return what the Python examples of a page import by ``from``: pairs of module and name."""
    trees = (ast.parse(block) for language, block in _FENCE.findall(text) if language == "python")
    nodes = (node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ImportFrom))
    return {(node.module or "", alias.name) for node in nodes for alias in node.names}


def modules(text: str) -> set[str]:
    """Return the modules of ours that a page runs by ``python -m``."""
    return set(_MODULE.findall(" ".join(text.split())))


def named_files(text: str) -> set[str]:
    """Return the files of the repository that a page names in its code spans, by their path from the root."""
    folders = {entry.name for entry in ROOT.iterdir() if entry.is_dir()} - {"build"}
    words = (word for span in spans(text) for word in span.split())
    return {word for word in words if _FILE.fullmatch(word) and word.partition("/")[0] in folders}


def without_root(page: Path) -> str:
    """Name a page by its path from the root."""
    return page.relative_to(ROOT).as_posix()
