"""What the documents name exists: links, commands with their options, modules and files."""

import re
import shlex
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import click
import pytest

from mien.export.variants import VARIANTS
from mien.mobile_reference.commands.console import root
from tests.linked_rooms import ROOMS

from .pages import (
    PAGES,
    ROOT,
    anchors,
    imports,
    links,
    make_targets,
    mien_commands,
    modules,
    named_files,
    prose,
    shell_lines,
    without_root,
)

each_page = pytest.mark.parametrize("page", PAGES, ids=without_root)
FORBIDDEN = ("is no ", "times as fast", "outside the project")
# A word in capitals stands for a value of the reader's.
_PLACEHOLDER = re.compile(r"[A-Z][A-Z0-9_-]*")


def test_the_documents_are_found() -> None:
    names = {without_root(page) for page in PAGES}
    assert {"README.md", "CHANGELOG.md", "docs/design.md", "models/appraisal/reference/README.md"} <= names
    assert not any(name.startswith(("build/", ".venv/")) for name in names)


@each_page
def test_links_resolve(page: Path) -> None:
    assert not [link for link in links(page.read_text(encoding="utf-8")) if not resolves(page, link)]


def test_the_links_of_llms_txt_resolve() -> None:
    page = ROOT / "llms.txt"
    found = links(page.read_text(encoding="utf-8"))
    assert len(found) > 10
    assert not [link for link in found if not resolves(page, link)]


def resolves(page: Path, link: str) -> bool:
    """Tell whether a link leads to a file and a heading there. Addresses of the web are not asked."""
    if re.match(r"[a-z]+:", link):
        return True
    path, _, anchor = link.partition("#")
    target = (page.parent / path).resolve() if path else page
    if not target.is_relative_to(ROOT) or not target.exists():
        return False
    return not anchor or anchor in anchors(target.read_text(encoding="utf-8"))


@each_page
def test_commands_exist_with_their_options(page: Path) -> None:
    for words in mien_commands(page.read_text(encoding="utf-8")):
        parse(words)


def test_one_page_shows_every_command() -> None:
    page = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    shown = {words[0] for words in mien_commands(page.split("## Every command")[1].split("\n## ")[0])}
    assert shown >= set(root.list_commands(click.Context(root))) - {"coreml"}  # which has a page of its own


@pytest.mark.parametrize("name", sorted(set(root.list_commands(click.Context(root))) - {"coreml"}))
def test_the_help_of_a_command_ends_with_examples_that_are_right(name: str) -> None:
    command = root.get_command(click.Context(root), name)
    assert command is not None
    heading, *lines = (command.epilog or "").removeprefix("\b\n").splitlines()
    assert heading == "Examples:"
    assert lines
    for line in lines:
        program, *words = shlex.split(line)
        assert (program, words[0]) == ("mien", name)
        parse(words)
        assert len(line) <= 80


def parse(words: list[str]) -> None:
    """Parse a command line of mien as click does, and run nothing.

    Raises:
        click.UsageError: there is no such command, option or choice, or an argument too many.
    """
    command: click.Command = root
    context = click.Context(command, info_name="mien", resilient_parsing=True)
    while isinstance(command, click.Group) and words:
        command.parse_args(context, words)
        rest = [*context._protected_args, *context.args]
        if not rest:
            return
        name, found, words = command.resolve_command(context, rest)
        if found is None:
            raise click.UsageError(f"No such command {rest[0]!r}.")
        command, context = found, click.Context(found, context, info_name=name, resilient_parsing=True)
    _parse_options(command, context, words)


def _parse_options(command: click.Command, context: click.Context, words: list[str]) -> None:
    values, rest, parameters = command.make_parser(context).parse_args(list(words))
    if rest:
        raise click.UsageError(f"{command.name} takes no argument {rest[0]!r}")
    for parameter in parameters:
        if isinstance(parameter.type, click.Choice) and isinstance(parameter, click.Option):
            given = values[parameter.name]
            for value in given if parameter.multiple else [given]:
                if not _PLACEHOLDER.fullmatch(value):
                    parameter.type.convert(value, parameter, context)


@pytest.mark.parametrize(
    "words",
    [
        ["paint"],
        ["verify", "BUNDLE", "--colour"],
        ["verify", "ONE", "TWO"],
        ["bench", "BUNDLE", "--target", "typewriter"],
        ["bench", "compare", "ONE", "TWO", "--target", "android"],
        ["coreml", "dance", "PACKAGE"],
    ],
)
def test_what_no_command_takes_is_seen(words: list[str]) -> None:
    with pytest.raises(click.UsageError):
        parse(words)


@each_page
def test_modules_exist_and_run(page: Path) -> None:
    assert not [name for name in modules(page.read_text(encoding="utf-8")) if not is_program(name)]


