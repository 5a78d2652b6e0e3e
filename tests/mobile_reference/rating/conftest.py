"""Small photographs, and a bundle of real but tiny models that rates them."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mien.mobile_reference.commands.console import main
from tests.benchmarks.tinymodels import tiny_bundle
from tests.mobile_reference.rating.calls import Call, Said


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that sees a face in every picture."""
    return tiny_bundle(tmp_path_factory.mktemp("tiny") / "bundle")


@pytest.fixture(scope="session")
def jpegs() -> Sequence[bytes]:
    """Pictures of noise, all different."""
    pixels = np.random.default_rng(3).integers(0, 256, (24, 60, 60, 3)).astype(np.uint8)
    return [_encoded(picture) for picture in pixels]


def _encoded(picture: np.ndarray) -> bytes:
    made = io.BytesIO()
    Image.fromarray(picture).save(made, "JPEG")
    return made.getvalue()


@pytest.fixture
def call(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Call:
    """Call the command line in a folder of the test's own."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> Said:
        capfd.readouterr()
        with pytest.raises(SystemExit) as left:
            main(["appraise", *map(str, arguments)])
        captured = capfd.readouterr()
        return Said(left.value.code, captured.out, captured.err)

    return run
