"""Bundles of pipelines of a user's own, made once by the real command and the real converters."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.commands import run_mien

GRADER = Path(__file__).with_name("grader.py")
VARIANTS = ("tflite-fp32", "tflite-fp16", "tflite-int8", "coreml-fp16")


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of twelve coloured pictures."""
    folder = tmp_path_factory.mktemp("own") / "pictures"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(12):
        small = Image.fromarray(rng.integers(0, 256, (3, 3, 3), np.uint8))
        small.resize((40, 30), Image.Resampling.BICUBIC).save(folder / f"{number:02}.png")
    return folder


@pytest.fixture(scope="session")
def grader_bundle(pictures: Path) -> Path:
    """The bundle of the U-Net with its scorer."""
    output = pictures.parent / "grader"
    chosen = [word for variant in VARIANTS for word in ("--variant", variant)]
    run_mien("export", GRADER, "--calibration", pictures, "-o", output, *chosen)
    return output
