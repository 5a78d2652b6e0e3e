"""Converters that fail: each costs one conversion, and says why."""

import os
import time
from functools import partial
from pathlib import Path

import pytest

from mien.export.errors import ConversionError
from mien.export.isolation import Limits, run_isolated
from mien.export.jobs import Job, run_jobs


def _write(file: Path) -> None:
    file.write_text("done")


def _raise() -> None:
    raise ValueError("no kernel for this")


def _crash() -> None:
    os.abort()


def _hang() -> None:
    time.sleep(600)


def _devour() -> None:
    assert [bytearray(os.urandom(1) * (64 << 20)) for _ in range(200)]


def test_a_good_task_runs(tmp_path: Path) -> None:
    run_isolated(partial(_write, tmp_path / "made"), tmp_path / "log", Limits(), "good")
    assert (tmp_path / "made").read_text() == "done"


def test_an_exception_is_told_with_the_end_of_the_log(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match=r"bad: .*no kernel for this"):
        run_isolated(_raise, tmp_path / "log", Limits(), "bad")


def test_a_crash_is_told_by_its_signal(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match="signal 6"):
        run_isolated(_crash, tmp_path / "log", Limits(), "crash")


def test_a_hang_is_ended(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match="took over 1 s"):
        run_isolated(_hang, tmp_path / "log", Limits(seconds=1), "hang")


def test_memory_is_capped(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match="MemoryError"):
        run_isolated(_devour, tmp_path / "log", Limits(memory=2 << 30), "devour")


def test_the_other_conversions_finish(tmp_path: Path) -> None:
    jobs = [
        Job("bad", tmp_path / "bad.log", _raise),
        Job("good", tmp_path / "good.log", partial(_write, tmp_path / "made")),
    ]
    finished: list[str] = []
    with pytest.raises(ConversionError, match="bad"):
        run_jobs(jobs, 2, lambda title, done, total: finished.append(title))
    assert finished == ["good"]
    assert (tmp_path / "made").exists()