def is_program(name: str) -> bool:
    """Tell whether ``python -m name`` finds something to run."""
    try:
        spec = find_spec(name)
    except ModuleNotFoundError:
        return False
    if spec is None or spec.origin is None:
        return False
    if spec.submodule_search_locations:
        return (Path(spec.origin).parent / "__main__.py").is_file()
    return '__name__ == "__main__"' in Path(spec.origin).read_text(encoding="utf-8")


def test_what_cannot_be_run_is_seen() -> None:
    assert is_program("tests.documents.rooms")
    assert not is_program("tests.documents.pages")
    assert not is_program("tests.documents.nothing")
    assert not is_program("tests.nothing.at_all")
    assert not is_program("tests.documents")


@each_page
def test_examples_import_what_there_is(page: Path) -> None:
    found = imports(page.read_text(encoding="utf-8"))
    assert not [(name, part) for name, part in found if not hasattr(import_module(name), part)]


@each_page
def test_targets_of_make_exist(page: Path) -> None:
    there = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert there
    assert make_targets(page.read_text(encoding="utf-8")) <= there


@each_page
def test_named_files_exist(page: Path) -> None:
    assert not [name for name in named_files(page.read_text(encoding="utf-8")) if not (ROOT / name).exists()]


@each_page
def test_phrases_that_are_not_english_stay_away(page: Path) -> None:
    text = " ".join(page.read_text(encoding="utf-8").lower().split())
    assert not [phrase for phrase in FORBIDDEN if phrase in text]


def test_the_code_says_is_not_a() -> None:
    # "X is no Y" is un-English where Y is what X was taken for; "there is no Y" and "is no longer" are not.
    wrong = re.compile(r"(?<!there )(?<!There )\b(?:is|are) no (?!longer\b|larger\b)")
    files = [file for room in ROOMS for file in (ROOT / room).rglob("*.py")]
    assert len(files) > 100
    assert not [without_root(file) for file in files if wrong.search(file.read_text(encoding="utf-8"))]


def test_pages_are_read_as_markdown_is() -> None:
    page = (
        "# One `two`: three\n\n[a](b.md#c) `mien x\ny|z [-o F]...`\n\n"
        "```\nmien q && ls  # [d](e)\n```\n\n1. f:\n\n   ```\n   mien r\n   ```\n\n# One two three\n"
    )
    assert links(page) == ["b.md#c"]
    assert anchors(page) == {"one-two-three", "one-two-three-1"}
    assert list(shell_lines(page)) == ["mien q", "ls  # [d](e)", "mien r"]
    assert list(mien_commands(page)) == [["q"], ["r"], ["x", "y", "-o", "F"], ["x", "z", "-o", "F"]]
    assert modules("run `python\n-m tests.documents.rooms --write`.") == {"tests.documents.rooms"}
    assert make_targets("`make one A=b two`\n\n```\nmake three  # four\n```\n") == {"one", "two", "three"}
    assert imports("```python\nfrom a.b import c, d\n```\n") == {("a.b", "c"), ("a.b", "d")}
    assert named_files("`docs/no.md` `docs/*.md` `no/no.md` docs/no.md") == {"docs/no.md"}
    assert "mien q" not in prose(page)


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").split()) <= 600


def test_the_model_card_is_one_page() -> None:
    card = (ROOT / "models/appraisal/reference/README.md").read_text(encoding="utf-8")
    assert len(card.split()) <= 700
    headings = re.findall(r"^## (.+)$", card, re.MULTILINE)
    assert headings == ["Intended use", "Data", "Measures", "Limits"]


def test_no_folder_of_documents_has_more_than_twenty_files() -> None:
    folders = [
        ROOT / "docs",
        *(f for f in (ROOT / "docs").rglob("*") if f.is_dir() and f.name != "__pycache__"),
    ]
    crowded = [folder for folder in folders if sum(file.is_file() for file in folder.iterdir()) > 20]
    assert not crowded


def test_every_variant_stands_in_its_page_with_its_tolerance() -> None:
    page = (ROOT / "docs" / "variants.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([\w]+-[\w]+) \|.*\| (\w+ ?[\d.]+) \| ([\d.]+) \|$", page, re.MULTILINE)
    said = [(name, least.replace(" ", ""), float(limit)) for name, least, limit in rows]
    assert said == [(one.name, one.minimum.replace(" ", ""), one.tolerance) for one in VARIANTS]


def test_what_is_by_hand_has_about_the_lines_that_are_said() -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").split("## By hand")[1]
    rows = re.findall(r"^\| ([^|]*`[^|]*) \| ([\d,]+) \|", page, re.MULTILINE)
    assert len(rows) > 15
    for what, said in rows:
        files = [
            file
            for name in re.findall(r"`([\w/.]+)`", what)
            for file in ([ROOT / name] if (ROOT / name).is_file() else (ROOT / name).rglob("*.py"))
        ]
        lines = sum(len(file.read_text(encoding="utf-8").splitlines()) for file in files)
        assert abs(lines - int(said.replace(",", ""))) <= 0.1 * lines, (what, lines)
