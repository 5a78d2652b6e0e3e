"""Faces that are run side by side are run as one after another."""

import ctypes
from pathlib import Path

import pytest
import torch

from mien.models.appraisal.traces import over_faces

LIBRARIES = sorted((Path(torch.__file__).parent / "lib").glob("lib*omp*"))


@pytest.mark.skipif(not LIBRARIES, reason="PyTorch brings no OpenMP of its own here")
@pytest.mark.parametrize("threads", [1, 3])
def test_each_face_is_computed_with_the_threads_of_who_asks(threads: int) -> None:
    openmp = ctypes.CDLL(str(LIBRARIES[0]))
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        # What PyTorch itself says is not what its convolutions take.
        assert over_faces(lambda place: (place, openmp.omp_get_max_threads()), 4) == [
            (place, threads) for place in range(4)
        ]
    finally:
        torch.set_num_threads(before)
