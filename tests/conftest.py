"""Real parts that many tests share: the shipped checkpoint and the sample portraits."""

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from filelock import FileLock
from hypothesis import settings

import mien.models.appraisal
from tests.commands import ROOT, run_mien

if TYPE_CHECKING:
    from torch import Tensor

    from mien.models.appraisal.checkpoint import Checkpoint

pytest_plugins = ["tests.layers"]

# What a shell or nohup lets its background ignore, every program that a test interrupts would ignore too.
for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, handler)

# No test leaves a bundle in the user's folder, nor takes one that another run made, but ``exported``.
os.environ["MIEN_CACHE"] = "off"
CACHE = ROOT / "build" / "tests" / "cache"

SAMPLES = Path(mien.models.appraisal.__file__).parent / "samples"

# The same examples in every run, and nothing written beside the tests.
settings.register_profile("mien", derandomize=True, database=None, deadline=None, max_examples=40)
settings.load_profile("mien")


@pytest.fixture(scope="session")
def samples() -> list[Path]:
    """Every sample portrait, in the order of its name."""
    found = sorted(SAMPLES.glob("*.jpg"))
    assert len(found) == 18
    return found


@pytest.fixture(scope="session")
def sample_folder() -> Path:
    """The folder of the sample portraits."""
    return SAMPLES


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all workers of a run share."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session")
def exported(shared: Path) -> Path:
    """A bundle of the shipped checkpoint, made once by the real command and the real converters.

    A later run takes it out of a cache of this checkout if nothing that it follows from has changed since.
    """
    output = shared / "exported" / "bundle"
    output.parent.mkdir(exist_ok=True)
    with FileLock(shared / "exported.lock"):
        if not output.exists():
            run_mien("export", "-o", output, cache=CACHE)
    return output


@pytest.fixture(scope="session")
def untouched(samples: list[Path]) -> Path:
    """A sample portrait on which nothing is drawn."""
    return samples[0]


@pytest.fixture(scope="session")
def checkpoint() -> "Checkpoint":
    """The shipped checkpoint. Tests that change one load their own."""
    import torch

    from mien.models.appraisal.checkpoint import REFERENCE, load_checkpoint

    torch.set_num_threads(1)
    return load_checkpoint(REFERENCE)


@pytest.fixture(scope="session")
def portrait(untouched: Path) -> "Tensor":
    """The pixels of the untouched portrait, uint8 [3, 512, 512]."""
    from mien.models.appraisal.portraits import read_image

    return read_image(untouched)


@pytest.fixture(scope="session")
def face(portrait: "Tensor", checkpoint: "Checkpoint") -> "Tensor":
    """Its aligned face, uint8 [3, 256, 256]."""
    from mien.models.appraisal.alignment import align

    return align(portrait, checkpoint.detector, checkpoint.config.alignment).pixels
