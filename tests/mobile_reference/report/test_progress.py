"""What long work tells of itself: bars on a terminal, a line now and then in a log."""

from collections.abc import Iterator

import pytest

from mien.mobile_reference.report.progress import (
    SECONDS_PER_LINE,
    bar_of_parts,
    bar_per_step,
    log_lines,
    one_bar,
    rate,
)
from mien.mobile_reference.report.steps import Part


def told(capsys: pytest.CaptureFixture[str]) -> str:
    """Return what went to standard error; standard output, which scripts read, stays clean."""
    out, err = capsys.readouterr()
    assert out == ""
    return err


@pytest.fixture(params=["0", "1"], ids=["log", "terminal"])
def terminal(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether standard error passes for a terminal."""
    monkeypatch.setenv("TTY_COMPATIBLE", request.param)
    monkeypatch.setenv("COLUMNS", "100")
    return bool(request.param == "1")


def test_a_log_gets_a_line_now_and_then_and_one_when_a_step_is_complete(capsys: pytest.CaptureFixture[str]):
    times: Iterator[float] = iter([5.0, 5.0, 6.0, 5.0 + SECONDS_PER_LINE, 40.0, 3700.0])
    report = log_lines(lambda: next(times))
    report("training: student", 1, 5200, "loss 2.000")
    report("training: student", 2, 5200, "loss 1.900")
    report("training: student", 3, 5200, "loss 1.800")
    report("aligning faces", 7, 7, "")
    report("training: student", 4, 5200, "loss 1.700")
    assert told(capsys).splitlines() == [
        "0:00:00 training: student 1/5200 loss 2.000",
        "0:00:30 training: student 3/5200 loss 1.800",
        "0:00:35 aligning faces 7/7",
        "1:01:35 training: student 4/5200 loss 1.700",
    ]


def test_every_step_has_its_bar_or_its_line(terminal: bool, capsys: pytest.CaptureFixture[str]):  # noqa: FBT001
    with bar_per_step() as report:
        report("aligning faces", 3, 3, "")
        report("training: student", 8, 8, "loss 0.123")
    shown = told(capsys)
    assert ("━" in shown) == terminal
    for text in ("aligning faces", "3/3", "training: student", "8/8", "loss 0.123"):
        assert text in shown


def test_one_bar_is_titled_by_what_was_done_last(terminal: bool, capsys: pytest.CaptureFixture[str]):  # noqa: FBT001
    with one_bar("running the float pipeline") as report:
        report("tflite appraisal", 9, 9)
    shown = told(capsys)
    assert ("━" in shown) == terminal
    assert ("remaining" in shown) == terminal
    assert shown.index("running the float pipeline") < shown.index("tflite appraisal") < shown.rindex("9/9")


@pytest.mark.parametrize(
    ("speed", "said"), [(None, ""), (0.0, ""), (4.0, "4.0/s"), (1.0, "1.0/s"), (1 / 30, "30 s each")]
)
def test_a_rate_is_said_so_that_its_number_is_above_one(speed: float | None, said: str) -> None:
    assert rate(speed) == said


def test_parts_have_a_bar_where_they_are_counted_and_a_log_has_nothing(
    terminal: bool,  # noqa: FBT001
    capsys: pytest.CaptureFixture[str],
) -> None:
    with bar_of_parts("verifying") as show:
        show(Part("preparing"))
        show(Part("tflite-fp16: face", 3, 8))
        show(Part("layers"))
    shown = told(capsys)
    for text in (
        "verifying preparing",
        "0:00:00",
        "verifying tflite-fp16: face",
        "3/8",
        "left",
        "verifying layers",
    ):
        assert (text in shown) == terminal
