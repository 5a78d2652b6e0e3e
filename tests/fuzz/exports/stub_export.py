"""A pipeline whose one model is written down instead of converted, so that an export costs a second.

All else is the real command: its processes, folders, judgement and packing.
"""

import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

PIPELINE = '''"""Rate a picture by the mean of its pixels."""

import numpy as np
import torch
from PIL import Image
from torch import nn

from mien import Pipeline, Stage, scalar


class Mean(nn.Module):
    def forward(self, image):
        return image.float().mean((1, 2, 3)).reshape(1)


def prepare(file):
    return {"image": np.asarray(Image.open(file).convert("RGB").resize((16, 16)))[None]}


pipeline = Pipeline(
    name="mean",
    stages=[Stage("rate", Mean(), inputs=["image"], outputs=["score"])],
    prepare=prepare,
    gates=[scalar("score", fp32=0.01, fp16=0.1, int8=0.5)],
)
'''
SOURCE = "mean.py"
OPTIONS = ("--variant", "tflite-fp32")
MODEL = "rate.tflite"
_PAUSE = 0.3


def write_sources(folder: Path) -> None:
    """Write the pipeline, its model and pictures for it."""
    import numpy as np
    from PIL import Image

    from tests.benchmarks.tinymodels import mean_of_pixels

    mean_of_pixels(folder / MODEL)
    (folder / "pictures").mkdir()
    random = np.random.default_rng(1)
    for number in range(4):
        pixels = random.integers(0, 256, (16, 16, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / "pictures" / f"{number}.png")
    (folder / SOURCE).write_text(PIPELINE)


def stub(folder: Path) -> None:
    """Let exports of this process take the model from ``folder``, each conversion in a process of its own."""
    from mien.export import exporter
    from mien.export.running import isolation, jobs

    def plan(_source: Any, _pipeline: Any, _traces: Path, work: Path, *_: Any) -> Sequence[jobs.Job]:
        return [
            jobs.Job(f"part {number}", work / f"{number}.log", partial(convert, folder, work, number))
            for number in range(4)
        ]

    wanted: Callable[..., Any] = plan
    exporter.plan = wanted
    isolation._PRELOAD = "tests.fuzz.exports.stub_preload"


def convert(folder: Path, work: Path, number: int) -> None:
    """Do what a converter does: run a program, take a moment, write files."""
    subprocess.run(["sleep", str(_PAUSE)], check=True)
    end = time.monotonic() + _PAUSE / 4
    while time.monotonic() < end:
        pass
    (work / "ranges").mkdir(exist_ok=True)
    (work / "ranges" / f"part{number}.json").write_text("{}")
    if number == 0:
        (work / "tflite-fp32").mkdir()
        shutil.copy(folder / MODEL, work / "tflite-fp32" / MODEL)
