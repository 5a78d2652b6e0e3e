"""Fixtures that many tests share."""

from pathlib import Path

import pytest

from tests.commands import ROOT, run_mien


@pytest.fixture(scope="session")
def samples() -> Path:
    """The sample portraits that ship with mien."""
    return ROOT / "calibration" / "samples"


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of the shipped checkpoint, made once by the real command and the real converters."""
    output = tmp_path_factory.mktemp("exported") / "bundle"
    run_mien("export", "-o", output)
    return output
