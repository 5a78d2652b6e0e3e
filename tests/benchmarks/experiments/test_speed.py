"""Times of rating: what is counted is what the command and its processes took, and a failure is no time."""

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mien.benchmarks.experiments.speed import Way, measure, photographs, ways_of
from mien.mobile_reference.errors import UsageError

_BUSY = "import sys, time\nend = time.process_time() + {}\nwhile time.process_time() < end: pass\n"
_MEMORY = "import sys\nkept = b'x' * ({} << 20)\n"


def _way(name: str, code: str) -> Way:
    return Way(name, (sys.executable, "-c", code))


def test_work_and_memory_are_those_of_the_command(tmp_path: Path) -> None:
    ways = (_way("idle", ""), _way("busy", _BUSY.format(1)), _way("large", _MEMORY.format(600)))
    idle, busy, large = measure(ways, [tmp_path / "a", tmp_path / "b"], 10, rounds=1)
    # Its own second. What 600 MiB take is no less on a slow machine, and is compared with nothing.
    assert busy.cpu > 1
    assert busy.cpu > idle.cpu
    assert busy.wall > 1
    # A process begins with the size of the one that starts it: what is counted is not below that.
    assert large.memory > 600 << 20
    assert large.memory >= idle.memory
    assert (idle.photographs, idle.side, idle.per_minute) == (2, 10, 60 * 2 / idle.wall)


def test_a_command_that_fails_is_said(tmp_path: Path) -> None:
    way = _way("broken", "import sys; sys.exit('no such face')")
    with pytest.raises(UsageError, match="no such face"):
        list(measure([way], [tmp_path / "a"], 10, rounds=1))


def test_photographs_are_portraits_of_that_size(tmp_path: Path) -> None:
    Image.fromarray(np.full((8, 8, 3), 90, np.uint8)).save(tmp_path / "someone.png")
    files = photographs(tmp_path / "someone.png", 32, 3, tmp_path / "made")
    assert len(set(files)) == 3
    assert [Image.open(file).size for file in files] == [(32, 32)] * 3


def test_a_checkout_without_a_bundle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="run 'make demo' there first"):
        ways_of(tmp_path / "bundle", tmp_path, "tflite-fp16")
