"""Samples on files, and what converted stages hand on."""

from pathlib import Path

import numpy as np
import pytest

from mien.export.component import component
from mien.export.tflite.samples import load_samples, propagate, received, save_samples
from mien.mobile_reference.bundle.reader import DEFAULT_VARIANT, open_bundle
from mien.models.sources import open_pipeline


def test_samples_come_back_in_their_order(tmp_path: Path) -> None:
    samples = [{"heat": np.full((1, 64, 64, 1), value, np.float32)} for value in (3, 1, 2)]
    save_samples(samples, tmp_path / "samples")
    for one, read in zip(samples, load_samples(tmp_path / "samples"), strict=True):
        np.testing.assert_array_equal(one["heat"], read["heat"])


@pytest.mark.parametrize("name", ["detector", "heatmap", "appraisal"])
def test_what_has_no_stage_before_it_is_given_the_samples(tmp_path: Path, name: str) -> None:
    samples = [{"face": np.zeros((1, 256, 256, 3), np.uint8)}]
    assert received(open_pipeline().spec.before(name), samples, tmp_path) is samples


def test_each_stage_is_given_what_the_converted_ones_before_it_make(exported: Path, tmp_path: Path) -> None:
    bundle, pipeline = open_bundle(exported), open_pipeline()
    files = bundle.variant(DEFAULT_VARIANT).files
    golden = bundle.goldens[0]
    # Heat that no float stage made: what follows must come from the model of the stage, not from the sample.
    samples = [{"face": golden.read("face"), "heat": np.zeros((1, 64, 64, 1), np.float32)}]
    for stage in ("heatmap", "mask", "inpaint"):
        given = received(bundle.spec.before(stage), samples, tmp_path)
        propagate(component(pipeline, stage), files[stage].read_bytes(), given, tmp_path)
    (last,) = received(bundle.spec.before("compare"), samples, tmp_path)
    for name in ("heat", "mask", "normalised"):
        full_scale = bundle.spec.tensor(name).full_scale
        np.testing.assert_allclose(last[name], golden.read(name), atol=1e-4 * full_scale)
