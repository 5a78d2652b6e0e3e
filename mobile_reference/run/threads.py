"""How many cores there are, work for all of them, and how many threads numpy and PyTorch compute with."""

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache, partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from threadpoolctl import ThreadpoolController


def usable_cores() -> int:
    """Count the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def side_by_side[T, R](work: Callable[[T], R], items: Iterable[T], jobs: int) -> list[R]:
    """Do ``work`` for every item by so many threads, which pays where native code does most of it.

    The results have the order of the items. PyTorch computes there with as many threads as here: left alone
    another thread takes every core for a convolution, and may add in another order. An interrupt does not
    wait for what is being done.
    """
    torch = sys.modules.get("torch")
    as_here = partial(torch.set_num_threads, torch.get_num_threads()) if torch else None
    pool = ThreadPoolExecutor(jobs, initializer=as_here)
    try:
        return list(pool.map(work, items))
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


@contextmanager
def computing_threads(threads: int) -> Iterator[None]:
    """Let numpy, and PyTorch if it was imported, compute with so many threads, then with as many as before.

    Left alone both take every core, and threads that wait for each other cost more than they bring.
    """
    torch = sys.modules.get("torch")
    before = torch.get_num_threads() if torch else 0
    try:
        with _libraries().limit(limits=threads, user_api="blas"):
            if torch:
                torch.set_num_threads(threads)
            yield
    finally:
        if torch:
            torch.set_num_threads(before)


@cache
def _libraries() -> "ThreadpoolController":
    """Find the libraries that multiply for numpy, once: it reads the names of all that are loaded."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
