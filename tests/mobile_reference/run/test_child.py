"""Work in a child process: messages, results and errors come back, and every way to die is one line."""

import ctypes
import gc
import os
import re
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mien.mobile_reference.errors import ChildError, FaceError, MienError, UsageError
from mien.mobile_reference.run.child import (
    Child,
    Limits,
    Tell,
    _sendable,
    calm,
    each_in_child,
    in_child,
    keep_below,
)

LIMITS = Limits()


def done(work: Callable[[Tell], Any], limits: Limits = LIMITS) -> tuple[list[Any], Any]:
    child = Child(work, limits)
    messages = list(child)
    return messages, child.result


def said(work: Callable[[Tell], Any], limits: Limits = LIMITS) -> str:
    with pytest.raises(ChildError) as caught:
        done(work, limits)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2
    return str(caught.value)


def test_messages_come_in_order_and_the_result_after_them() -> None:
    def work(tell: Tell) -> Any:
        for number in range(3):
            tell(number)
        return np.arange(4), os.getpid()

    messages, (array, process) = done(work)
    assert messages == [0, 1, 2]
    assert array.tolist() == [0, 1, 2, 3]
    assert process != os.getpid()


def test_an_error_of_the_user_is_raised_as_it_is() -> None:
    def work(_: Tell) -> None:
        raise FaceError("no face")

    with pytest.raises(FaceError, match="no face"):
        done(work)


def test_a_defect_keeps_its_traceback() -> None:
    def work(_: Tell) -> None:
        raise KeyError("of the child")

    with pytest.raises(KeyError) as caught:
        done(work)
    assert not isinstance(caught.value, MienError)
    assert "in work" in "".join(caught.value.__notes__)


def test_what_was_told_before_the_death_is_not_lost() -> None:
    def work(tell: Tell) -> None:
        tell("one")
        ctypes.string_at(0)

    messages = iter(Child(work, Limits()))
    assert next(messages) == "one"
    with pytest.raises(ChildError, match="ended by SIGSEGV"):
        next(messages)


def test_the_last_words_of_a_library_are_quoted_without_its_escapes() -> None:
    def work(_: Tell) -> None:
        os.write(2, b"first\n\x1b[31mterminate called\xff\n\n")
        os.abort()

    assert said(work).startswith(r"the process was ended by SIGABRT (\x1b[31mterminate called")


def test_an_exit_is_a_death() -> None:
    assert "ended by exit 7" in said(lambda _: os._exit(7))


def test_memory_is_limited() -> None:
    def work(_: Tell) -> None:
        np.ones(1 << 28)

    assert "needs more than 1024 MiB" in said(work, Limits(memory=1 << 30))


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not tell what a process has")
def test_what_the_parent_has_does_not_count() -> None:
    kept = np.ones(1 << 26)  # half of a GiB, which a fork inherits
    assert done(lambda _: len(np.ones(1 << 25)), Limits(memory=400 << 20))[1] == 1 << 25
    assert "needs more than 400 MiB" in said(lambda _: np.ones(1 << 26), Limits(memory=400 << 20))
    assert len(kept)


def test_memory_is_limited_further_for_a_while() -> None:
    def work(_: Tell) -> int:
        keep_below(1 << 30)
        with pytest.raises(MemoryError):
            np.ones(1 << 28)
        keep_below(8 << 30)  # at most what the process is limited to
        return len(np.ones(1 << 27)) if sys.platform == "linux" else 1 << 27

    assert done(work, Limits(memory=6 << 30))[1] == 1 << 27
    # What the process holds by then counts too.
    told = re.search(r"needs more than (\d+) MiB", said(lambda _: (keep_below(1 << 30), np.ones(1 << 28))))
    assert told
    assert 1024 <= int(told[1]) < 1100


def test_a_process_that_is_not_confined_is_not_limited() -> None:
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_DATA)
    keep_below(1)
    assert resource.getrlimit(resource.RLIMIT_DATA) == before


def test_processor_time_is_limited_from_one_message_to_the_next() -> None:
    def spin(seconds: float) -> None:
        end = sum(os.times()[:2]) + seconds
        while sum(os.times()[:2]) < end:
            pass

    def slow(tell: Tell) -> str:
        for _ in range(3):
            spin(0.5)
            tell("")
        return "done"

    assert done(slow, Limits(seconds=1))[1] == "done"
    assert "more than 1 s of processor time" in said(lambda _: spin(10), Limits(seconds=1))


