"""How many threads PyTorch and numpy compute with while a bundle is made."""

from collections.abc import Iterator
from contextlib import contextmanager

from threadpoolctl import threadpool_limits


@contextmanager
def one_thread() -> Iterator[None]:
    """Let PyTorch and numpy's BLAS compute with one thread, then with as many as before.

    More threads add in another order. The last bits that differ turn the rounding of a weight, and machines
    with other numbers of cores would make other models of one checkpoint. Threads that wait also spin, and
    take time from the converters that run beside them.
    """
    import torch  # takes seconds, which whoever only watches converters does not need

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1, "blas"):
            yield
    finally:
        torch.set_num_threads(before)
