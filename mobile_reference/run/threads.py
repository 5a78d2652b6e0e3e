"""How many threads PyTorch computes with, where it is there."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


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