def test_a_child_whose_messages_nobody_reads_any_more_is_ended() -> None:
    def work(tell: Tell) -> None:
        tell(os.getpid())
        signal.pause()

    messages = iter(Child(work, Limits()))
    process = next(messages)
    messages.close()  # type: ignore[attr-defined] - it is a generator
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)


def test_a_child_ends_with_its_parent(tmp_path: Path) -> None:
    code = (
        "import os, sys, time\n"
        "from mien.mobile_reference.run.child import Child, Limits\n"
        "def work(tell):\n"
        "    tell(os.getpid())\n"
        "    time.sleep(60)\n"
        "messages = iter(Child(work, Limits()))\n"
        "print(next(messages), flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    started = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    process = int(started.stdout)
    for _ in range(200):
        if not Path(f"/proc/{process}").exists() or "Z" in Path(f"/proc/{process}/stat").read_text():
            return
        signal.sigtimedwait([], 0.05)
    pytest.fail("the child outlived its parent")


def test_a_child_of_a_child_has_no_more_than_its_parent() -> None:
    def most() -> int:
        return resource.getrlimit(resource.RLIMIT_DATA)[1]

    def outer() -> tuple[int, int]:
        return most(), in_child(most, Limits(memory=1 << 50), "inner")

    own, inner = in_child(outer, Limits(memory=4 << 30), "outer")
    assert 4 << 30 <= own < 1 << 50  # what this process has counts too, which may be some GiB
    assert inner == own


def test_nothing_is_left_open() -> None:
    gc.collect()  # what other tests left to the collector might be closed meanwhile
    before = open_files()
    done(lambda _: None)
    assert open_files() == before


def open_files() -> list[str]:
    return sorted(os.listdir("/proc/self/fd"))  # noqa: PTH208 - of numbers, no files are looked at


def test_a_death_names_what_was_opened() -> None:
    with pytest.raises(
        ChildError, match=r"^face\.jpg: .*exit 3.*; it is damaged or too large, make it again$"
    ):
        in_child(lambda: os._exit(3), LIMITS, "face.jpg")
    assert in_child(lambda: 7, LIMITS, "face.jpg") == 7


def test_of_several_subjects_the_one_that_is_opened_is_named() -> None:
    def opened(name: str) -> int:
        return os._exit(3) if name == "second" else os.getpid()

    with pytest.raises(ChildError, match=r"^second: .*exit 3"):
        each_in_child(opened, ["first", "second", "third"], LIMITS)
    first, third = each_in_child(opened, ["first", "third"], LIMITS)
    assert first == third != os.getpid()
    assert each_in_child(opened, [], LIMITS) == []


AFTER_PYTORCH = """
import torch
from mien.mobile_reference.run.child import Limits, in_child

torch.set_num_threads(2)
x, weight = torch.ones(1, 32, 64, 64), torch.ones(32, 32, 3, 3)
convolve = lambda: float(torch.conv2d(x, weight).sum())
assert convolve() == in_child(convolve, Limits(), "a convolution")
"""


def test_pytorch_computes_in_the_child_of_a_process_where_it_did() -> None:
    """As in a notebook: its threads are not in the child, which waited for them for ever."""
    pytest.importorskip("torch")
    subprocess.run([sys.executable, "-c", AFTER_PYTORCH], check=True, timeout=300)


NATIVE_WORDS = """
import os, sys
from mien.mobile_reference.run.child import Limits, calm, in_child

def speak(who):
    os.write(2, f"INFO: {who} is well\\nERROR: {who} is not\\n".encode())
    print(f"{who} in Python", file=sys.stderr)

with calm():
    speak("outer")
    in_child(lambda: speak("inner"), Limits(), "inner")
os.write(2, b"INFO: after all\\n")
"""


def test_what_libraries_say_while_all_is_well_is_kept_off_and_the_rest_told_at_the_end() -> None:
    done = subprocess.run([sys.executable, "-c", NATIVE_WORDS], capture_output=True, text=True, check=True)
    assert done.stderr.splitlines() == [
        "outer in Python",
        "inner in Python",
        "mien: ERROR: outer is not",
        "INFO: after all",
    ]


def test_native_words_are_kept_off_where_python_prints_into_memory(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with calm():
        sys.stderr.write("in Python\n")
    assert capsys.readouterr().err == "in Python\n"


def test_a_defect_is_sent_with_its_traceback_and_an_error_of_ours_as_it_is() -> None:
    for error, notes in ((UsageError("one line"), 0), (ValueError("a defect"), 1)):
        try:
            raise error
        except Exception as caught:
            sent = _sendable(caught)
        assert sent is error
        assert len(getattr(sent, "__notes__", [])) == notes
