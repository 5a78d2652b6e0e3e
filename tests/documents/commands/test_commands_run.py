"""Every command of every console block is run, word for word, in a folder that has what it names.

What is not run here stands in ``elsewhere.py``, with the reason and what runs its like.
"""

import os
import re
import shlex
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from tests.commands import PROGRAMS, ROOT, call_mien
from tests.documents.pages import PAGES, console_lines, without_root
from tests.export.own.conftest import GRADER, grader_bundle, pictures

from .elsewhere import TABLE, Elsewhere, row_of
from .scratch import ONCE, face_folder, own_folder

__all__ = ["grader_bundle", "pictures"]  # fixtures

_COMMENT = re.compile(r"(^|\s+)#.*")
_FOR_A_SHELL = re.compile(r" \| |\$\(|&&|;")
_OF_ONES_OWN = re.compile(r"mien (verify|pack) |--generate|--target (macos|ios)")
"""What is run on the bundle of a real pipeline, and not on tiny models that only seem to see faces."""
_TIMES = re.compile(r"mien bench(?! page| compare|.* --(target|estimate))")


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


def documented() -> dict[str, list[str]]:
    """Return every command of the console blocks, with the pages that have it."""
    found: dict[str, list[str]] = {}
    for page in PAGES:
        for line in console_lines(page.read_text(encoding="utf-8")):
            for command in written_out(line):
                found.setdefault(command, []).append(without_root(page))
    return found


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
        assert program == "mien"
        given = [file for word in words for file in (sorted(Path().glob(word)) if "*" in word else [word])]
        call_mien(name, *given, *(ONCE if _TIMES.match(command) else ()), expect=0)


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


def test_lines_are_read_as_commands() -> None:
    line = "mien coreml run|check MODEL... --unit '.[a]' [-o FOLDER] [--json]   # [d] | e"
    rest = "MODEL --unit '.[a]' -o FOLDER --json"
    assert written_out(line) == [f"mien coreml run {rest}", f"mien coreml check {rest}"]
    assert written_out("find . | mien appraise --from -  # all") == ["find . | mien appraise --from -"]
    assert written_out("# nothing") == []
