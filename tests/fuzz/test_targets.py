"""The readers: sound files end well, known damage is refused, and a short campaign finds nothing."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from tests.commands import ROOT
from tests.fuzz.campaign import Prepared, campaign, prepare, try_case, try_data
from tests.fuzz.exports import kills
from tests.fuzz.harness import GATE, INTERRUPTED, KILLED, PASSED, PROMISED, REFUSED, Bounds
from tests.fuzz.sample import CASES, FEWER
from tests.fuzz.surroundings import FOREIGN, OWN, RATED, linked, pipe
from tests.fuzz.targets import TARGETS, Case, Command, compared, stub_of


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Prepared]:
    return {one.name: one for one in prepare(TARGETS, tmp_path_factory.mktemp("fuzz"))}


@pytest.mark.parametrize("name", TARGETS)
def test_sound_files_are_not_refused(prepared: Mapping[str, Prepared], name: str) -> None:
    # The stages of the tiny bundle are not one pipeline, so a gate fails.
    right = {"goldens": GATE, "kills": KILLED}.get(name, PASSED)
    one = prepared[name]
    assert {seed.name: try_data(one, seed, seed.read_bytes()) for seed in one.seeds} == {
        seed.name: right for seed in one.seeds
    }


def test_a_lost_file_of_somebody_else_is_found(prepared: Mapping[str, Prepared]) -> None:
    def overwrite(case: Case) -> AbstractContextManager[None]:
        (case.work / FOREIGN / "thesis.txt").write_text("gone")
        return nullcontext()

    def replace_a_pipe(case: Case) -> AbstractContextManager[None]:
        (case.work / FOREIGN / "pipe").unlink()
        (case.work / FOREIGN / "pipe").touch()
        return nullcontext()

    def beside_foreign_files(case: Case) -> Command:
        pipe(case.work)
        return ("--version",)

    one = prepared["surroundings"]
    target = replace(one.target, command=beside_foreign_files)
    assert try_data(replace(one, target=target), one.seeds[0], b"") == PASSED
    for spoil in (overwrite, replace_a_pipe):
        spoilt = replace(target, enter=spoil)
        assert try_data(replace(one, target=spoilt), one.seeds[0], b"").startswith("lost")


def test_what_lies_behind_links_in_an_output_folder_is_kept(prepared: Mapping[str, Prepared]) -> None:
    def rated_into_links(case: Case) -> Command:
        shutil.copytree(case.sound / OWN, case.work / OWN)
        return "appraise", "--bundle", case.sound / OWN / "bundle", case.seed, "-o", linked(case.work)

    def write_through_a_link(case: Case) -> AbstractContextManager[None]:
        next(path for path in (case.work / OWN / RATED).iterdir() if path.is_symlink()).write_text("gone")
        return nullcontext()

    one = prepared["surroundings"]
    target = replace(one.target, command=rated_into_links, enter=lambda _: nullcontext())
    assert try_data(replace(one, target=target), one.seeds[0], b"") in PROMISED
    target = replace(target, enter=write_through_a_link)
    assert try_data(replace(one, target=target), one.seeds[0], b"").startswith("lost")


@pytest.mark.parametrize("number", [0, 217, 593])
def test_what_took_gigabytes_while_it_was_opened_is_refused(
    prepared: Mapping[str, Prepared], number: int
) -> None:
    assert try_case(prepared["models"], 77, number) == REFUSED


HUGE = 10**400
RULE = ("front", "rule")
MANIFESTS: Mapping[str, tuple[tuple[object, ...], object]] = {
    "equal points": ((*RULE, "template"), [[96, 112]] * 4),
    "points of one line, tiny": ((*RULE, "template"), [[n * 1e-300, 0] for n in range(4)]),
    "points of 1e200": ((*RULE, "template"), [[1e200, 0], [0, 1e200], [1e200, 1e200], [0, 0]]),
    "a point of 1e308": ((*RULE, "template", 0, 0), 1e308),
    "a point of 400 digits": ((*RULE, "template", 0, 0), HUGE),
    "score 0": ((*RULE, "score"), 0),
    "overlap 1": ((*RULE, "overlap"), 1),
    "overlap 1.5": ((*RULE, "overlap"), 1.5),
    "second look 1e-300": ((*RULE, "second_look"), 1e-300),
    "second look 1e5": ((*RULE, "second_look"), 1e5),
    "second look 1e308": ((*RULE, "second_look"), 1e308),
    "second look of 400 digits": ((*RULE, "second_look"), HUGE),
    "smallest of 400 digits": ((*RULE, "smallest"), HUGE),
    "size unlike the model": ((*RULE, "size"), 128),
    "detector unlike its size": ((*RULE, "detector_size"), 64),
    "renamed output of the whole": (("whole", "outputs", 0), "rating"),
    "renamed tensor": (("tensors", 1, "name"), "boxes"),
    "renamed input of a stage": (("stages", 1, "inputs", 0), "map"),
    "tensor's name with a newline": (("tensors", 3, "name"), "heat\n"),
    "variant's name of 4 MB": (("variants", 0, "name"), "x" * (4 << 20)),
    "variant's name with an escape": (("variants", 0, "name"), "\x1b[31m"),
    "full scale of 400 digits": (("tensors", 5, "full_scale"), HUGE),
    "limit of 400 digits": (("gates", 0, "limits", "tflite-fp32"), HUGE),
    "golden score of 400 digits": (("goldens", 0, "values", "score"), HUGE),
    "golden alignment of 400 digits": (("goldens", 0, "front", "alignment", 0, 0), HUGE),
    "format of 4 MB": (("format",), "x" * (4 << 20)),
}
"""Values that are JSON, many of them as the schema has them, and make no sense."""


@pytest.mark.parametrize("name", MANIFESTS)
def test_a_value_that_makes_no_sense_is_one_line(prepared: Mapping[str, Prepared], name: str) -> None:
    one = prepared["manifests"]
    manifest = place = json.loads(one.seeds[0].read_bytes())
    (*path, last), value = MANIFESTS[name]
    for key in path:
        place = place[key]
    place[last] = value
    data = json.dumps(manifest).encode()
    assert try_data(one, one.seeds[0], data) in PROMISED
    verify = replace(one.target, command=lambda case: ("verify", case.beside("bundle"), "--json"))
    assert try_data(replace(one, target=verify), one.seeds[0], data) in PROMISED


@pytest.mark.parametrize("head", ["(True, 64, 64, 1)", "(4611686018427387904,)"])
def test_a_golden_of_an_odd_shape_is_refused(prepared: Mapping[str, Prepared], head: str) -> None:
    one = prepared["goldens"]
    kind = "|V0" if "," in head[-3:] else "<f4"
    text = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {head}}}".encode().ljust(117) + b"\n"
    data = b"\x93NUMPY\1\0" + len(text).to_bytes(2, "little") + text + bytes(64 * 64 * 4)
    assert {try_data(one, seed, data) for seed in one.seeds} == {REFUSED}


def test_an_interrupted_export_leaves_the_former_bundle(
    prepared: Mapping[str, Prepared], tmp_path: Path
) -> None:
    sound = prepared["kills"].folder
    shutil.copytree(sound / "out", tmp_path / "out")
    blow = kills.Blow(signal.SIGINT, 0.6)
    assert kills.how_it_ended(stub_of(sound), tmp_path, blow, Bounds()) in (INTERRUPTED, PASSED)


def test_what_a_killed_export_leaves_is_found(
    prepared: Mapping[str, Prepared], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sound, bounds = prepared["kills"].folder, Bounds()

    def ended(act: Callable[[], None], spoil: Callable[[], object]) -> str:
        def to_the_end(begin: Callable[[], None]) -> None:
            act()
            begin()
            time.sleep(600)

        shutil.rmtree(tmp_path)
        shutil.copytree(sound / "out", tmp_path / "out")
        monkeypatch.setattr(kills, "exported", lambda *given: partial(to_the_end, given[-1]))
        monkeypatch.setattr(kills, "_GRACE", 0.2)
        spoil()
        return kills.how_it_ended(stub_of(sound), tmp_path, kills.Blow(signal.SIGKILL, 0), bounds)

    def leave_an_orphan() -> None:
        # The mark is in what a program is begun with, not in what a forked process has changed.
        os.environ[kills._MARK] = mark
        subprocess.Popen(["sleep", "600"], start_new_session=True)

    monkeypatch.setattr(kills.os, "getpid", lambda: 1)
    monkeypatch.setattr(kills.time, "monotonic_ns", lambda: 2)
    mark = "1-2"
    assert ended(leave_an_orphan, lambda: None) == "orphans: sleep 600 "
    manifest = tmp_path / "out" / "manifest.json"
    assert ended(lambda: None, manifest.unlink).startswith("lost: ")
    assert ended(lambda: None, lambda: (tmp_path / "out" / "x").touch()) == "lost: files ['x']"


def test_another_program_is_judged(prepared: Mapping[str, Prepared], tmp_path: Path) -> None:
    program = tmp_path / "mien"
    program.write_text("#!/bin/sh\nkill -SEGV $$\n")
    program.chmod(0o755)
    one = prepared["models"]
    other = replace(one, target=replace(one.target, program=program))
    assert try_data(other, one.seeds[0], b"") == "crash: signal 11"


def test_a_phone_that_lies_is_refused(prepared: Mapping[str, Prepared]) -> None:
    one = prepared["dialogues"]
    dialogue = json.loads(one.seeds[0].read_bytes())
    flood = dialogue | {"phone": dialogue["phone"] | {"times": 10**9}}
    slow = dialogue | {"devices": dialogue["devices"] | {"wait": 10**9}}
    for damage in (flood, slow, dialogue | {"job": None}):
        assert try_data(one, one.seeds[0], json.dumps(damage).encode()) == REFUSED
    assert try_data(one, one.seeds[0], b"\xff\x00") == REFUSED


def test_a_campaign_goes_on_where_another_ended(prepared: Mapping[str, Prepared]) -> None:
    tried: list[bytes] = []

    def version(case: Case) -> Command:
        tried.append(case.data)
        return ("--version",)

    one = replace(prepared["surroundings"], target=replace(prepared["surroundings"].target, command=version))
    for first in (0, 1, 0):
        campaign([one], seed=1, seconds=0, tell=lambda _: None, first=first)
    assert tried[0] == tried[2] != tried[1]


def test_a_model_cut_in_half_is_refused(prepared: Mapping[str, Prepared]) -> None:
    one = prepared["models"]
    data = one.seeds[0].read_bytes()
    assert try_data(one, one.seeds[0], data[: len(data) // 2]) == REFUSED


def test_goldens_that_are_no_numbers_are_refused(prepared: Mapping[str, Prepared], tmp_path: Path) -> None:
    one = prepared["goldens"]
    seed = next(seed for seed in one.seeds if np.load(seed).dtype == np.float32)
    np.save(tmp_path / "nan.npy", np.full_like(np.load(seed), np.nan))
    data = (tmp_path / "nan.npy").read_bytes()
    assert one.target.must_refuse(data)
    assert try_data(one, seed, data) == REFUSED


@pytest.mark.parametrize("time", ["NaN", "Infinity"])
def test_times_that_are_no_numbers_are_refused(prepared: Mapping[str, Prepared], time: str) -> None:
    one = prepared["reports"]
    sound = one.seeds[0].read_bytes()
    data = sound.replace(b"6.5", time.encode())
    assert data != sound
    assert not one.target.must_refuse(sound)
    assert one.target.must_refuse(data)
    for command in (one.target.command, compared):
        other = replace(one, target=replace(one.target, command=command))
        assert try_data(other, one.seeds[0], data) == REFUSED


def test_a_sample_finds_nothing() -> None:
    """In a process of its own: each case forks it, which takes the longer the more a process holds."""
    command = [sys.executable, "-m", "tests.fuzz.sample"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    tried = re.search(r"^(\d+) cases: ", done.stdout, re.MULTILINE)
    assert tried is not None
    assert int(tried[1]) == sum(FEWER.get(name, CASES) for name in TARGETS)
