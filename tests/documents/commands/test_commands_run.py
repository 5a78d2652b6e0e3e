"""Every command of every document is run, word for word, in a folder that has what it names.

In running text a command often stands with some of its words; one that has them all is run then.
What is not run here stands in ``elsewhere.py``, with the reason and what runs its like.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.commands import PROGRAMS, ROOT, call_mien
from tests.documents.pages import PAGES, console_lines, spans, without_root
from tests.export.own.conftest import GRADER, grader_bundle, pictures

from .elsewhere import TABLE, Elsewhere, row_of
from .scratch import ONCE, face_folder, own_folder

__all__ = ["grader_bundle", "pictures"]  # fixtures

_COMMENT = re.compile(r"(^|\s+)#.*")
_FOR_A_SHELL = re.compile(r" \| |\$\(|&&|;")
_OF_ONES_OWN = re.compile(r"mien (verify|pack) |--generate|--target (macos|ios)")
"""What is run on the bundle of a real pipeline, and not on tiny models that only seem to see faces."""
_IN_PROSE = re.compile(r"(mien|make|python[\d.]*|pip|pytest|git|uv|adb|\.ci/[\w-]+|\.venv/bin/python)( |$)")
_NAMES_ALONE = frozenset({"mien", "make"})
_OF_THE_PAST = frozenset({"CHANGELOG.md", "docs/history.md"})
"""What these name in their text, other versions had or have; nobody is to type it."""
_SAID = re.compile(r"--?[a-z][\w-]*|[a-z0-9]+")
_TIMES = re.compile(r"mien bench(?! page| compare| fit|.* --(target|estimate))")


def written_out(line: str) -> list[str]:
    """Return the commands of a line, one for each alternative ``a|b``, without comment, brackets, dots."""
    line = _COMMENT.sub("", line)
    if _FOR_A_SHELL.search(line):
        return [line]
    words = re.sub(r"(?<= )\[|(?<=[A-Za-z])\](?= |$)|\.\.\.", "", line).split()
    count = max((word.count("|") for word in words), default=-1) + 1
    return [
        " ".join(word.split("|")[min(place, word.count("|"))] for word in words) for place in range(count)
    ]


def in_blocks(text: str) -> Iterator[str]:
    """Yield the commands of a page's console blocks."""
    for line in console_lines(text):
        yield from written_out(line)


def in_prose(text: str) -> Iterator[str]:
    """Yield the commands of a page's running text."""
    for span in spans(text):
        if _IN_PROSE.match(span) and span not in _NAMES_ALONE:
            yield from written_out(span)


def said(command: str) -> set[str]:
    """Return the options and choices of a command, without names of files and values."""
    return {word for word in command.split() if _SAID.fullmatch(word)}


def is_part(command: str, whole: str) -> bool:
    """Tell whether a command is the beginning of another; one of mien may name other files, and less."""
    if command.startswith("mien "):
        return whole.startswith("mien ") and said(command) <= said(whole)
    return f"{whole} ".startswith(f"{command} ")


def documented() -> list[str]:
    """Return the commands of all pages, but those of running text that are parts of others."""
    pages = {without_root(page): page.read_text(encoding="utf-8") for page in PAGES}
    found = dict.fromkeys(command for text in pages.values() for command in in_blocks(text))
    told = {command for page, text in pages.items() if page not in _OF_THE_PAST for command in in_prose(text)}
    for command in sorted(told, key=lambda one: (-len(one), one)):
        if not any(is_part(command, other) for other in found):
            found[command] = None
    return list(found)


DOCUMENTED = documented()
HERE = [command for command in DOCUMENTED if row_of(command) is None]


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return face_folder(tmp_path_factory.mktemp("faces"))


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory, grader_bundle: Path, pictures: Path) -> Path:
    return own_folder(tmp_path_factory.mktemp("own") / "folder", GRADER, grader_bundle, pictures)


@pytest.mark.parametrize("command", HERE)
def test_it_runs(
    command: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    like = request.getfixturevalue("own" if _OF_ONES_OWN.search(command) else "faces")
    folder = tmp_path / "folder"
    shutil.copytree(like, folder, copy_function=os.link)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("MIEN_CACHE", str(tmp_path / "cache"))
    if _FOR_A_SHELL.search(command):
        path = f"{PROGRAMS}{os.pathsep}{os.environ['PATH']}"
        subprocess.run(["bash", "-euc", command], check=True, env=os.environ | {"PATH": path})
    else:
        program, name, *words = shlex.split(command)
        if program == "python":
            there = os.environ | {"PYTHONPATH": str(ROOT)}
            subprocess.run([sys.executable, name, *words], check=True, env=there)
            return
        assert program == "mien"
        given = [file for word in words for file in (sorted(Path().glob(word)) if "*" in word else [word])]
        call_mien(name, *given, *(ONCE if _TIMES.match(command) else ()))


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.beginnings[0])
def test_what_is_run_elsewhere_is_documented(row: Elsewhere) -> None:
    ours = [command for command in DOCUMENTED if row_of(command) is row]
    assert [one for one in row.beginnings if not any(map(replace(row, beginnings=[one]).has, ours))] == []
    assert [file for file in row.files if not (ROOT / file).is_file()] == []


def options(command: str) -> set[str]:
    """Return the long options of a command."""
    return set(re.findall(r"--[a-z][\w-]*", command))


@pytest.mark.parametrize("command", [c for c in DOCUMENTED if c.startswith("mien ") and c not in HERE])
def test_every_option_of_what_is_run_elsewhere_is_given_there_or_here(command: str) -> None:
    row, name = row_of(command), command.split()[1]
    assert row
    there = "".join((ROOT / file).read_text(encoding="utf-8") for file in row.files)
    here = [options(other) for other in HERE if other.startswith(f"mien {name} ")]
    assert name in there
    assert options(command).difference(*here) - options(there) == set()


def test_a_command_in_neither_is_run() -> None:
    assert row_of("mien paint photo.jpg") is None
    assert row_of("make test-everything") is None


def test_a_part_of_what_is_run_counts_as_run() -> None:
    whole = "mien bench BUNDLE --target ios -o package"
    assert is_part("mien bench --target ios", whole)
    assert is_part("mien bench grader-bundle --target ios -o FOLDER", whole)
    assert not is_part("mien bench BUNDLE --target macos", whole)
    assert not is_part("mien bench BUNDLE --target ios --json", whole)
    assert is_part("make setup", "make setup TORCH_INDEX=URL")
    assert not is_part("make set", "make setup")


def test_running_text_is_read_as_commands() -> None:
    text = "`mien` is one, and `make docs`, `python -m tests.x --write`; `mien.Stage` is none."
    assert list(in_prose(text)) == ["make docs", "python -m tests.x --write"]


def test_lines_are_read_as_commands() -> None:
    line = "mien coreml run|check MODEL... --unit '.[a]' [-o FOLDER] [--json]   # [d] | e"
    rest = "MODEL --unit '.[a]' -o FOLDER --json"
    assert written_out(line) == [f"mien coreml run {rest}", f"mien coreml check {rest}"]
    assert written_out("find . | mien appraise --from -  # all") == ["find . | mien appraise --from -"]
    assert written_out("# nothing") == []
