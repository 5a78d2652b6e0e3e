"""Long work told in parts: what is under way, how many of its parts are done, and of how many."""

from collections.abc import Callable, Iterable, Iterator
from itertools import count
from threading import Lock
from typing import NamedTuple

Progress = Callable[[str, int, int], None]
"""Told what is under way or was finished, how many parts are done, and of how many."""


class Part(NamedTuple):
    """What is under way in words, how many parts are done, and of how many where that is known."""

    text: str
    done: int = 0
    total: int | None = None


def counted(show: Callable[[Part], None], total: int) -> Callable[[str], None]:
    """Return what is told in words of each of so many parts as it begins, and shows how many are done."""
    done = count()
    return lambda text: show(Part(text, next(done), total))


def quietly(_title: str, _done: int, _total: int) -> None:
    """Tell nobody."""


class Step:
    """One step of work: it tells ``progress`` at its start, and of every part, whichever thread does it."""

    def __init__(self, title: str, total: int, progress: Progress) -> None:
        self._title, self._total, self._progress = title, total, progress
        self._count, self._telling = 0, Lock()
        progress(title, 0, total)

    def done(self) -> None:
        """Count a part that is done."""
        with self._telling:
            self._count += 1
            self._progress(self._title, self._count, self._total)

    def over[T](self, parts: Iterable[T]) -> Iterator[T]:
        """Yield parts, and count each once the next one is asked for."""
        for part in parts:
            yield part
            self.done()
