"""Converters that fail: each costs one conversion, and says why."""

# ruff: noqa: PT012 - what is raised at the end of a context is meant

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from functools import partial
from multiprocessing.context import ForkServerContext
from pathlib import Path
from types import ModuleType

import pytest

from mien.export.errors import ConversionError
from mien.export.plan import plan
from mien.export.running.isolation import (
    Conversion,
    Limits,
    Watch,
    converter_context,
    finished,
    run_isolated,
    where,
)
from mien.export.running.jobs import Job, all_lost, run_jobs
from mien.export.running.work_folder import work_folder
from mien.mobile_reference.errors import UsageError
from mien.mobile_reference.output.unfinished import sweep
from mien.models.sources import open_pipeline


def _write(file: Path) -> None:
    file.write_text("done")


def _raise() -> None:
    raise ValueError("no kernel for this")


def _crash() -> None:
    os.abort()


def _hang(begun: Path) -> None:
    os.mkdir(begun)  # noqa: PTH102 - in this very frame, wherever it is interrupted
    time.sleep(600)


def _compute() -> None:
    while True:
        pass


def _start_and_hang(file: Path) -> None:
    program = subprocess.Popen(["sleep", "600"])
    file.write_text(str(program.pid))
    time.sleep(600)


def ends(process: int) -> bool:
    """Tell whether a process is gone, or soon will be."""
    for _ in range(100):
        stat = Path(f"/proc/{process}/stat")
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            if stat.read_text().rpartition(")")[2].split()[0] != "Z":
                time.sleep(0.1)
                continue
        return True
    return False


def _devour() -> None:
    assert [bytearray(os.urandom(1) * (64 << 20)) for _ in range(200)]


@pytest.mark.parametrize("imported", [True, False])
def test_what_needed_the_compiler_to_be_opened_has_it_imported_for_every_converter(
    monkeypatch: pytest.MonkeyPatch, *, imported: bool
) -> None:
    monkeypatch.delitem(sys.modules, "torch._dynamo", raising=False)
    if imported:
        monkeypatch.setitem(sys.modules, "torch._dynamo", ModuleType("torch._dynamo"))
    asked: list[list[str]] = []
    monkeypatch.setattr(ForkServerContext, "set_forkserver_preload", lambda _, names: asked.append(names))
    converter_context()
    (names,) = asked
    assert ("torch._dynamo" in names) == imported


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
    begun = tmp_path / "begun"
    conversion = Conversion(partial(_hang, begun), tmp_path / "log", Limits(idle=2), "hang")
    try:
        while not begun.exists():  # for as long as a busy machine takes
            time.sleep(0.1)
        while not finished([conversion]):
            pass
        with pytest.raises(
            ConversionError, match=r"no second of processor time in 2 s; it was in \S+:\d+ _hang; log: log"
        ):
            conversion.result()
    finally:
        conversion.end()


def test_work_that_goes_on_for_too_long_is_ended(tmp_path: Path) -> None:
    said = r"over 5 s of processor time; allow more .*; it was in \S+:\d+ _compute; log: log"
    with pytest.raises(ConversionError, match=said):
        run_isolated(_compute, tmp_path / "log", Limits(seconds=5), "loop")


def test_where_every_process_was_is_said_once() -> None:
    frame = 'Current thread 0x0000f1 (most recent call first):\n  File "/a/{}.py", line 7 in {}\n  File "b"'
    log = "\n".join(frame.format(*names) for names in (("wait", "_wait"), ("fold", "fold"), ("fold", "fold")))
    assert where(f"words\n{log}\nKilled") == "; it was in wait.py:7 _wait and fold.py:7 fold"
    assert where("words\nFile x, line 7") == ""
    for unnamed in ("<module>", "<lambda>", "<listcomp>"):
        assert where(frame.format("fold", unnamed)) == f"; it was in fold.py:7 {unnamed}"


def test_work_on_a_busy_machine_is_let_go_on() -> None:
    """An hour on the clock, of which it has one part in a hundred."""
    watch = Watch(Limits(seconds=100, idle=120), 0.0)
    assert not [now for now in range(3600) if watch.excess(now / 100, now)]


def test_no_second_of_work_in_all_the_time_is_a_hang() -> None:
    watch = Watch(Limits(seconds=100, idle=120), 0.0)
    assert watch.excess(5.0, 60) is None
    assert watch.excess(5.9, 180) is None
    assert "hangs" in str(watch.excess(5.9, 181))


def test_the_limit_is_in_seconds_of_the_processor() -> None:
    watch = Watch(Limits(seconds=100, idle=120), 0.0)
    assert watch.excess(100.0, 10) is None
    assert "over 100 s of processor time" in str(watch.excess(100.1, 10))


def test_programs_that_a_converter_started_end_with_it(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match="hangs"):
        run_isolated(partial(_start_and_hang, tmp_path / "pid"), tmp_path / "log", Limits(idle=8), "hang")
    assert ends(int((tmp_path / "pid").read_text()))


def test_memory_is_capped(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match="MemoryError"):
        run_isolated(_devour, tmp_path / "log", Limits(memory=2 << 30), "devour")


