import os
from pathlib import Path

import pytest
from tinymodels import tiny_bundle

from mien.benchmarks.userland import Userland, set_up


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bundle(tmp_path_factory.mktemp("bundle"))


@pytest.fixture(scope="session")
def userland(tmp_path_factory: pytest.TempPathFactory) -> Userland:
    """Set the emulation up; MIEN_TEST_CACHE names a folder that outlives the tests."""
    kept = os.environ.get("MIEN_TEST_CACHE")
    return set_up(Path(kept) if kept else tmp_path_factory.mktemp("cache"), lambda _: None)
