"""Bundles of pipelines of a user's own, made once by the real command and the real converters."""

from pathlib import Path

import numpy as np
import pytest
import torch
from filelock import FileLock
from PIL import Image

from tests.commands import call_mien
from tests.export.own.grader import SIZE, UNet

GRADER, CHANGE = (Path(__file__).with_name(name) for name in ("grader.py", "change.py"))
VARIANTS = (
    "tflite-fp32",
    "tflite-fp16",
    "tflite-half",
    "tflite-dynamic",
    "tflite-int8",
    "coreml-fp32",
    "coreml-fp16",
)


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
def grader_bundle(pictures: Path, shared: Path) -> Path:
    """The bundle of the U-Net with its scorer, made once for all workers."""
    output = shared / "grader" / "bundle"
    output.parent.mkdir(exist_ok=True)
    with FileLock(shared / "grader.lock"):
        if not output.exists():
            export(GRADER, output, pictures, variants=VARIANTS, labels=labelled(pictures))
    return output


@pytest.fixture(scope="session")
def unet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one U-Net as ``unet.pt2`` and ``unet.onnx``, and ``inputs.npz`` for it."""
    folder = tmp_path_factory.mktemp("unet")
    torch.manual_seed(0)
    net, pictures = UNet(), torch.nn.functional.interpolate(torch.rand(48, 3, 4, 4), size=(SIZE, SIZE))
    with torch.no_grad():
        for _ in range(30):
            net(pictures)
    net.eval()
    example = pictures[:1]
    torch.export.save(torch.export.export(net, (example,)), folder / "unet.pt2")
    names = {"input_names": ["picture"], "output_names": ["mask"]}
    torch.onnx.export(net, (example,), str(folder / "unet.onnx"), dynamo=False, **names)
    np.savez(folder / "inputs.npz", picture=pictures.numpy())
    return folder


def labelled(pictures: Path) -> Path:
    """Write labels of two pictures: their upper halves."""
    mask = np.zeros((SIZE, SIZE), np.uint8)
    mask[: SIZE // 2] = 255
    Image.fromarray(mask).save(pictures.parent / "mask.png")
    labels = pictures.parent / "labels.csv"
    names = [file.name for file in sorted(pictures.iterdir())[:2]]
    labels.write_text("file,label\n" + "".join(f"{pictures.name}/{name},mask.png\n" for name in names))
    return labels


def export(
    source: Path,
    output: Path,
    *calibration: Path,
    variants: tuple[str, ...] = (),
    labels: Path | None = None,
) -> Path:
    """Export a pipeline by the command."""
    given = [word for path in calibration for word in ("--calibration", path)]
    chosen = [word for variant in variants for word in ("--variant", variant)]
    judged = () if labels is None else ("--labels", labels)
    page = output.with_suffix(".html")
    done = call_mien("export", source, "-o", output, *given, *chosen, *judged, "--page", page)
    assert page.read_text().startswith("<!doctype html>")
    assert ("mean IoU" in done.stdout) == (labels is not None)
    return output
