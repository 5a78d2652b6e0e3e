"""Bundles of two small pipelines of a user's own, for apps that are run: made by the real command.

    python -m tests.benchmarks.apps.own_bundles FOLDER

``FOLDER/painter`` takes tensors and has a stage that need not run; ``FOLDER/classifier`` takes photographs by
the front ``resize``, and has golden inputs of some.
"""

import shutil
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from tests.benchmarks.apps.running import CLASSIFIER, PAINTER, with_more_photographs
from tests.commands import call_mien
from tests.export.own.painter import DARK, SIZE
from tests.export.own.test_front import RGB, classifier

PIPELINE = Path(__file__).parents[2] / "export/own/painter.py"
VARIANTS = ("tflite-fp32", "tflite-fp16", "coreml-fp32", "coreml-fp16")
PICTURES = 12


def make(folder: Path) -> None:
    """Export both; what did not change is taken from the cache."""
    variants = [word for name in VARIANTS for word in ("--variant", name)]
    shutil.rmtree(folder, ignore_errors=True)
    pictures = folder / "pictures"
    pictures.mkdir(parents=True)
    for number in range(PICTURES):
        rng = np.random.default_rng(number)
        brightest = DARK if number % 3 else 255
        noise = rng.integers(0, brightest + 1, (SIZE, SIZE, 3), np.uint8)
        Image.fromarray(noise).save(pictures / f"{number:02}.png")
    call_mien("export", PIPELINE, "-o", folder / PAINTER, "--calibration", pictures, *variants)
    model, example = folder / "classifier.pt2", (torch.rand(1, 3, 16, 16),)
    torch.export.save(torch.export.export(classifier(3).eval(), example), model)
    exported = folder / "exported"
    size = ("--front", "resize:16x16", *RGB)
    call_mien("export", model, "-o", exported, "--calibration", pictures, *size, *variants)
    rng = np.random.default_rng(99)
    photographs = {
        name: rng.integers(0, 256, (height, width, 3), np.uint8)
        for name, height, width in (("reduced", 53, 131), ("enlarged", 11, 7), ("both", 9, 40))
    }
    with_more_photographs(exported, folder / CLASSIFIER, photographs)


if __name__ == "__main__":
    make(Path(sys.argv[1]))
