"""How many threads numpy and PyTorch compute with."""

import torch
from threadpoolctl import threadpool_info

from mien.mobile_reference.run.threads import computing_threads


def _blas() -> set[int]:
    return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}


def test_numpy_and_torch_compute_with_so_many_threads_and_then_as_before():
    with computing_threads(2):
        assert (_blas(), torch.get_num_threads()) == ({2}, 2)
        with computing_threads(1):
            assert (_blas(), torch.get_num_threads()) == ({1}, 1)
        assert (_blas(), torch.get_num_threads()) == ({2}, 2)


def test_an_error_leaves_the_threads_of_before():
    with computing_threads(2):
        try:
            with computing_threads(1):
                raise ValueError
        except ValueError:
            pass
        assert (_blas(), torch.get_num_threads()) == ({2}, 2)
