"""How many threads PyTorch computes with while a bundle is made."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def one_thread() -> Iterator[None]:
    """Let PyTorch compute with one thread, then with as many as before.

    More threads add in another order. The last bits that differ turn the rounding of a weight, and machines
    with other numbers of cores would make other models of one checkpoint.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
