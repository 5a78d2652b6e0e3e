"""How many threads numpy and PyTorch compute with."""

import ctypes
from pathlib import Path

import pytest
import torch
from threadpoolctl import threadpool_info

from mien.mobile_reference.run.threads import computing_threads, side_by_side

OPENMP = sorted((Path(torch.__file__).parent / "lib").glob("lib*omp*"))


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


@pytest.mark.skipif(not OPENMP, reason="PyTorch brings no OpenMP of its own here")
@pytest.mark.parametrize("threads", [1, 3])
def test_what_runs_side_by_side_computes_with_the_threads_of_who_asks(threads: int):
    # What PyTorch itself says is not what its convolutions take.
    openmp = ctypes.CDLL(str(OPENMP[0]))
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        found = side_by_side(lambda item: (item, openmp.omp_get_max_threads()), range(4), 2)
    finally:
        torch.set_num_threads(before)
    assert found == [(item, threads) for item in range(4)]
