"""What tests of converters share."""

import os
import sysconfig

import pytest


@pytest.fixture
def scripts_on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let onnx2tf find the program onnxsim, as converters' processes do."""
    monkeypatch.setenv("PATH", sysconfig.get_path("scripts") + os.pathsep + os.environ["PATH"])
