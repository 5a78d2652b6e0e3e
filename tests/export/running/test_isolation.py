"""Converters that fail: each costs one conversion, and says why."""

import os
import time
from functools import partial
from pathlib import Path

import pytest

from mien.export.errors import ConversionError
from mien.export.running.isolation import Limits, run_isolated
from mien.export.running.plan import Job, plan, run_jobs
from mien.models.sources import open_pipeline


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


def _copy(source: Path, target: Path) -> None:
    target.write_text(source.read_text())


def _write_late(file: Path) -> None:
    time.sleep(0.5)
    _write(file)


def test_a_conversion_waits_for_those_that_it_needs(tmp_path: Path) -> None:
    made, copied = tmp_path / "made", tmp_path / "copied"
    first = Job("first", tmp_path / "first.log", partial(_write_late, made))
    second = Job("second", tmp_path / "second.log", partial(_copy, made, copied), after=("first",))
    finished: list[str] = []
    run_jobs([first, second], 2, lambda title, done, total: finished.append(title))
    assert finished == ["first", "second"]
    assert copied.read_text() == "done"


def test_what_needs_a_lost_conversion_is_lost_too(tmp_path: Path) -> None:
    jobs = [
        Job("bad", tmp_path / "bad.log", _raise),
        Job("next", tmp_path / "next.log", partial(_write, tmp_path / "made"), after=("bad",)),
    ]
    with pytest.raises(ConversionError, match=r"2 of 2 conversions lost.*next: needs what bad makes"):
        run_jobs(jobs, 2, lambda title, done, total: None)
    assert not (tmp_path / "made").exists()


def test_every_stage_comes_after_the_converted_stage_before_it(tmp_path: Path) -> None:
    jobs = {job.title: job for job in plan(None, open_pipeline(), tmp_path, tmp_path, tmp_path)}
    assert {title: job.after for title, job in jobs.items() if title.startswith("tflite")} == {
        "tflite detector": (),
        "tflite appraisal": (),
        "tflite heatmap": (),
        "tflite mask": ("tflite heatmap",),
        "tflite inpaint": ("tflite mask",),
        "tflite compare": ("tflite inpaint",),
    }
    titles = list(jobs)
    assert all(titles.index(title) < titles.index(job.title) for job in jobs.values() for title in job.after)
