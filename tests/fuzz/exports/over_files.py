"""Exports to a folder where somebody's files lie, or are put while an export runs: none may be gone."""

import os
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

from tests.fuzz.harness import Bounds, attempt, judge

OUT = "out"
_WORK = b"years of work"
_STEPS = re.compile(r"\d+:\d\d:\d\d .*\d/\d|INFO: ")


def aside(out: Path) -> Path:
    """Write where no export has to do with it."""
    return _written(out.parent / "elsewhere" / "thesis.txt")


def _beside(out: Path) -> Path:
    return _written(out / "thesis.txt")


def _below(out: Path) -> Path:
    return _written(out / "notes" / "thesis.txt")


def _own_manifest(out: Path) -> Path:
    """Write what other programs have too: that of a web app."""
    return _written(out / "manifest.json")


def _web_app(out: Path) -> Path:
    _own_manifest(out)
    return _beside(out)


def _changed_model(out: Path) -> Path:
    """Change what an export wrote, where it has: it is somebody's own then."""
    return _written(next(out.rglob("*.tflite"), out / "own.tflite"))


def _behind_a_link(out: Path) -> Path:
    kept = aside(out)
    out.mkdir(exist_ok=True)
    (out / "link").symlink_to(kept.parent)
    return kept


def _written(file: Path) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(_WORK)
    return file


WAYS: Sequence[Callable[[Path], Path]] = (
    _beside,
    _below,
    _own_manifest,
    _web_app,
    _changed_model,
    _behind_a_link,
)
"""Each puts a file of somebody's into an output folder, or makes the folder with it, and names it."""


@dataclass(frozen=True)
class Meeting:
    """A file that an export meets, put in one of the ``WAYS``.

    ``after`` are the seconds after the export began; none stand for before it. ``over`` tells whether a
    bundle was there.
    """

    way: Callable[[Path], Path]
    after: float | None
    over: bool

    @classmethod
    def drawn(cls, data: bytes, longest: float) -> "Meeting":
        """Draw one."""
        random = Random(data)  # noqa: S311 - damage, no secrets
        after = random.choice((None, random.uniform(0, longest)))
        return cls(random.choice(WAYS), after, random.random() < 0.5)


def how_it_ended(export: Callable[[], None], work: Path, meeting: Meeting, bounds: Bounds) -> str:
    """Export to a folder in ``work`` that meets a file, and see whether the file is there and as it was."""
    out = work / OUT
    if meeting.after is None:
        file = meeting.way(out)
        ended = attempt(export, work, bounds)
    else:
        names = work / "file"
        process = os.fork()
        if process == 0:
            _put_later(meeting.way, out, meeting.after, names)
        ended = attempt(export, work, bounds)
        os.waitpid(process, 0)
        file = Path(names.read_text())
    if not file.is_file() or file.read_bytes() != _WORK:
        return f"lost: {file.relative_to(work)} of somebody else"
    # Where nobody sees its bar an export tells of its steps, and LiteRT of models, a line each.
    said = [line for line in ended.err.splitlines(keepends=True) if not _STEPS.match(line)]
    return judge(replace(ended, err="".join(said)), bounds)


def _put_later(way: Callable[[Path], Path], out: Path, after: float, names: Path) -> None:
    """Be a process that puts a file there later, and names it; never returns."""
    code = 1
    try:
        time.sleep(after)
        names.write_text(str(way(out)))
        code = 0
    finally:
        os._exit(code)
