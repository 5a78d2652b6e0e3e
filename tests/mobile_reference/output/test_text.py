"""Foreign text: nothing in it moves a cursor, turns the direction of writing, or starts a line."""

import os
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mien.mobile_reference.output.text import path_text, say, shown, tell


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\x1b[2Jb", r"a\x1b[2Jb"),
        ("face.jpg\n100.0  passed", r"face.jpg\n100.0  passed"),
        ("99\r100", r"99\r100"),
        ("gpj.\u202eexe", r"gpj.\u202eexe"),
        ("one\u2028two\x85three", r"one\u2028two\x85three"),
        ("caf\udce9.jpg", r"caf\xe9.jpg"),
        ("\ud800", r"\ud800"),
        ("bell\x07 del\x7f nul\x00", r"bell\x07 del\x7f nul\x00"),
    ],
)
def test_what_has_no_picture_is_escaped(text: str, expected: str):
    assert shown(text) == expected


@pytest.mark.parametrize("text", ["nobody-01.jpg", "Grüße, 顔　写真.png", "a b\\n", "العربية", "é e\u0301"])
def test_what_has_a_picture_is_left_alone(text: str):
    assert shown(text) == text


@given(st.text(st.characters()))
def test_whatever_is_shown_is_one_line_without_controls(text: str):
    found = shown(text)
    assert len(found.splitlines()) <= 1
    assert not any(unicodedata.category(c) in {"Cc", "Cf", "Cs"} for c in found)
    assert shown(found) == found


def test_a_path_is_text_that_json_can_hold():
    assert path_text(Path(os.fsdecode(b"caf\xe9.jpg"))) == r"caf\xe9.jpg"
    assert path_text(Path("café\n.jpg")) == "café\n.jpg"


def test_what_is_told_on_standard_output_forges_nothing(capsys: pytest.CaptureFixture[str]):
    tell("made \x1b[31mfolder\n\udcff")
    assert capsys.readouterr().out == "made \\x1b[31mfolder\\n\\xff\n"


def test_a_very_long_message_keeps_its_beginning_and_its_end(capsys: pytest.CaptureFixture[str]):
    say(f"first{'x' * 5_000_000}last; do this")
    line = capsys.readouterr().err
    assert line.startswith("mien: firstxx")
    assert line.endswith("last; do this\n")
    assert len(line) < 1500
