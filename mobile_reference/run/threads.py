"""How many cores there are, work for all of them, and how many threads PyTorch computes with."""

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager


def usable_cores() -> int:
    """Count the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def side_by_side[T, R](work: Callable[[T], R], items: Iterable[T], jobs: int) -> list[R]:
    """Do ``work`` for every item by so many threads, which pays where native code does most of it.

    The results have the order of the items. An interrupt does not wait for what is being done.
    """
    pool = ThreadPoolExecutor(jobs)
    try:
        return list(pool.map(work, items))
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


@contextmanager
def torch_threads(threads: int) -> Iterator[None]:
    """Let PyTorch, if it was imported, compute with so many threads, then with as many as before.

    Left alone it takes every core, and threads that wait for each other cost more than they bring.
    """
    torch = sys.modules.get("torch")
    if torch is None:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
