"""Pictures for model files by --front, from the command line: exported, verified, and refused."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import mien
from mien.export.exporter import ExportRequest
from mien.mobile_reference.errors import UsageError
from mien.mobile_reference.front.colour import COLOUR_RULE
from mien.mobile_reference.front.resize import ResizeRule
from mien.models.sources import Origin
from tests.commands import call_mien

RGB = ("--mean", "0.485,0.456,0.406", "--std", "0.229,0.224,0.225")
GREY = ("--mean", "0.45", "--std", "0.22")


def classifier(channels: int) -> nn.Module:
    """A small network for pictures of 16x16."""
    torch.manual_seed(0)
    first, second = nn.Conv2d(channels, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
    return nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), nn.AvgPool2d(16), nn.Flatten(), nn.Linear(8, 3))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``rgb.pt2`` and ``grey.onnx``, and with ``held``, pictures that give no ranges."""
    folder = tmp_path_factory.mktemp("front")
    rgb = torch.export.export(classifier(3).eval(), (torch.rand(1, 3, 16, 16),))
    torch.export.save(rgb, folder / "rgb.pt2")
    example = (torch.rand(1, 1, 16, 16),)
    torch.onnx.export(classifier(1).eval(), example, str(folder / "grey.onnx"), dynamo=False)
    (folder / "held").mkdir()
    for number in range(3):
        noise = np.random.default_rng(50 + number).integers(0, 256, (3, 3, 3), np.uint8)
        Image.fromarray(noise).resize((30, 40)).save(folder / "held" / f"{number}.png")
    return folder


@pytest.mark.parametrize(
    ("name", "normalised", "colour"), [("rgb.pt2", RGB, "rgb"), ("grey.onnx", GREY, "grey")]
)
def test_a_model_file_is_exported_by_pictures_and_verified(
    models: Path, pictures: Path, tmp_path: Path, name: str, normalised: tuple[str, ...], colour: str
) -> None:
    bundle = tmp_path / "bundle"
    asked = ("--calibration", pictures, "--front", "resize:16x16", *normalised, "--variant", "tflite-int8")
    call_mien("export", models / name, "-o", bundle, *asked)
    manifest = json.loads((bundle / "manifest.json").read_text())
    assert manifest["front"]["rule"]["colour"] == colour
    assert manifest["front"]["colour"] == COLOUR_RULE
    assert [variant["name"] for variant in manifest["variants"]] == ["tflite-fp32", "tflite-int8"]
    # One of both by held-out pictures, for the time it takes.
    held_out = ("--held-out", models / "held", "--pipeline", models / name) if colour == "rgb" else ()
    record = json.loads(call_mien("verify", bundle, *held_out, "--json").stdout)
    assert record["passed"]
    assert not held_out or record["held_out"]["faces"] == 3


def test_a_script_says_how_pictures_become_the_input(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[ExportRequest] = []
    monkeypatch.setattr("mien.export.scripting.make_bundle", lambda request, _: asked.append(request))
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    mien.export_bundle("rgb.pt2", "bundle", front="resize:16x24", mean=mean, std=std)
    mien.export_bundle("grey.onnx", "bundle", front="resize:8x8", mean=0, std=1)
    rules = [one.source.front for one in asked if isinstance(one.source, Origin)]
    assert rules == [ResizeRule(16, 24, mean, std), ResizeRule(8, 8, (0.0,), (1.0,))]
    with pytest.raises(UsageError, match="--front needs --mean and --std"):
        mien.export_bundle("rgb.pt2", "bundle", front="resize:16x16")


def test_a_mean_without_a_front_leaves_nothing(models: Path, pictures: Path, tmp_path: Path) -> None:
    asked = ("--calibration", pictures, "-o", tmp_path / "bundle", *RGB)
    done = call_mien("export", models / "rgb.pt2", *asked, expect=2)
    assert done.stderr.startswith("mien: --mean was given without --front")
    assert not list(tmp_path.iterdir())
