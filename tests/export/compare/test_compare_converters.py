"""Converters that crash, hang, fill memory or lie cost themselves alone, and the report says so."""

import json
import os
import signal
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from mien.export.compare.command import Comparison, converter_table, show_json
from mien.export.compare.converters import FAILED, MISSING, WORKS, Attempt, compare_converters
from mien.export.component import Component
from mien.export.running.isolation import Limits
from mien.export.tflite.converters import DEFAULT, Convert, Converter
from mien.models.appraisal.checkpoint import REFERENCE
from tests.commands import call_mien
from tests.export.components import shipped, with_larger_constant
from tests.schemas import schema

MASK = shipped("mask")


def _crash(graph: Component, source: Path | None, folder: Path) -> bytes:
    os.kill(os.getpid(), signal.SIGSEGV)
    return b""


def _hang(graph: Component, source: Path | None, folder: Path) -> bytes:
    time.sleep(600)
    return b""


def _devour(graph: Component, source: Path | None, folder: Path) -> bytes:
    return b"".join([bytearray(os.urandom(1) * (64 << 20)) for _ in range(200)])


def _stored(file: Path, share: float, graph: Component, source: Path | None, folder: Path) -> bytes:
    """Give a finished model, or its beginning."""
    made = file.read_bytes()
    return made[: int(share * len(made))]


def _altered(file: Path, graph: Component, source: Path | None, folder: Path) -> bytes:
    return with_larger_constant(file.read_bytes())


def _converter(name: str, convert: Convert, limits: Limits, *, installed: bool = True) -> Converter:
    return Converter(name, convert, lambda: installed, f"install {name}", limits)


@pytest.fixture(scope="module")
def attempts(exported: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Attempt]:
    """One run over the real converter and over every kind of failure."""
    folder = tmp_path_factory.mktemp("compared")
    golden = exported / "golden/nobody-02-cleft"
    (folder / "traces").mkdir()
    arrays = {name: np.load(golden / f"{name}.npy") for name in (*MASK.inputs, *MASK.outputs)}
    save_file(arrays, folder / "traces/0000.safetensors")
    models = exported / "models" / "tflite-fp32"
    limits = Limits()
    converters = (
        _converter("crash", _crash, limits),
        _converter("hang", _hang, Limits(idle=2)),
        _converter("devour", _devour, Limits(memory=2 << 30)),
        _converter("other graph", partial(_stored, models / "heatmap.tflite", 1), limits),
        _converter("altered", partial(_altered, models / "mask.tflite"), limits),
        _converter("truncated", partial(_stored, models / "mask.tflite", 0.5), limits),
        _converter("absent", _crash, limits, installed=False),
        DEFAULT,
    )
    steps: list[str] = []
    found = compare_converters([MASK], REFERENCE, folder, lambda title, *_: steps.append(title), converters)
    assert steps == [*(f"{one.name} mask" for one in converters), "mask: timed"]
    return {attempt.converter: attempt for attempt in found}


@pytest.mark.parametrize(
    ("converter", "reason"),
    [
        ("crash", "signal 11"),
        ("hang", "no second of processor time in 2 s"),
        ("devour", "MemoryError"),
        ("other graph", "the converter made tensors"),
        ("altered", "is off by"),
        ("truncated", "LiteRT cannot load"),
    ],
)
def test_a_failure_says_what_it_was(attempts: dict[str, Attempt], converter: str, reason: str) -> None:
    assert attempts[converter].state == FAILED
    assert reason in attempts[converter].reason
    assert attempts[converter].model is None


def test_the_others_finish(attempts: dict[str, Attempt]) -> None:
    good = attempts[DEFAULT.name]
    assert good.state == WORKS
    assert good.model
    assert good.used
    assert good.model.transposes == good.model.moves == 0
    assert good.model.ms > 0
    assert good.used.seconds > 0
    assert good.model.bytes > 10_000


def test_what_is_not_installed_never_counts_as_passed(attempts: dict[str, Attempt]) -> None:
    assert attempts["absent"].state == MISSING
    assert attempts["absent"].reason == "install absent"


def test_table_and_json_hold_every_converter(
    attempts: dict[str, Attempt], capsys: pytest.CaptureFixture[str]
) -> None:
    found = list(attempts.values())
    assert converter_table(found).row_count == len(found)
    show_json(Comparison(lambda *_: found, converter_table), found)
    printed = json.loads(capsys.readouterr().out)
    assert {one["converter"]: one["state"] for one in printed} == {
        name: attempt.state for name, attempt in attempts.items()
    }
    assert schema("export-compare-converters").problems(printed) == []


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "got none of -o FOLDER"),
        (("--compare-converters", "-o", "x"), "got -o FOLDER and --compare-converters"),
        (("-o", "bundle", "--compare-quantisers"), "give exactly one"),
        (("-o", "x", "--json"), "--json was given without --compare-converters or --compare-quantisers"),
        (("--compare-quantisers", "--graph", "mask"), "--graph was given without --compare-converters"),
        (("--compare-converters", "--held-out", "x"), "--held-out was given without --compare-quantisers"),
    ],
)
def test_contradicting_options_are_refused(arguments: tuple[str, ...], says: str) -> None:
    assert says in call_mien("export", *arguments, expect=2).stderr
