"""Pictures of an appraisal: no heat leaves the face as it is, more heat shows more."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mien.mobile_reference.front.photograph import Pixels
from mien.mobile_reference.output.folder import Writer
from mien.mobile_reference.report.pictures import (
    drawn_rating,
    heat_colours,
    input_picture,
    overlay,
    side_by_side,
    views,
)
from mien.mobile_reference.run.runner import Prepared, Rating
from tests.mobile_reference.conftest import SPEC


@pytest.fixture
def rating() -> Rating:
    rng = np.random.default_rng(0)
    face = rng.integers(0, 256, (1, 256, 256, 3), np.uint8)
    tensors = {
        "face": face,
        "score": np.array([50], np.float32),
        "heatmap": rng.random((1, 256, 256, 1), np.float32),
        "mask": rng.random((1, 256, 256, 1), np.float32),
        "normalised": rng.uniform(-1, 256, (1, 256, 256, 3)).astype(np.float32),
    }
    return Rating(SPEC, Prepared({"face": face}, np.eye(2, 3), 1), tensors)


@pytest.fixture
def face(rating: Rating) -> Pixels:
    return input_picture(rating)


def panel(rating: Rating) -> Pixels:
    """The picture that went in and its views."""
    picture = input_picture(rating)
    return side_by_side([picture, *views(rating.spec, picture, rating.tensors).values()])


def test_without_heat_the_overlay_is_the_face(face: Pixels):
    np.testing.assert_array_equal(overlay(face, np.zeros((256, 256), np.float32)), face)


def test_heat_changes_only_its_place(face: Pixels):
    heat = np.zeros((256, 256), np.float32)
    heat[100:120, 50:90] = 0.8
    shown = overlay(face, heat)
    changed = (shown != face).any(axis=2)
    assert not changed[heat == 0].any()
    assert changed[heat > 0].mean() > 0.99


@given(st.floats(0, 5, width=32), st.floats(0, 5, width=32))
def test_more_heat_is_never_more_transparent(first: float, second: float):
    low, high = sorted((first, second))
    colours, opacity = heat_colours(np.array([[low, high]], np.float32))
    assert 0 <= opacity[0, 0, 0] <= opacity[0, 1, 0] <= 1
    assert 0 <= colours.min() <= colours.max() <= 255


def test_a_colour_view_is_rounded_to_the_nearest_of_0_to_255(rating: Rating):
    values = rating.tensors["normalised"][0]
    shown = views(SPEC, input_picture(rating), rating.tensors)["normalised"]
    assert shown.dtype == np.uint8
    assert (shown.min(), shown.max()) == (0, 255)
    assert np.abs(shown - values.clip(0, 255)).max() <= 0.5


def test_the_panel_shows_four_pictures_side_by_side(rating: Rating, face: Pixels):
    shown = panel(rating)
    drawn = views(SPEC, face, rating.tensors)
    assert list(drawn) == ["overlay", "mask", "normalised"]
    assert shown.shape == (256, 1024, 3)
    assert shown.dtype == np.uint8
    np.testing.assert_array_equal(shown[:, :256], face)
    np.testing.assert_array_equal(shown[:, 256:512], overlay(face, rating.tensors["heatmap"][0, ..., 0]))
    np.testing.assert_array_equal(shown[:, 768:], drawn["normalised"])


def test_what_is_written_is_read_back(rating: Rating, face: Pixels, tmp_path: Path):
    Writer(tmp_path).write_all(drawn_rating(rating, "me"))
    names = ("overlay.png", "mask.png", "normalised.png", "panel.png", "heatmap.npy")
    assert {file.name for file in tmp_path.iterdir()} == {f"me.{name}" for name in names}
    stored = np.load(tmp_path / "me.heatmap.npy", allow_pickle=False)
    np.testing.assert_array_equal(stored, rating.tensors["heatmap"][0, ..., 0])
    normalised = views(SPEC, face, rating.tensors)["normalised"]
    for kind, pixels in (("normalised", normalised), ("panel", panel(rating))):
        np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / f"me.{kind}.png")), pixels)
    mask = np.asarray(Image.open(tmp_path / "me.mask.png")) / 255
    # Stored in 8 bits.
    np.testing.assert_allclose(mask, rating.tensors["mask"][0, ..., 0], atol=0.5 / 255 + 1e-6)


def test_the_same_rating_gives_the_same_bytes(rating: Rating, tmp_path: Path):
    for folder in ("first", "second"):
        (tmp_path / folder).mkdir()
        Writer(tmp_path / folder).write_all(drawn_rating(rating, "me"))
    for file in (tmp_path / "first").iterdir():
        assert file.read_bytes() == (tmp_path / "second" / file.name).read_bytes()
