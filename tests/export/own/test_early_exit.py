"""A stage that says when it need not run is left out where the conversions give the same bits."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mien.mobile_reference.bundle.reader import open_bundle
from mien.mobile_reference.run.runner import BundleRunner
from tests.commands import call_mien
from tests.export.own.conftest import export
from tests.export.own.painter import DARK, SIZE

PAINTER = Path(__file__).with_name("painter.py")


@pytest.fixture(scope="module")
def painter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle, from pictures of which every other one is dark."""
    folder = tmp_path_factory.mktemp("painter") / "pictures"
    folder.mkdir()
    for number in range(12):
        brightest = DARK if number % 3 else 255
        noise = np.random.default_rng(number).integers(0, brightest + 1, (SIZE, SIZE, 3), np.uint8)
        Image.fromarray(noise).save(folder / f"{number:02}.png")
    return export(PAINTER, folder.parent / "bundle", folder, variants=("tflite-fp32", "tflite-fp16"))


def test_the_export_shows_that_the_stage_may_be_left_out(painter: Path) -> None:
    manifest = json.loads((painter / "manifest.json").read_text())
    assert manifest["stages"][1]["skip_when"] == {"zero": "mask", "outputs": {"painted": "image"}}
    for variant in manifest["variants"]:
        found = variant["early_exit"]
        assert 1 <= found["left"] <= found["inputs"], variant["name"]
    call_mien("verify", painter)


@pytest.mark.parametrize("variant", ["tflite-fp32", "tflite-fp16"])
@pytest.mark.parametrize("brightest", [DARK, 255])
def test_every_bit_is_that_of_the_end_to_end_model(painter: Path, variant: str, brightest: int) -> None:
    bundle = open_bundle(painter)
    early, full = BundleRunner(bundle, variant), BundleRunner(bundle.in_full(), variant)
    for seed in range(5):
        pixels = np.random.default_rng(seed).integers(0, brightest + 1, (1, SIZE, SIZE, 3), np.uint8)
        found, expected = early.rate({"image": pixels}), full.rate({"image": pixels})
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            assert found[name].tobytes() == value.tobytes(), name
        assert (expected["grade"] == 100).all() == (brightest == DARK)


def test_what_an_app_ships_leaves_nothing_out(painter: Path, tmp_path: Path) -> None:
    app = tmp_path / "app"
    call_mien("pack", painter, "--for", "android", "--variant", "tflite-fp16", "-o", app)
    (variant,) = json.loads((app / "manifest.json").read_text())["variants"]
    assert "early_exit" not in variant
    assert open_bundle(app).variants[0].early_exit is False


def test_a_variant_of_which_nothing_was_shown_leaves_nothing_out(painter: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(painter, tmp_path / "copy")
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["variants"][0]["early_exit"] = None
    (copy / "manifest.json").write_text(json.dumps(manifest))
    assert [variant.early_exit for variant in open_bundle(copy).variants] == [False, True]
