"""The fuzzer is not tame: each kind of finding is found, and damage is drawn from the seed alone."""

import ctypes
import io
import json
import os
import sys
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from random import Random

import numpy as np
import pytest

from tests.fuzz.campaign import Prepared, try_case, try_data
from tests.fuzz.harness import GATE, PASSED, REFUSED, Bounds, attempt, judge
from tests.fuzz.mutation import damaged, damaged_record, damaged_vector
from tests.fuzz.small_disk import TMPFS, full_disk, kind_of_full_disk
from tests.fuzz.targets import Target


def say(line: str, code: int = 0, err: str = "") -> None:
    sys.stdout.write(line)
    sys.stderr.write(err)
    sys.exit(code)


def take_memory() -> None:
    bytearray(2 << 30)[:: 1 << 12] = bytes(1 << 19)


ENDS = {
    PASSED: lambda: say('{"score": 1.5, "error": null}\n'),
    GATE: lambda: say("", 1),
    REFUSED: lambda: say("", 2, "mien: the file is damaged\n"),
    "traceback: ValueError: odd": lambda: _raise(),
    "crash: signal 11": lambda: ctypes.string_at(0),
    "hang: over 1 s": lambda: time.sleep(600),
    "memory": take_memory,
    "exit code 70": lambda: sys.exit(70),
    "left over": lambda: Path(".mien-1.partial").touch(),
    "not JSON": lambda: say('{"score": NaN}\n'),
    "a score of": lambda: say('{"score": "99"}\n'),
    "refused in 0 lines": lambda: say("", 2),
    "refused in 2 lines": lambda: say("", 2, "mien: one\nmien: two\n"),
    "a line too long": lambda: say("", 2, "x" * 5000),
}


def _raise() -> None:
    raise ValueError("odd")


@pytest.mark.parametrize("end", ENDS)
def test_every_kind_of_end_is_told(tmp_path: Path, end: str) -> None:
    # On a busy machine everything takes its time; what hangs alone is ended by it, however soon.
    bounds = Bounds(seconds=1) if end.startswith("hang") else Bounds()
    assert judge(attempt(ENDS[end], tmp_path, bounds), bounds).startswith(end)


def test_what_the_forking_process_holds_is_not_counted(tmp_path: Path) -> None:
    held = bytearray(Bounds().memory)
    held[:: 1 << 12] = bytes(len(held) >> 12)
    assert judge(attempt(ENDS[PASSED], tmp_path, Bounds()), Bounds()) == PASSED


def test_a_row_that_says_why_is_a_refusal(tmp_path: Path) -> None:
    row = json.dumps({"score": None, "error": "no face"})
    assert judge(attempt(lambda: say(row, 2), tmp_path, Bounds()), Bounds()) == REFUSED


@pytest.mark.skipif(kind_of_full_disk() != TMPFS, reason="this system lets no tmpfs be mounted")
def test_what_is_left_on_a_disk_that_is_full_is_found(tmp_path: Path) -> None:
    (tmp_path / "thesis").write_text("years of work")
    os.mkfifo(tmp_path / "pipe")

    def fill() -> None:
        with full_disk(tmp_path, 20_000):
            (tmp_path / "thesis").write_text("gone")
            with suppress(OSError), (tmp_path / ".mien-1.partial").open("wb") as file:
                file.write(bytes(1 << 20))
            sys.exit((tmp_path / ".mien-1.partial").stat().st_size > 20_000)

    assert judge(attempt(fill, tmp_path, Bounds()), Bounds()) == "left over: .mien-1.partial"
    assert {path.name for path in tmp_path.iterdir()} == {"thesis", "pipe", ".mien-1.partial"}
    assert (tmp_path / "thesis").read_text() == "gone"
    assert (tmp_path / ".mien-1.partial").stat().st_size <= 20_480


def test_what_must_be_refused_may_not_pass(tmp_path: Path) -> None:
    target = Target(lambda _: [], lambda _: ["--version"], must_refuse=lambda data: data == b"bad")
    prepared = Prepared("version", target, tmp_path, [tmp_path / "file"])
    assert try_data(prepared, tmp_path / "file", b"good") == PASSED
    assert try_data(prepared, tmp_path / "file", b"bad") == f"false pass: {PASSED}"
    failed = replace(prepared, target=replace(target, program=Path("/bin/false")))
    assert try_data(failed, tmp_path / "file", b"bad") == f"not refused: {GATE}"


def test_a_case_is_drawn_from_its_seed_and_number_alone(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(range(256)) * 40)
    prepared = Prepared(
        "version", Target(lambda _: [], lambda _: ["--version"]), tmp_path, [tmp_path / "file"]
    )
    made = []
    for number in (7, 7, 8):
        try_case(prepared, 1, number, keep=tmp_path / "kept")
        made.append((tmp_path / "kept" / "file").read_bytes())
    assert made[0] == made[1] != made[2]


@pytest.mark.parametrize("data", [b"", b"x", bytes(10_000), b'{"a": [1, {"b": "c"}], "d": {}}'])
def test_damage_of_anything_ends(data: bytes) -> None:
    results = {damaged(data, Random(seed)) for seed in range(300)}  # noqa: S311
    assert len(results) > (1 if data else 0)


def test_a_vector_may_become_no_number_as_a_whole() -> None:
    sound = io.BytesIO()
    np.save(sound, np.ones((4, 5), np.float32))
    kinds = set()
    for seed in range(100):
        data = damaged_vector(sound.getvalue(), Random(seed))  # noqa: S311
        with suppress(Exception):
            array = np.load(io.BytesIO(data), allow_pickle=False)
            if not np.isfinite(array).any():
                kinds.add(str(array.flat[0]))
    assert kinds == {"nan", "inf", "-inf"}


def test_every_number_of_a_record_is_damaged_in_its_turn() -> None:
    sound = b'{"format": 1, "results": [{"blocks": [[2.5, 3.5]]}], "odd": true}'
    made = {damaged_record(sound, Random(seed)) for seed in range(400)}  # noqa: S311
    for place in ("1", "2.5", "3.5"):
        assert sound.replace(place.encode(), b"NaN") in made