def test_the_other_conversions_finish(tmp_path: Path) -> None:
    jobs = [
        Job("bad", tmp_path / "bad.log", _raise),
        Job("good", tmp_path / "good.log", partial(_write, tmp_path / "made")),
    ]
    finished: list[str] = []
    ran = run_jobs(jobs, 2, lambda title, done, total: finished.append(title))
    assert (finished, list(ran.used), list(ran.lost)) == (["good"], ["good"], ["bad"])
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
    ran = run_jobs(jobs, 2, lambda title, done, total: None)
    assert re.search("2 of 2 conversions lost.*next: needs what bad makes", str(all_lost(ran.lost, 2)))
    assert not (tmp_path / "made").exists()


def test_every_stage_comes_after_the_converted_stage_before_it(tmp_path: Path) -> None:
    jobs = {job.title: job for job in plan(None, open_pipeline(), tmp_path, tmp_path, tmp_path)}
    assert {title: job.after for title, job in jobs.items() if title.startswith("tflite ")} == {
        "tflite detector": (),
        "tflite appraisal": (),
        "tflite heatmap": (),
        "tflite mask": ("tflite heatmap",),
        "tflite inpaint": ("tflite mask",),
        "tflite compare": ("tflite inpaint",),
        "tflite rate": ("tflite compare",),
    }
    assert jobs["tflite-dynamic mask"].after == ("tflite mask",)
    titles = list(jobs)
    assert all(titles.index(title) < titles.index(job.title) for job in jobs.values() for title in job.after)


INTERRUPTED = """
import multiprocessing, sys, time
from functools import partial
from pathlib import Path
import click
from mien.export.running.jobs import run_jobs
from mien.export.running.work_folder import work_folder
from mien.mobile_reference.commands import console
from mien.mobile_reference.output.folder import Kind, OutputFolder
from tests.export.running.test_isolation import Job, begin
@click.command()
def export():
    place = Path(sys.argv.pop())
    with OutputFolder.at(place / "out", Kind("x")).staged(), work_folder(place / "out") as work:
        jobs = [Job(f"{n}", work / f"{n}.log", partial(begin, place / f"begun{n}")) for n in range(6)]
        run_jobs(jobs, 2, lambda *_: None)
if __name__ == "__main__":
    console.run(export, [])
"""


def begin(file: Path) -> None:
    """Start a program, say its process and one's own, and go on for long."""
    program = subprocess.Popen(["sleep", "600"])
    part = file.with_suffix(".part")
    part.write_text(f"{os.getpid()} {program.pid}")
    part.rename(file)
    time.sleep(600)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_interrupted_export_ends_what_runs_and_begins_nothing(tmp_path: Path, number: int) -> None:
    script = tmp_path / "script.py"
    script.write_text(INTERRUPTED)
    (tmp_path / "place").mkdir()
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}
    command = [sys.executable, str(script), str(tmp_path / "place")]
    export = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, start_new_session=True)
    while len(begun := sorted((tmp_path / "place").glob("begun?"))) < 2:
        assert export.poll() is None
        time.sleep(0.1)
    export.send_signal(number)
    # The pipe is open for as long as anybody whom the export started has it.
    _, said = export.communicate(timeout=300)
    left = sorted(path.name for path in (tmp_path / "place").iterdir())
    if number == signal.SIGKILL:
        assert export.returncode == -signal.SIGKILL
        sweep(tmp_path / "place")
        left = sorted(path.name for path in (tmp_path / "place").iterdir())
    else:
        assert (export.returncode, said.strip().decode()) == (130, "mien: interrupted")
    assert left == ["begun0", "begun1"]
    assert all(ends(int(process)) for file in begun for process in file.read_text().split())


def test_lost_conversions_leave_logs_and_what_was_finished(tmp_path: Path) -> None:
    output = tmp_path / "out"
    for _ in range(2):  # what an export left is taken away by the next one
        with pytest.raises(ConversionError, match=r"lie in .*out\.work"), work_folder(output) as work:
            jobs = [
                Job("good", work / "good.log", partial(_write, work / "made")),
                Job("bad", work / "bad.log", _raise),
            ]
            raise all_lost(run_jobs(jobs, 2, lambda *_: None).lost, len(jobs))
        assert "no kernel for this" in (tmp_path / "out.work" / "bad.log").read_text()
        assert (tmp_path / "out.work" / "made").read_text() == "done"
        assert [path.name for path in tmp_path.iterdir()] == ["out.work"]
    with work_folder(output):
        assert not (tmp_path / "out.work").exists()
    assert not list(tmp_path.iterdir())


def test_a_folder_of_the_user_s_is_not_taken_for_that_of_lost_conversions(tmp_path: Path) -> None:
    (tmp_path / "out.work").mkdir()
    (tmp_path / "out.work" / "thesis").write_text("mine")
    with pytest.raises(UsageError, match="move it away"), work_folder(tmp_path / "out"):
        pass
    assert (tmp_path / "out.work" / "thesis").exists()
