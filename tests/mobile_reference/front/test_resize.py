"""The front that resizes: normalisation against numbers computed by hand, and options that are refused."""

from dataclasses import replace

import numpy as np
import pytest

from mien.mobile_reference.errors import UsageError
from mien.mobile_reference.front.resize import ResizeRule, parse_front, read_rule

RULE = ResizeRule(1, 2, (0.5, 0.25, 0), (0.5, 0.25, 1))
PIXELS = np.array([[[255, 51, 0], [0, 0, 102]]], np.uint8)
# (pixel / 255 - mean) / std of the two pixels, by channel.
BY_HAND = np.array([[[[1, -1]], [[-0.2, -1]], [[0, 0.4]]]], np.float32)


def test_pixels_are_normalised_channel_by_channel():
    made = RULE.tensor(PIXELS)
    assert made.dtype == np.float32
    np.testing.assert_allclose(made, BY_HAND, atol=1e-6)


@pytest.mark.parametrize(
    "other",
    [
        replace(RULE, mean=(0.25, 0.5, 0)),
        replace(RULE, std=(0.25, 0.5, 1)),
        replace(RULE, mean=RULE.std, std=(0.5, 0.25, 0.01)),
    ],
    ids=["means swapped", "deviations swapped", "one for the other"],
)
def test_another_rule_makes_something_else(other: ResizeRule):
    assert np.abs(other.tensor(PIXELS) - BY_HAND).max() > 0.1


def test_channels_that_are_swapped_make_something_else():
    assert np.abs(RULE.tensor(np.ascontiguousarray(PIXELS[..., ::-1])) - BY_HAND).max() > 0.1


def test_height_comes_first():
    pixels = np.zeros((40, 40, 3), np.uint8)
    pixels[:20] = 255
    made = ResizeRule(4, 2, (0.0,) * 3, (1.0,) * 3).tensor(pixels)
    assert made.shape == (1, 3, 4, 2)
    assert (made[0, :, 0] == 1).all()
    assert (made[0, :, 3] == 0).all()


def test_what_is_reduced_is_averaged():
    checks = np.zeros((64, 64, 3), np.uint8)
    checks[::2, ::2] = checks[1::2, 1::2] = 255
    made = ResizeRule(8, 8, (0.0,) * 3, (1.0,) * 3).tensor(checks)
    # Without antialiasing it would be black and white.
    np.testing.assert_allclose(made, 0.5, atol=0.02)


def test_grey_is_luma_of_bt_601():
    grey = ResizeRule(1, 1, (0.0,), (1.0,)).tensor(np.array([[[255, 0, 0]]], np.uint8))
    assert grey.shape == (1, 1, 1, 1)
    assert grey.item() == pytest.approx(76 / 255)


def test_a_rule_is_read_as_it_was_recorded():
    assert read_rule(RULE.record()) == RULE
    assert RULE.record()["colour"] == "rgb"


def test_one_value_stands_for_all_channels():
    rule = parse_front("resize:8x10", "0.5", "0.25,0.5,1")
    assert rule == ResizeRule(8, 10, (0.5,), (0.25, 0.5, 1))
    assert rule is not None
    assert rule.of_channels(3).mean == (0.5, 0.5, 0.5)
    with pytest.raises(UsageError, match="--std has 3 values, the model's picture is grey; give one value"):
        rule.of_channels(1)


def test_no_option_is_no_front():
    assert parse_front(None, None, None) is None


@pytest.mark.parametrize(
    ("front", "mean", "std", "said"),
    [
        (None, "0.5", "0.5", "--mean was given without --front"),
        (None, None, "0.5", "--std was given without --front"),
        ("resize:8x8", None, "1", "--front needs --mean and --std"),
        ("resize:8x8", "0", None, "--front needs --mean and --std"),
        ("resize:8", "0", "1", "--front is 'resize:8'; give --front resize:HxW"),
        ("resize:0x8", "0", "1", "--front is 'resize:0x8'"),
        ("resize:8x0", "0", "1", "--front is 'resize:8x0'"),
        ("resize:4097x8", "0", "1", "1 to 4096 each"),
        ("resize:8x4097", "0", "1", "1 to 4096 each"),
        ("resize:8x8 ", "0", "1", "--front is 'resize:8x8 '"),
        ("crop:8x8", "0", "1", "--front is 'crop:8x8'"),
        ("", "0", "1", "--front is ''"),
        ("resize:8x8", "0,0", "1", "--mean is '0,0', expected one number or three"),
        ("resize:8x8", "0,0,0,0", "1", "--mean is"),
        ("resize:8x8", "123.675", "1", "divide those of pixels of 0..255 by 255"),
        ("resize:8x8", "grey", "1", "--mean is 'grey'"),
        ("resize:8x8", "", "1", "--mean is ''"),
        ("resize:8x8", "0", "0", "--std is '0'"),
        ("resize:8x8", "0", "-0.2", "--std is '-0.2'"),
        ("resize:8x8", "0", "0.2,nan,0.2", "--std is '0.2,nan,0.2'"),
        ("resize:8x8", "inf", "1", "--mean is 'inf'"),
        ("resize:8x8", "0", "58.395", "--std is '58.395'"),
    ],
)
def test_options_that_cannot_be_meant_are_refused(
    front: str | None, mean: str | None, std: str | None, said: str
):
    with pytest.raises(UsageError) as caught:
        parse_front(front, mean, std)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (4096, 4096), (1, 4096)])
def test_the_smallest_and_the_largest_size_are_taken(height: int, width: int):
    rule = parse_front(f"resize:{height}x{width}", "0", "1")
    assert rule is not None
    assert (rule.height, rule.width) == (height, width)
