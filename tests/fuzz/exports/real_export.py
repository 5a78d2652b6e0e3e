"""A small network of its own weights, which the real converters export: tens of seconds of work."""

from pathlib import Path

PIPELINE = '''"""Rate a picture by two convolutions."""

import numpy as np
import torch
from PIL import Image
from torch import nn

from mien import Pipeline, Stage, scalar


class Rate(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.first, self.second = nn.Conv2d(3, 8, 3, stride=2), nn.Conv2d(8, 4, 3, stride=2)

    def forward(self, image):
        x = torch.relu(self.first(image.float() / 255))
        return torch.sigmoid(self.second(x)).mean((1, 2, 3)) * 100


def prepare(file):
    return {"image": np.asarray(Image.open(file).convert("RGB").resize((32, 32)))[None]}


pipeline = Pipeline(
    name="rate",
    stages=[Stage("rate", Rate(), inputs=["image"], outputs=["score"])],
    prepare=prepare,
    gates=[scalar("score", fp32=0.01, fp16=0.5, int8=2)],
)
'''
SOURCE = "rate.py"
OPTIONS = ("--variant", "tflite-fp32", "--variant", "coreml-fp16")


def write_sources(folder: Path) -> None:
    """Write the pipeline, and pictures for it."""
    import numpy as np
    from PIL import Image

    (folder / "pictures").mkdir()
    random = np.random.default_rng(1)
    for number in range(8):
        pixels = random.integers(0, 256, (32, 32, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / "pictures" / f"{number}.png")
    (folder / SOURCE).write_text(PIPELINE)
