"""Conversions that were made before are not made again; what was lost or damaged is."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from mien.export.cache.conversions import Conversions
from mien.export.cache.store import FolderCache
from mien.export.errors import ConversionError
from mien.export.running import jobs as module
from mien.export.running.isolation import Usage
from mien.export.running.jobs import REUSED, Job, all_lost, run_jobs

from .conftest import content

USED = Usage(1.0, 2)


class Here:
    """Stands for a conversion's process: does the work at once."""

    def __init__(self, work: Callable[[], None], log: Path, limits: Any, title: str) -> None:
        self.title, self.error = title, None
        try:
            work()
        except ConversionError as error:
            self.error = error

    def result(self) -> Usage:
        if self.error:
            raise self.error
        return USED

    def end(self) -> None:
        pass


@pytest.fixture(autouse=True)
def _in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "Conversion", Here)
    monkeypatch.setattr(module, "finished", list)


@pytest.fixture
def precision(tmp_path: Path) -> Path:
    (tmp_path / "precision.json").write_text("{}")
    return tmp_path / "precision.json"


def run(tmp_path: Path, number: int, precision: Path, lost: str = "", common: Any = None) -> dict[str, Any]:
    """Run two conversions, the second from what the first makes, in a new folder; return what they used."""
    folder = tmp_path / f"work{number}"
    folder.mkdir()

    def write(name: str) -> None:
        if name == lost:
            raise ConversionError(f"{name}: lost")
        before = (folder / "deep/first").read_text() if name == "second" else ""
        (folder / "deep").mkdir(exist_ok=True)
        (folder / "deep" / name).write_text(f"{before}{name}")

    made = Conversions(FolderCache(tmp_path / "cache"), common or {"weights": 1}, folder)
    job = Job("first", folder / "log", partial(write, "first"), (), ("deep/first", "not made"), ())
    second = replace(
        job,
        title="second",
        work=partial(write, "second"),
        after=("first",),
        makes=("deep/second",),
        reads=(precision,),
    )
    ran = run_jobs([job, second], 1, lambda *_: None, made=made)
    if ran.lost:
        raise all_lost(ran.lost, 2)
    assert content(folder) == {"deep/first": b"first", "deep/second": b"firstsecond"}
    return dict(ran.used)


def test_nothing_is_converted_twice(tmp_path: Path, precision: Path) -> None:
    assert run(tmp_path, 1, precision) == {"first": USED, "second": USED}
    assert run(tmp_path, 2, precision) == {"first": REUSED, "second": REUSED}


def test_what_ended_before_a_failure_is_there_for_the_next_export(tmp_path: Path, precision: Path) -> None:
    with pytest.raises(ConversionError, match="1 of 2 conversions lost"):
        run(tmp_path, 1, precision, lost="second")
    assert run(tmp_path, 2, precision) == {"first": REUSED, "second": USED}


def test_a_conversion_that_reads_another_file_is_made_anew(tmp_path: Path, precision: Path) -> None:
    run(tmp_path, 1, precision)
    precision.write_text('{"tflite-int8": {}}')
    assert run(tmp_path, 2, precision) == {"first": REUSED, "second": USED}


def test_of_other_weights_all_is_made_anew(tmp_path: Path, precision: Path) -> None:
    run(tmp_path, 1, precision)
    assert run(tmp_path, 2, precision, common={"weights": 2}) == {"first": USED, "second": USED}


def test_a_damaged_one_is_made_anew_and_said(
    tmp_path: Path, precision: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(tmp_path, 1, precision)
    (damaged,) = (tmp_path / "cache").glob("*/files/deep/first")
    damaged.write_text("fxrst")
    assert run(tmp_path, 2, precision) == {"first": USED, "second": REUSED}
    assert "is damaged" in capsys.readouterr().err
