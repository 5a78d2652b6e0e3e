import os
from pathlib import Path

import pytest

from mien.benchmarks.emulation.sysroot import Sysroot, set_up
from tests.benchmarks.phone.double.phone import best_shell, refusal
from tests.benchmarks.tinymodels import tiny_bundle


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bundle(tmp_path_factory.mktemp("bundle"))


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where runner and system of the double lie; MIEN_TEST_CACHE names a folder that outlives the tests."""
    kept = os.environ.get("MIEN_TEST_CACHE")
    return Path(kept) if kept else tmp_path_factory.mktemp("android-cache")


@pytest.fixture(scope="session")
def sysroot(tmp_path_factory: pytest.TempPathFactory) -> Sysroot:
    """Set the emulation up; MIEN_TEST_CACHE names a folder that outlives the tests."""
    kept = os.environ.get("MIEN_TEST_CACHE")
    return set_up(Path(kept) if kept else tmp_path_factory.mktemp("cache"), lambda _: None)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what stood for a phone."""
    if any("test_bench_android" in report.nodeid for report in terminalreporter.stats.get("passed", ())):
        terminalreporter.write_line(f"what stood for a phone: {best_shell().what} {refusal()}".strip())
