"""Pictures of an appraisal: no heat leaves the face as it is, more heat shows more."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mien.mobile_reference.report.pictures import heat_colours, overlay, panel, write_appraisal
from mien.mobile_reference.run.runner import BundleAppraisal


@pytest.fixture
def appraisal() -> BundleAppraisal:
    chance = np.random.default_rng(0)
    return BundleAppraisal(
        score=50.0,
        face=chance.integers(0, 256, (256, 256, 3), np.uint8),
        heatmap=chance.random((256, 256), np.float32),
        mask=chance.random((256, 256), np.float32),
        normalised=chance.integers(0, 256, (256, 256, 3), np.uint8),
        alignment=np.eye(2, 3),
        faces=1,
    )


def test_without_heat_the_overlay_is_the_face(appraisal: BundleAppraisal):
    np.testing.assert_array_equal(overlay(appraisal.face, np.zeros((256, 256), np.float32)), appraisal.face)


def test_heat_changes_only_its_place(appraisal: BundleAppraisal):
    heat = np.zeros((256, 256), np.float32)
    heat[100:120, 50:90] = 0.8
    shown = overlay(appraisal.face, heat)
    changed = (shown != appraisal.face).any(axis=2)
    assert not changed[heat == 0].any()
    assert changed[heat > 0].mean() > 0.99


@given(st.floats(0, 5, width=32), st.floats(0, 5, width=32))
def test_more_heat_is_never_more_transparent(first: float, second: float):
    low, high = sorted((first, second))
    colours, opacity = heat_colours(np.array([[low, high]], np.float32))
    assert 0 <= opacity[0, 0, 0] <= opacity[0, 1, 0] <= 1
    assert 0 <= colours.min() <= colours.max() <= 255


def test_the_panel_shows_four_pictures_side_by_side(appraisal: BundleAppraisal):
    shown = panel(appraisal)
    assert shown.shape == (256, 1024, 3)
    assert shown.dtype == np.uint8
    np.testing.assert_array_equal(shown[:, :256], appraisal.face)
    np.testing.assert_array_equal(shown[:, 768:], appraisal.normalised)


def test_what_is_written_is_read_back(appraisal: BundleAppraisal, tmp_path: Path):
    write_appraisal(appraisal, tmp_path, "me")
    np.testing.assert_array_equal(np.load(tmp_path / "me.heatmap.npy", allow_pickle=False), appraisal.heatmap)
    for kind, pixels in (("normalised", appraisal.normalised), ("panel", panel(appraisal))):
        np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / f"me.{kind}.png")), pixels)
    mask = np.asarray(Image.open(tmp_path / "me.mask.png")) / 255
    # Stored in 8 bits.
    np.testing.assert_allclose(mask, appraisal.mask, atol=0.5 / 255 + 1e-6)


def test_the_same_appraisal_gives_the_same_bytes(appraisal: BundleAppraisal, tmp_path: Path):
    for folder in ("first", "second"):
        (tmp_path / folder).mkdir()
        write_appraisal(appraisal, tmp_path / folder, "me")
    for file in (tmp_path / "first").iterdir():
        assert file.read_bytes() == (tmp_path / "second" / file.name).read_bytes()
