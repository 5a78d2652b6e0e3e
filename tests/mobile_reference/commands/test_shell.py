"""What a shell and a script expect: help that fits a screen, completion, NO_COLOR, a schema for JSON."""

import json
import os
import pty
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from mien.mobile_reference.bundle.shipped import shipped_bundle
from mien.mobile_reference.commands.console import root
from tests.commands import PROGRAMS, run_mien
from tests.schemas import NAMES, schema

MIEN = str(PROGRAMS / "mien")
COLOUR = re.compile(rb"\x1b\[[0-9;]*3[0-7]m")


def every_command(
    command: click.Command = root, parent: click.Context | None = None
) -> Iterator[click.Context]:
    context = click.Context(command, parent, info_name=command.name, terminal_width=80)
    yield context
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found
            yield from every_command(found, context)


@pytest.mark.parametrize("context", list(every_command()), ids=lambda context: context.command_path)
def test_help_fits_a_screen(context: click.Context):
    lines = context.get_help().splitlines()
    assert len(lines) <= 40
    assert max(map(len, lines)) <= 82  # an example that is typed as it stands may stick out


@pytest.mark.parametrize("name", ["bench", "export"])
def test_options_under_headings_are_all_there_once(name: str):
    command = root.get_command(click.Context(root), name)
    assert command
    text = command.get_help(click.Context(command, info_name=name))
    options = (command.commands["run"] if isinstance(command, click.Group) else command).params
    for option in options:
        if isinstance(option, click.Option) and not option.hidden:
            assert len(re.findall(rf"^  (-\w, )?{option.opts[-1]}\b(?!-)", text, re.MULTILINE)) == 1


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("mien verify --jun", "--junit"),
        ("mien bench --target and", "android"),
    ],
)
def test_bash_completes(typed: str, offered: str):
    words = typed.split()
    asked = {"_MIEN_COMPLETE": "bash_complete", "COMP_WORDS": typed, "COMP_CWORD": str(len(words) - 1)}
    done = subprocess.run([MIEN], env=os.environ | asked, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [f"plain,{offered}"]
    assert done.stderr == ""


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_is_given_its_completion(shell: str):
    asked = os.environ | {"_MIEN_COMPLETE": f"{shell}_source"}
    done = subprocess.run([MIEN], env=asked, capture_output=True, text=True, check=True)
    assert f"_MIEN_COMPLETE={shell}_complete" in done.stdout
    if shell == "bash":
        subprocess.run(["bash", "-n"], input=done.stdout, text=True, check=True)


def on_a_terminal(*words: str, **environment: str) -> bytes:
    """Return what a command writes onto a terminal."""
    ours, theirs = pty.openpty()
    child = subprocess.Popen(
        [MIEN, *words], stdin=theirs, stdout=theirs, stderr=theirs, env=os.environ | environment
    )
    os.close(theirs)
    written = b""
    try:
        while part := os.read(ours, 65536):
            written += part
    except OSError:  # a terminal whose other end closed
        pass
    os.close(ours)
    assert child.wait() == 0
    return written


def test_no_color_is_heeded():
    # Progress of verify is coloured on a terminal.
    coloured = on_a_terminal("verify", TERM="xterm-256color", COLORTERM="truecolor", NO_COLOR="")
    assert COLOUR.search(coloured)
    assert not COLOUR.search(on_a_terminal("verify", TERM="xterm-256color", NO_COLOR="1"))


def told(*words: object) -> str:
    """Return what a command writes into a pipe: neither progress nor an escape."""
    done = run_mien(*words)
    assert done.stderr == ""
    assert "\x1b" not in done.stdout
    return done.stdout


def test_a_table_in_a_pipe_is_plain():
    assert "LiteRT" in told("doctor")


def written_by(*words: object) -> object:
    return json.loads(told(*words))


def test_what_scripts_read_is_as_its_schema_says(sample_folder: Path, tmp_path: Path):
    bundle = shipped_bundle()
    for words in (
        ("appraise", "--json", sample_folder / "nobody-01.jpg"),
        ("verify", "--json"),
        ("compare", bundle, bundle, "--json", "--max-shift", "1", "--threshold", "50"),
        ("doctor", "--json"),
        ("setup", "--json", "--cache", tmp_path),
        ("cache", "--json"),
    ):
        assert schema(words[0]).problems(written_by(*words)) == []


def test_a_photograph_without_a_score_is_as_the_schema_says(tmp_path: Path):
    (tmp_path / "x.jpg").write_bytes(b"not a photograph")
    record = json.loads(run_mien("appraise", "--json", tmp_path / "x.jpg", expect=2).stdout)
    assert schema("appraise").problems(record) == []
    assert record["score"] is None


def test_a_record_that_lacks_a_key_is_not(tmp_path: Path):
    record = written_by("setup", "--json", "--cache", tmp_path)
    assert isinstance(record, dict)
    del record["setups"][0]["ready"]
    assert schema("setup").problems(record)


def test_every_command_that_prints_json_has_a_schema():
    printing = {
        "-".join(context.command_path.split()[1:])
        for context in every_command()
        if "--json" in {opt for option in context.command.params for opt in option.opts}
    }
    # An export prints JSON of a comparison alone, and what bench prints is described in its own room.
    comparisons = {"export-compare-converters", "export-compare-quantisers"}
    assert printing - {"export", "bench", "bench-run"} | comparisons == NAMES
